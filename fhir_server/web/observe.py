"""The outermost layer: gives each request its id, measures it, and logs one line about it.

The id is that of the header `X-Request-Id` where the client sent a usable one, and stands in the answer. What the
request was, the FHIR door writes into `observation(scope)`.
"""

import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_server.web import logs, metrics

HEADER = b"x-request-id"
_KEY = "fhir.observation"
_USABLE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_OWN_PATHS = ("/health/", "/metrics")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Observation:
    """What is known of a request while it runs."""

    request_id: str
    interaction: str = ""
    type: str = ""
    tenant: str = ""


def observation(scope: MutableMapping[str, Any]) -> Observation:
    """Return what is known of the request, to read its id and to say what interaction it is."""
    found = scope.get(_KEY)
    if not isinstance(found, Observation):
        found = scope[_KEY] = Observation(_request_id(scope))
    return found


def about(scope: MutableMapping[str, Any], tenant: str) -> None:
    """Have all lines of the log say, from now on, which tenant a request is about."""
    observation(scope).tenant = tenant
    logs.tenant.set(tenant)


def _request_id(scope: MutableMapping[str, Any]) -> str:
    for name, value in scope.get("headers", ()):
        if name == HEADER and _USABLE.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)


class Observe:
    """ASGI middleware; `log` says whether each request is logged."""

    def __init__(self, app: ASGIApp, *, log: bool = True) -> None:
        self._app = app
        self._log = logs.request_logger() if log else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        seen = observation(scope)
        logs.request_id.set(seen.request_id)
        logs.tenant.set("")
        status = 500
        header = (HEADER, seen.request_id.encode())

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._finish(scope, seen, status, time.perf_counter() - started)

    def _finish(self, scope: Scope, seen: Observation, status: int, seconds: float) -> None:
        interaction = seen.interaction or "other"
        metrics.observe(interaction, seen.type, status, seconds)
        if self._log is not None and not scope["path"].startswith(_OWN_PATHS):
            self._log(
                {
                    "request_id": seen.request_id,
                    "tenant": seen.tenant,
                    "method": scope["method"] if scope["method"] in _METHODS else "other",
                    "interaction": interaction,
                    "type": seen.type,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                }
            )
