"""How the Twilio SDK reaches Twilio: with a timeout, over connections that are kept, and without losing what it drops."""

import threading
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response

from prm_ext.notifications.channels.errors import seconds
from prm_ext.notifications.channels.http import Session

HOST: Final = "https://api.twilio.com"


class Client(TwilioHttpClient):
    """Sends requests of the SDK. Many threads may use it."""

    def __init__(self, *, timeout: float, connections: int, base_url: str = "") -> None:
        super().__init__(pool_connections=False, timeout=timeout)
        self._base = base_url.rstrip("/")
        self._pooled = Session(self._base or HOST, timeout=timeout, connections=connections)
        self._seen = threading.local()

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
        """Send a request; redirects are never followed."""
        del allow_redirects
        self._seen.status, self._seen.retry_after = 0, None
        asked = requests.Request(method.upper(), self._url(url), headers, params=params, data=data, auth=auth)
        answer = self._pooled.send(asked, timeout=timeout)
        self._seen.status = answer.status_code
        self._seen.retry_after = seconds(answer.headers.get("Retry-After"))
        # Not `answer.text`, which guesses an encoding where none is named.
        return Response(answer.status_code, answer.content.decode("utf-8", "replace"), answer.headers)

    def close(self) -> None:
        """Close the connections."""
        self._pooled.close()

    def _url(self, url: str) -> str:
        if not self._base:
            return url
        parts = urlsplit(url)
        return self._base + parts.path + (f"?{parts.query}" if parts.query else "")
