"""How units of work reach MongoDB.

A creation alone is one insert, without a transaction. Any other unit is a transaction: superseded versions are copied
to history, current ones replaced under a predicate on their version. Units that arrive while others are being
committed share the next insert or transaction (docs/decisions/0004-shared-round-trips.md); when a shared transaction
fails, each of its units is tried alone, so that none fails for another's sake.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, PyMongoError, WriteError

from fhir_server.exchange import utc_now
from fhir_server.store.batcher import Batcher
from fhir_server.store.database import GUARDS, HISTORY, Database, Document
from fhir_server.store.jobs import Item, Job, job
from fhir_server.store.transactions import TRANSIENT, commit, deadline, in_transaction, transaction
from fhir_server.store.versions import current_key
from fhir_server.store.writes import Unit, VersionConflictError

DUPLICATE_KEY = 11000
SHARED_WRITES = 4
"""Larger units have a transaction of their own."""

Result = BaseException | None


class Committer:
    """Commits units of work for all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._creator: Batcher[Job, None] = Batcher(self._create, patience=database.patience)
        self._sharer: Batcher[Job, None] = Batcher(self._share, patience=database.patience)

    async def commit(self, tenant: str, unit: Unit) -> None:
        """Make the unit durable.

        Raises:
            VersionConflictError: a resource is no longer at the version that the unit follows; nothing is written.
            FhirError: 413 or 422, for a resource that MongoDB can not hold.
        """
        await self.prepare(unit)
        wanted = job(tenant, unit)
        if len(wanted.items) == 1 and not wanted.guards and wanted.items[0].superseded is None:
            await self._creator(wanted)
        elif len(wanted.items) <= SHARED_WRITES and not wanted.guards:
            await self._sharer(wanted)
        elif wanted.items:
            await self._transact(wanted)

    async def prepare(self, unit: Unit) -> None:
        """Make the collections that the unit needs, which a transaction could not do."""
        for item in unit.writes:
            await self._database.prepare(item.version.type)
        if unit.guards:
            await self._database.prepare_guards()

    async def write(self, tenant: str, unit: Unit, session: AsyncClientSession) -> None:
        """Write a unit within a transaction.

        Raises:
            VersionConflictError: the transaction has to be aborted.
            FhirError: 413 or 422, for a resource that MongoDB can not hold.
        """
        await self._write([job(tenant, unit)], session)

    async def _write(self, jobs: Sequence[Job], session: AsyncClientSession) -> None:
        """Write jobs within a transaction, in a few round trips per type."""
        guards = [UpdateOne({"_id": key}, _touch(), upsert=True) for one in jobs for key in one.guards]
        if guards:
            await self._database.collection(GUARDS).bulk_write(guards, session=session)
        for type_, items in sorted(by_type(item for one in jobs for item in one.items).items()):
            try:
                await self._write_type(type_, items, session)
            except BulkWriteError as error:
                if error.has_error_label(TRANSIENT):
                    raise
                raise _failure(type_, items, error.details["writeErrors"][0]) from error

    async def _write_type(self, type_: str, items: Sequence[Item], session: AsyncClientSession) -> None:
        current = self._database.collection(type_)
        created = [item.current for item in items if item.superseded is None]
        replaced = [item for item in items if item.superseded is not None]
        if created:
            await current.insert_many(created, session=session)
        if replaced:
            old = [item.superseded for item in replaced if item.superseded is not None]
            await self._database.collection(type_ + HISTORY).insert_many(old, session=session)
            result = await current.bulk_write([_replacement(item) for item in replaced], session=session)
            if result.matched_count != len(replaced):
                raise VersionConflictError(type_, replaced[0].write.version.id)

    async def _create(self, jobs: list[Job]) -> list[Result]:
        results: list[Result] = [None] * len(jobs)
        for type_, places in _places(jobs).items():
            outcome = await self._insert(type_, [jobs[place].items[0] for place in places])
            for place, result in zip(places, outcome, strict=True):
                results[place] = result
        return results

    async def _insert(self, type_: str, items: Sequence[Item]) -> list[Result]:
        try:
            await self._database.collection(type_).insert_many([item.current for item in items], ordered=False)
        except BulkWriteError as error:
            # Without a write error a document is there, but perhaps not on a majority.
            results: list[Result] = [error if error.details["writeConcernErrors"] else None] * len(items)
            for found in error.details["writeErrors"]:
                place = found["index"]
                results[place] = _failure(type_, [items[place]], found)
            return results
        except PyMongoError as error:
            return [error] * len(items)
        return [None] * len(items)

    async def _share(self, jobs: list[Job]) -> list[Result]:
        results: list[Result] = [None] * len(jobs)
        taken: set[tuple[str, str, str]] = set()
        shared: list[int] = []
        for place, one in enumerate(jobs):
            names = {(item.tenant, item.type, item.write.version.id) for item in one.items}
            if taken.isdisjoint(names):
                taken |= names
                shared.append(place)
            else:
                results[place] = _conflict(one)
        try:
            committed = await self._together([jobs[place] for place in shared])
        except _UncertainError as error:
            return [error.reason if place in shared else result for place, result in enumerate(results)]
        if not committed:
            for place in shared:
                results[place] = await self._alone(jobs[place])
                if isinstance(results[place], ConnectionFailure):
                    # Those that come after it would wait as long, one after the other.
                    return [results[place] if other in shared and other > place else found for other, found in enumerate(results)]
        return results

    async def _together(self, jobs: Sequence[Job]) -> bool:
        """Write jobs in one transaction; False when nothing is written, True when all is.

        Raises:
            _UncertainError: it is not known which.
        """
        until = deadline(self._database)
        try:
            async with transaction(self._database) as session:
                await self._write(jobs, session)
                try:
                    await commit(session, until)
                except PyMongoError as error:
                    if error.has_error_label(TRANSIENT):
                        return False
                    raise _UncertainError(error) from error
        except (VersionConflictError, PyMongoError):
            return False
        return True

    async def _alone(self, one: Job) -> Result:
        try:
            await self._transact(one)
        except Exception as error:  # noqa: BLE001 -- the batcher hands it to whoever waits for this job
            return error
        return None

    async def _transact(self, one: Job) -> None:
        async def work(session: AsyncClientSession) -> None:
            await self._write([one], session)

        await in_transaction(self._database, work)


class _UncertainError(Exception):
    """A commit failed in a way that does not tell whether it happened."""

    def __init__(self, reason: PyMongoError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def by_type(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Group items by resource type, in their order."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.type, []).append(item)
    return groups


def _places(jobs: Sequence[Job]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(jobs):
        groups.setdefault(one.items[0].type, []).append(place)
    return groups


def _touch() -> Document:
    return {"$set": {"u": utc_now()}, "$inc": {"n": 1}}


def _replacement(item: Item) -> "ReplaceOne[Mapping[str, Any]]":
    number = item.write.previous.number if item.write.previous else 0
    return ReplaceOne({"_id": current_key(item.tenant, item.write.version.id), "v": number}, item.current)


def _conflict(one: Job) -> VersionConflictError:
    version = one.items[0].write.version
    return VersionConflictError(version.type, version.id)


def _failure(type_: str, items: Sequence[Item], found: Document) -> Exception:
    """Return what an error of one document means."""
    text, code = str(found.get("errmsg", "")), found.get("code")
    if code != DUPLICATE_KEY:
        return WriteError(text, code, found)
    if "_id" in found.get("keyPattern", {}):
        return VersionConflictError(type_, items[0].write.version.id)
    return DuplicateKeyError(text, code, found)
