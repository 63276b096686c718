"""Hands Bundles to the engine in this process, without HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fhir_server.config import Settings
from fhir_server.contexts import Contexts, opened
from fhir_server.engine import handle
from fhir_server.exchange import Call, Context, Prefer, Reply
from fhir_server.loading.run import Bundle


class EngineTarget:
    """The default tenant of the database that the settings name."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.database = contexts.database

    async def context(self, tenant: str) -> Context:
        """Return the context of what is done for a tenant without being asked by anybody."""
        return await self._contexts.of_tenant(tenant)

    async def handle(self, call: Call) -> Reply:
        """Answer a Call, or raise a FhirError. The audit trail keeps that something is loaded, not every resource."""
        ctx = await self._contexts.of_tenant(self._contexts.settings.default_tenant)
        return await handle(replace(ctx, recorder=None), call)

    async def send(self, bundle: Bundle) -> Bundle:
        """Process a transaction or batch and return the answer, or raise a FhirError."""
        reply = await self.handle(Call("transaction", resource=bundle, prefer=Prefer(return_="minimal")))
        return reply.resource or {}


@asynccontextmanager
async def engine_target(settings: Settings) -> AsyncIterator[EngineTarget]:
    """Yield the engine over a connection of its own."""
    async with opened(settings) as contexts:
        yield EngineTarget(contexts)
