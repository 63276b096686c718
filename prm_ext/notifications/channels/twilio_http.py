"""How the Twilio SDK reaches Twilio: one session with its connections, a timeout, and what the SDK drops of an answer."""

import threading
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

from prm_ext.notifications.channels.errors import seconds

HOST: Final = "https://api.twilio.com"


class Client(TwilioHttpClient):
    """Sends requests of the SDK. Many threads may use it."""

    def __init__(self, *, timeout: float, connections: int, base_url: str = "") -> None:
        super().__init__(timeout=timeout)
        self._base = base_url.rstrip("/")
        self._seen = threading.local()
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        # Proxies and certificates of the environment; asked for once, not at each request.
        self._environment = self.session.merge_environment_settings(self._base or HOST, {}, None, None, None)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the last answer in this thread asked for: exceptions of the SDK carry no headers."""
        return getattr(self._seen, "retry_after", None)

    @property
    def status(self) -> int:
        """HTTP status of the last answer in this thread; 0 where none came."""
        return getattr(self._seen, "status", 0)

    def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """Send a request. Neither it nor its answer is logged or kept: both are about patients."""
        self._seen.status, self._seen.retry_after = 0, None
        asked: Any = requests.Request(method.upper(), self._url(url), headers, params=params, data=data, auth=auth)
        answer = self.session.send(
            self.session.prepare_request(asked),
            timeout=timeout or self.timeout,
            allow_redirects=allow_redirects,
            **self._environment,
        )
        self._seen.status = answer.status_code
        self._seen.retry_after = seconds(answer.headers.get("Retry-After"))
        # Not `answer.text`, which guesses an encoding where none is named.
        return Response(answer.status_code, answer.content.decode("utf-8", "replace"), answer.headers)

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def _url(self, url: str) -> str:
        if not self._base:
            return url
        parts = urlsplit(url)
        return self._base + parts.path + (f"?{parts.query}" if parts.query else "")


def never_left(error: BaseException) -> bool:
    """Tell whether a request failed before anything of it was sent: no connection was made."""
    pending: list[object] = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, (NewConnectionError, ConnectTimeoutError, ProxyError, requests.exceptions.InvalidSchema)):
            return True
        if isinstance(one, BaseException):
            pending += [*one.args, getattr(one, "reason", None), one.__cause__]
    return False
