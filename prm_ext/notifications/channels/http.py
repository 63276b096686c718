"""How SDKs of providers reach them: sessions whose connections many threads share, and what a failure means."""

from ssl import SSLCertVerificationError
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

GATEWAYS: Final = frozenset({502, 504, 520, 521, 522, 523, 524})
"""Statuses of what stands before a provider: what became of the request behind it is not known."""


class Session:
    """A session for one base URL. Nothing of requests and answers is logged: both are about patients."""

    def __init__(self, base_url: str, *, timeout: float, connections: int) -> None:
        self._timeout = timeout
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # Proxies and certificates of the environment; asked for once, not at each request.
        self._environment: Any = self._session.merge_environment_settings(base_url, {}, None, None, None)

    def send(self, request: requests.Request, *, timeout: float | None = None) -> requests.Response:
        """Send a request, and follow no redirect.

        Raises:
            requests.RequestException: no answer came.
        """
        return self._session.send(
            self._session.prepare_request(request),
            timeout=timeout or self._timeout,
            allow_redirects=False,
            **self._environment,
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def never_left(error: BaseException) -> bool:
    """Tell whether a request failed before anything of it was sent: no connection was made, or to nobody who can be trusted."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if isinstance(one, (NewConnectionError, ConnectTimeoutError, ProxyError, SSLCertVerificationError)):
            return True
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            pending += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    return False
