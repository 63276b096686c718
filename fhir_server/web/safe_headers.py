"""Headers by which browsers keep what is beside the FHIR door to itself: the PRM API, its documentation, the login pages.

https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""Not for HTML: pages say themselves what they load."""
TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class SafeHeaders:
    """ASGI middleware: adds what an answer does not say itself; `https` says that clients come by TLS only."""

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self._app = app
        self._more = (*SAFE, TRANSPORT) if https else SAFE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                there = {name.lower(): value for name, value in headers}
                more = self._more if there.get(b"content-type", b"").startswith(b"text/html") else (*self._more, POLICY)
                message["headers"] = [*headers, *(one for one in more if one[0] not in there)]
            await send(message)

        await self._app(scope, receive, send_safely)
