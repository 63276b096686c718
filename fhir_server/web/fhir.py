"""The FHIR door: an ASGI application that parses its own paths (docs/decisions/0005-wire.md)."""

import asyncio

from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.engine import handle, translated
from fhir_server.exchange import Call, Context, Principal, Reply
from fhir_server.fhir.outcome import FhirError, Issue, bad_request
from fhir_server.security.tenants import Tenants
from fhir_server.web import logs
from fhir_server.web.addresses import Addresses
from fhir_server.web.auth import Authentication
from fhir_server.web.base_url import PREFIX, BaseUrl
from fhir_server.web.binary import PATH as BINARY
from fhir_server.web.binary import asked_of, binary_call
from fhir_server.web.observe import about, observation
from fhir_server.web.openapi import openapi
from fhir_server.web.rates import LocalRates, Rates, SharedRates, too_many
from fhir_server.web.receive import Headers, Wanted, call_of, query_params
from fhir_server.web.render import send_error, send_reply

METADATA = "/metadata"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class FhirApp:
    """Answers everything below `/fhir`."""

    def __init__(self, contexts: Contexts, authentication: Authentication | None = None) -> None:
        self._settings = contexts.settings
        self._contexts = contexts
        self._authentication = authentication
        self._base_url = BaseUrl(contexts.settings)
        self._addresses = Addresses(contexts.settings)
        self._rates = _rates(contexts.settings)
        self._tenants = Tenants(contexts.database)
        self._logger = logs.get_logger()

    async def context(self, scope: Scope, headers: Headers) -> Context:
        """Return the context of a request, at whichever door.

        Raises:
            FhirError: 401 or 403, where authentication is configured and nobody is let in; 429, who asks too often.
        """
        base_url, request_id = self._base_url.of(scope, headers), observation(scope).request_id
        address = self._addresses.of(scope, headers)
        if self._authentication is not None:
            ctx = await self._authentication.context(scope, headers, base_url, request_id, address)
        else:
            ctx = await self._contexts.of(self._settings.default_tenant, base_url, request_id=request_id, address=address)
        about(scope, ctx.tenant)
        if self._rates is not None:
            await self._count(ctx)
        return ctx

    async def signed(self, scope: Scope, headers: Headers, principal: Principal) -> Context:
        """Return the context of a request whose signature has been found to be that of the principal, a machine.

        There are no tokens at such a door; what is done there is done by the server itself, and recorded as the principal's.

        Raises:
            FhirError: 403, the tenant of the principal is not known, or suspended.
        """
        await self._tenants.admit(principal.tenant)
        base_url, request_id = self._base_url.of(scope, headers), observation(scope).request_id
        address = self._addresses.of(scope, headers)
        ctx = await self._contexts.of(principal.tenant, base_url, request_id=request_id, principal=principal, address=address)
        about(scope, ctx.tenant)
        return ctx

    async def unsigned(self, scope: Scope, headers: Headers, provider: str) -> None:
        """Record that a request had no signature that could be believed."""
        recorder = self._contexts.recorder
        if recorder is not None:
            address, request_id = self._addresses.of(scope, headers), observation(scope).request_id
            await recorder.refused(self._settings.default_tenant, "signature", 403, address, request_id, provider)

    async def close(self) -> None:
        """Close connections."""
        if self._rates is not None:
            await self._rates.close()

    async def _count(self, ctx: Context) -> None:
        """Count a request.

        Raises:
            FhirError: 429, there were too many.
        """
        who = ctx.principal
        key = f"{ctx.tenant}/{who.client}/{who.id}" if ctx.access is not None else f"{ctx.tenant}/{ctx.address}"
        wait = await self._rates.take(key) if self._rates is not None else 0
        if wait:
            raise too_many(wait, f"More than {self._settings.rate_limit} requests a minute; send fewer, or a batch.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope["headers"])
        head = scope["method"] == "HEAD"
        asked = Wanted()
        try:
            params = query_params(scope, self._settings)
            path = (
                scope["raw_path"]
                .partition(b"?")[0]
                .decode("latin-1")
                .removeprefix(scope.get("root_path", ""))
                .removeprefix(PREFIX)
            )
            asked = asked_of(path, headers, params)
            base_url = self._base_url.of(scope, headers)
            if scope["method"] == "OPTIONS":
                reply, call = Reply(204, headers={"Allow": METHODS}), Call("options")
            elif path == "/openapi.json":
                reply, call = Reply(200, openapi(base_url)), Call("openapi")
            else:
                # Nobody unknown makes the server read a body.
                ctx = await (self._open(base_url) if path == METADATA else self.context(scope, headers))
                if path.startswith(BINARY):
                    call = await binary_call(scope, receive, path, headers, params, ctx, encoded=asked.plain)
                else:
                    call = await call_of(scope, receive, path, headers, params, self._settings, encoded=asked.plain)
                reply = await self._handle(scope, ctx, call)
            if not asked.return_:
                asked = Wanted(asked.format, asked.pretty, self._settings.default_return)
            await send_reply(send, call, reply, asked, headers, base_url=base_url, head=head)
        except FhirError as error:
            await send_error(send, error, asked, headers, head=head)
        except ClientDisconnect:
            # Nobody reads it, but the log and the measurements say what became of the request.
            gone = bad_request("The connection was closed before the whole body had arrived.", code="incomplete")
            await send_error(send, gone, asked, headers, head=head)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (the last net: nothing of it may reach the client)
            await send_error(send, self._unforeseen(error), asked, headers, head=head)

    async def _open(self, base_url: str) -> Context:
        """Return the context of what everybody may read: what this server can do."""
        return await self._contexts.of(self._settings.default_tenant, base_url)

    async def _handle(self, scope: Scope, ctx: Context, call: Call) -> Reply:
        seen = observation(scope)
        seen.interaction, seen.type = call.interaction, call.type
        return await handle(ctx, call)

    def _unforeseen(self, error: Exception) -> FhirError:
        known = translated(error) if isinstance(error, PyMongoError) else error
        if isinstance(known, FhirError):
            return known
        self._logger.error("unforeseen", exc_info=error)
        return FhirError(
            500, (Issue("exception", "The server failed on this request; its log says more under the X-Request-Id."),)
        )


def _rates(settings: Settings) -> Rates | None:
    """Return what counts requests, if they are limited."""
    if not settings.rate_limit:
        return None
    if settings.redis_url:
        return SharedRates(settings.redis_url, settings.mongodb_database, settings.rate_limit)
    return LocalRates(settings.rate_limit)
