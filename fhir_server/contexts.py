"""Contexts: under what a Call is handled, made from what a process has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fhir_server.blobs import Blobs
from fhir_server.config import Settings
from fhir_server.engine import handle, operation_entries
from fhir_server.exchange import Context, Principal
from fhir_server.extension import Extensions, load
from fhir_server.search.index import index_models
from fhir_server.search.registries import Registries
from fhir_server.search.registry import Registry
from fhir_server.search.vocabulary import WORDS
from fhir_server.security.audit.record import SYSTEM
from fhir_server.security.audit.recorder import Recorder
from fhir_server.security.audit.trail import Trail
from fhir_server.security.permissions import Permissions
from fhir_server.security.repository import GuardedRepository
from fhir_server.store.commit import Committer
from fhir_server.store.data_keys import DataKeys
from fhir_server.store.database import Database, connect
from fhir_server.store.repository import Repository


class Contexts:
    """Makes the contexts of all requests, and of what the server does by itself, in this process."""

    def __init__(self, database: Database, settings: Settings, extensions: Extensions | None = None) -> None:
        self.database = database
        database.accompany_by(WORDS)  # Whoever writes through a context, from whichever door.
        self.settings = settings
        self.extensions = extensions or Extensions()
        self.blobs = Blobs(database.mongodb, settings, database.secret, DataKeys(database.keyring, database.secret))
        kept = settings.audit_kept
        self.recorder = Recorder(Trail(database, everything=kept == "all")) if kept != "off" else None
        self._committer = Committer(database)
        self._registries = Registries(database)
        self._operations = operation_entries(self.extensions.operations.values())

    async def of(
        self,
        tenant: str,
        base_url: str,
        *,
        request_id: str = "",
        principal: Principal | None = None,
        access: Permissions | None = None,
        address: str = "",
    ) -> Context:
        """Return the context of one request, which comes from an address; that of the server itself has no `access`."""
        if not self.database.keyring.is_ready(tenant):
            await self.database.keyring.ready(tenant)
        registry = await self.registry(tenant)
        return self._made(tenant, base_url, registry, request_id, principal or Principal(), access, address)

    def at_hand(
        self, base_url: str, registry: Registry, request_id: str, principal: Principal, access: Permissions, address: str
    ) -> Context | None:
        """Return the same where nothing has to be asked for it; `registry` is the one that `registry_at_hand` gave."""
        if not self.database.keyring.is_ready(principal.tenant):
            return None
        return self._made(principal.tenant, base_url, registry, request_id, principal, access, address)

    def _made(
        self,
        tenant: str,
        base_url: str,
        registry: Registry,
        request_id: str,
        principal: Principal,
        access: Permissions | None,
        address: str,
    ) -> Context:
        return Context(
            repo=Repository(self.database, self._committer, tenant)
            if access is None
            else GuardedRepository(self.database, self._committer, tenant, access),
            settings=self.settings,
            dispatch=handle,
            base_url=base_url,
            registry=registry,
            behaviours=self.extensions.behaviours,
            operations=self._operations,
            added_operations=self.extensions.operations,
            principal=principal,
            access=access,
            blobs=self.blobs,
            request_id=request_id,
            recorder=self.recorder if request_id else None,
            address=address,
        )

    async def registry(self, tenant: str) -> Registry:
        """Return the search parameters of a tenant."""
        return await self._registries.of(tenant)

    def registry_at_hand(self, tenant: str) -> Registry | None:
        """Return the search parameters of a tenant where nothing has to be asked for them."""
        return self._registries.at_hand(tenant)

    async def of_tenant(self, tenant: str) -> Context:
        """Return the context of what the server does by itself; the audit trail, where one is kept, keeps its changes."""
        base_url = self.settings.base_url.rstrip("/") or f"http://{self.settings.host}:{self.settings.port}/fhir"
        return replace(await self.of(tenant, base_url, principal=Principal(SYSTEM)), recorder=self.recorder)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Contexts]:
    """Yield the contexts of a process, with the extensions that the settings name, over a connection of its own."""
    async with connect(settings.mongodb_uri, settings) as client:
        database = Database(client[settings.mongodb_database], settings, index_models, WORDS)
        yield Contexts(database, settings, load(settings))
