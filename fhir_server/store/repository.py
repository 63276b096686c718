"""The resources of one tenant.

A repository is made for each request and bound to a tenant, so that no query can be built without one.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from fhir_server.exchange import Resource
from fhir_server.fhir.codec import encode
from fhir_server.fhir.outcome import conflict
from fhir_server.fhir.protected import Looked
from fhir_server.store.cipher import blind
from fhir_server.store.commit import Committer
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.transactions import in_transaction
from fhir_server.store.versions import Version, current_key, history_key
from fhir_server.store.writes import Unit, VersionConflictError, Write

T = TypeVar("T")


class Repository:
    """Reads and writes resources of `tenant`; within a transaction when `session` is set."""

    def __init__(self, database: Database, committer: Committer, tenant: str, session: AsyncClientSession | None = None) -> None:
        self.database = database
        self.tenant = tenant
        self.session = session
        self._committer = committer
        self.written: list[Write] = []
        """What has been written so far, where this is a transaction."""

    def within(self, session: AsyncClientSession) -> "Repository":
        """Return the same view of the data within a transaction."""
        return Repository(self.database, self._committer, self.tenant, session)

    @property
    def audience(self) -> str:
        """Whom page cursors are made for: who may see other resources can not use them."""
        return ""

    def blind(self, resource: Resource, looked: Looked | None = None) -> Resource:
        """Return a resource as it is indexed: with tokens for protected identifiers; the same object without any.

        `looked` is what is known to be found in it.
        """
        keyring = self.database.keyring
        if looked is None and not keyring.systems.mentioned(encode(resource)):
            return resource
        return blind(keyring, self.tenant, resource, looked)

    def collection(self, type_: str) -> AsyncCollection[Document]:
        """Return the collection of current versions."""
        return self.database.collection(type_)

    def history_collection(self, type_: str) -> AsyncCollection[Document]:
        """Return the collection of superseded versions."""
        return self.database.collection(type_ + HISTORY)

    async def existing_types(self) -> frozenset[str]:
        """Return the resource types that have ever been written, by any tenant."""
        return await self.database.existing_types()

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes that all processes share."""
        return await self.database.secret(name)

    async def current(self, type_: str, id_: str) -> Version | None:
        """Return the current version, which may be a deletion; None where there has never been one."""
        key = current_key(self.tenant, id_)
        if self.session is None:
            document = await self.database.find_current(type_, key)
        else:
            document = await self.collection(type_).find_one({"_id": key}, {"s": 0}, session=self.session)
        return Version.from_document(type_, document) if document else None

    async def currents(self, references: Iterable[tuple[str, str]]) -> list[Version]:
        """Return the current versions of those (type, id) that exist, in no certain order."""
        keys: dict[str, set[str]] = {}
        for type_, id_ in references:
            keys.setdefault(type_, set()).add(current_key(self.tenant, id_))
        found = []
        for type_, wanted in keys.items():
            cursor = self.collection(type_).find({"_id": {"$in": sorted(wanted)}}, {"s": 0}, session=self.session)
            found += [Version.from_document(type_, document) async for document in cursor]
        return found

    async def version(self, type_: str, id_: str, number: int) -> Version | None:
        """Return one version, which may be a deletion; None where there is none of this number."""
        current = await self.current(type_, id_)
        if current is None or current.number == number:
            return current
        key = history_key(self.tenant, id_, number)
        document = await self.history_collection(type_).find_one({"_id": key}, session=self.session)
        return Version.from_document(type_, document) if document else None

    async def commit(self, unit: Unit) -> None:
        """Make a unit of work durable, or, within a transaction, part of it.

        Raises:
            VersionConflictError: a resource has been written since it was read; nothing of the unit is kept.
        """
        if self.session is None:
            await self._committer.commit(self.tenant, unit)
        else:
            await self._committer.write(self.tenant, unit, self.session)
            self.written += unit.writes

    async def prepare(self, types: Iterable[str]) -> None:
        """Make the collections of resource types and of guards, before a transaction that writes them."""
        for type_ in sorted(set(types)):
            await self.database.prepare(type_)
        await self.database.prepare_guards()
        await self.database.prepare_claims()

    async def transact(self, work: Callable[["Repository"], Awaitable[T]]) -> T:
        """Run `work` on a repository of one transaction: all that it commits is kept, or nothing.

        `work` runs again when another writer was in its way, so it must have no other effects. Within a transaction
        it becomes part of that one.

        Raises:
            FhirError: 409, when other writers won every time.
        """
        if self.session is not None:
            return await work(self)

        async def attempt(session: AsyncClientSession) -> T:
            return await work(self.within(session))

        for _ in range(self.database.settings.transaction_retries + 1):
            try:
                return await in_transaction(self.database, attempt)
            except VersionConflictError as error:
                lost = error
        raise conflict(f"Others kept writing {lost.type}/{lost.id}; nothing was changed. Send the request again.")
