"""The base URL by which a client knows this server.

https://hl7.org/fhir/R4/http.html#root
"""

import re

from starlette.types import Scope

from fhir_server.config import Settings
from fhir_server.web.receive import Headers

PREFIX = "/fhir"
_HOST = re.compile(r"[A-Za-z0-9.\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")


class BaseUrl:
    """Finds the base URL of a request: the setting, what a trusted proxy says, or what the client asked for."""

    def __init__(self, settings: Settings) -> None:
        self._fixed = settings.base_url.rstrip("/")
        self._proxies = {name.strip() for name in settings.trusted_proxies.split(",") if name.strip()}
        self._fallback = f"http://{settings.host}:{settings.port}{PREFIX}"

    def of(self, scope: Scope, headers: Headers) -> str:
        """Return the base URL, without a slash at its end."""
        if self._fixed:
            return self._fixed
        scheme, host, prefix = scope.get("scheme", "http"), headers.get(b"host"), PREFIX
        client = scope.get("client")
        if self._proxies and client and ("*" in self._proxies or client[0] in self._proxies):
            scheme = _first(headers.get(b"x-forwarded-proto")) or scheme
            host = _first(headers.get(b"x-forwarded-host")) or host
            port = _first(headers.get(b"x-forwarded-port"))
            if port.isdigit() and ":" not in host and port not in ("80", "443"):
                host = f"{host}:{port}"
            prefix = _first(headers.get(b"x-forwarded-prefix")).rstrip("/") + PREFIX
        if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
            return self._fallback
        return f"{scheme}://{host}{prefix}"


def _first(header: str) -> str:
    return header.partition(",")[0].strip()
