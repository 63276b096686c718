"""The door that providers report at: open to everybody, and nothing is done before a signature has been verified.

Signatures are over the public URL, which is a setting: what a proxy has made of it, or a client writes into `Host`, does
not count. A tenant that is not known looks like a signature that is wrong.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from fhir_server.exchange import Context, Principal
from fhir_server.fhir.outcome import FhirError, bad_request, forbidden, too_large
from fhir_server.web.fhir import FhirApp
from fhir_server.web.receive import Headers
from prm_ext.notifications.settings import NotificationSettings

_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as its signature is about it."""

    url: str
    """The public one, with its query."""
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes = field(repr=False)


IsSigned = Callable[[NotificationSettings, Sent], Awaitable[bool]]
"""Tells, with the settings of the tenant, whether the provider has sent a request."""


class Door:
    """Lets requests of providers in."""

    def __init__(self, settings: NotificationSettings, base_url: str) -> None:
        self._settings = settings
        self._base_url = base_url

    async def enter(
        self, request: Request, tenant: str, provider: str, is_signed: IsSigned, *, most: int
    ) -> tuple[Context, NotificationSettings, bytes]:
        """Return the context of a tenant, its settings, and the body as it came, of at most so many bytes.

        Raises:
            FhirError: 403, the request is not the provider's, or the tenant is not here; 413, it is too large.
        """
        fhir: FhirApp = request.app.state.fhir
        headers = Headers(request.scope["headers"])
        settings = self._settings.of(tenant)
        body = await _body(request, most)
        try:
            origin = settings.public_origin(self._base_url)
            if not origin or not await is_signed(settings, Sent(origin + _path(request), _by_name(request), body)):
                raise forbidden("")
            return await fhir.signed(request.scope, headers, Principal(provider, tenant=tenant)), settings, body
        except FhirError as error:
            if error.status != _FORBIDDEN:
                raise
            await fhir.unsigned(request.scope, headers, provider)
            raise forbidden("The request has no signature of the provider that is valid here.") from None


def _path(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.partition(b"?")[0].decode("latin-1").removeprefix(request.scope.get("root_path", ""))
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _by_name(request: Request) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.scope["headers"]}


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large(f"The body is larger than {most} bytes.")
            parts.append(part)
    except ClientDisconnect:
        raise bad_request("The connection was closed before the whole body had arrived.", code="incomplete") from None
    return b"".join(parts)
