"""Hands Bundles to the engine in this process, without HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fhir_server.config import Settings
from fhir_server.engine import handle
from fhir_server.exchange import Call, Prefer, Reply
from fhir_server.loading.run import Bundle
from fhir_server.search.index import index_models
from fhir_server.store.database import Database, connect
from fhir_server.web.fhir import FhirApp


class EngineTarget:
    """The default tenant of the database that the settings name."""

    def __init__(self, door: FhirApp, settings: Settings) -> None:
        self._door = door
        self._base = settings.base_url or f"http://{settings.host}:{settings.port}/fhir"

    async def handle(self, call: Call) -> Reply:
        """Answer a Call, or raise a FhirError."""
        return await handle(await self._door.context(self._base), call)

    async def send(self, bundle: Bundle) -> Bundle:
        """Process a transaction or batch and return the answer, or raise a FhirError."""
        reply = await self.handle(Call("transaction", resource=bundle, prefer=Prefer(return_="minimal")))
        return reply.resource or {}


@asynccontextmanager
async def engine_target(settings: Settings) -> AsyncIterator[EngineTarget]:
    """Yield the engine over a connection of its own."""
    async with connect(settings.mongodb_uri, settings) as client:
        database = Database(client[settings.mongodb_database], settings, index_models)
        yield EngineTarget(FhirApp(database, settings), settings)
