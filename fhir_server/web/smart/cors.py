"""Which pages in browsers may call this server: https://hl7.org/fhir/smart-app-launch/app-launch.html#considerations-for-cross-origin-resource-sharing-cors-support.

Every page may read the discovery documents, the keys and `/metadata`; the pages of registered apps may call the protocol's
endpoints and the FHIR service too. Cookies are never sent along, and the pages for people are for no other site at all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_server.security.authorization import place as paths

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
FRESH_SECONDS: Final = 30.0
MOST: Final = 1000
_ENDPOINTS: Final = (paths.TOKEN, paths.REVOKE, paths.INTROSPECT, paths.REGISTER, paths.USERINFO)
_FHIR: Final = "/fhir"


class AppOrigins:
    """ASGI middleware; `is_registered` tells whether the pages of an origin are those of an app."""

    def __init__(self, app: ASGIApp, is_registered: Callable[[str], Awaitable[bool]], exposed: list[str]) -> None:
        self._app = app
        self._is_registered = is_registered
        self._exposed = ", ".join(exposed)
        self._known: dict[str, tuple[float, bool]] = {}
        self._asking = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer browsers that ask beforehand."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        origin = headers.get("origin", "") if headers else ""
        if headers is None or not origin or not await self._may_call(scope["path"], origin):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers", "")
            await PlainTextResponse("", headers=_preflight(origin, asked))(scope, receive, send)
        else:
            await self._app(scope, receive, self._marked(send, origin))

    def _marked(self, send: Send, origin: str) -> Send:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                found["Access-Control-Allow-Origin"] = origin
                found["Access-Control-Expose-Headers"] = self._exposed
                found.add_vary_header("Origin")
            await send(message)

        return marked

    async def _may_call(self, path: str, origin: str) -> bool:
        if "/.well-known/" in path or path in (paths.JWKS, f"{_FHIR}/metadata"):
            return True
        if path not in _ENDPOINTS and not path.startswith(_FHIR + "/"):
            return False
        known = self._known.get(origin)
        if known is None or time.monotonic() - known[0] > FRESH_SECONDS:
            async with self._asking:
                known = (time.monotonic(), await self._is_registered(origin))
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[origin] = known
        return known[1]


def _preflight(origin: str, asked_headers: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": asked_headers or "Authorization, Content-Type",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin, Access-Control-Request-Headers",
    }
