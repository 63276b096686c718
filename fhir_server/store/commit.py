"""How units of work reach MongoDB.

A creation alone is one insert, an update or deletion alone a copy to history and a replacement
(`fhir_server.store.supersede`), both without a transaction; those that arrive while others are under way share the next
round trip (docs/decisions/0004-shared-round-trips.md). Every larger unit is a transaction of its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, PyMongoError

from fhir_server.exchange import utc_now
from fhir_server.store.batcher import Batcher
from fhir_server.store.claims import lay
from fhir_server.store.companions import Indexed
from fhir_server.store.database import GUARDS, HISTORY, Database, Document
from fhir_server.store.failures import failure
from fhir_server.store.jobs import Item, Job, job
from fhir_server.store.supersede import Result, are_small, removals, supersede, tokens_of
from fhir_server.store.together import TRANSIENT
from fhir_server.store.transactions import in_transaction
from fhir_server.store.writes import Unit, VersionConflictError

LINGER = 0.002
"""How long writes wait for company, in seconds, where there was company just before."""


class Committer:
    """Commits units of work for all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._creator: Batcher[Job, None] = Batcher(self._create, linger=LINGER, patience=database.patience)
        self._replacer: Batcher[Job, None] = Batcher(self._replace, parallel=1, linger=LINGER, patience=database.patience)

    async def commit(self, tenant: str, unit: Unit) -> None:
        """Make the unit durable.

        Raises:
            VersionConflictError: a resource is no longer at the version that the unit follows; nothing is written.
            FhirError: 413 or 422, for a resource that MongoDB can not hold.
        """
        await self.prepare(unit)
        wanted = await self._job(tenant, unit)
        if len(wanted.items) == 1 and not wanted.guards and not wanted.claims:
            await (self._creator if wanted.items[0].superseded is None else self._replacer)(wanted)
        elif wanted.items:
            await self._transact(wanted)

    async def prepare(self, unit: Unit) -> None:
        """Make the collections that the unit needs, which a transaction could not do."""
        for item in unit.writes:
            await self._database.prepare(item.version.type)
        if unit.guards:
            await self._database.prepare_guards()
        if any(item.claims for item in unit.writes):
            await self._database.prepare_claims()

    async def write(self, tenant: str, unit: Unit, session: AsyncClientSession) -> None:
        """Write a unit within a transaction.

        Raises:
            VersionConflictError: the transaction has to be aborted.
            FhirError: 413 or 422, for a resource that MongoDB can not hold.
        """
        await self._write([await self._job(tenant, unit)], session)

    async def _job(self, tenant: str, unit: Unit) -> Job:
        """Return the unit, encoded, after making what has to be there before it."""
        keyring = self._database.keyring
        if not keyring.is_ready(tenant):
            await keyring.ready(tenant)
        found = job(tenant, unit, keyring)
        await self._database.accompany(tenant, _indexed(found))
        return found

    async def _write(self, jobs: Sequence[Job], session: AsyncClientSession) -> None:
        """Write jobs within a transaction, in a few round trips per type."""
        guards = [UpdateOne({"_id": key}, _touch(), upsert=True) for one in jobs for key in one.guards]
        if guards:
            await self._database.collection(GUARDS).bulk_write(guards, session=session)
        claims = [claim for one in jobs for claim in one.claims]
        if claims:
            await lay(self._database, claims, session)
        for type_, items in sorted(by_type(item for one in jobs for item in one.items).items()):
            try:
                await self._write_type(type_, items, session)
            except BulkWriteError as error:
                failed = error.details["writeErrors"]
                if error.has_error_label(TRANSIENT) or not failed:
                    raise
                raise failure(type_, items[0], failed[0]) from error

    async def _write_type(self, type_: str, items: Sequence[Item], session: AsyncClientSession) -> None:
        current = self._database.collection(type_)
        created = [item.current for item in items if item.superseded is None]
        replaced = [item for item in items if item.superseded is not None]
        if created:
            await current.insert_many(created, session=session)
        if replaced:
            # An update outside of transactions may have left a copy of what is still current.
            copies: list[ReplaceOne[Any]] = [
                ReplaceOne({"_id": item.superseded["_id"]}, item.superseded, upsert=True)
                for item in replaced
                if item.superseded is not None
            ]
            await self._database.collection(type_ + HISTORY).bulk_write(copies, session=session)
            # Within a transaction MongoDB 6.0 takes 6 ms to change one indexed field of a document with 40 indexes, against
            # 0.6 ms to delete the document and insert it anew (docs/decisions/0026-merges.md).
            result = await current.bulk_write(removals(replaced), session=session)
            if result.deleted_count != len(replaced):
                raise VersionConflictError(type_, replaced[0].write.version.id)
            await current.insert_many([item.current for item in replaced], session=session)

    async def _create(self, jobs: list[Job]) -> list[Result]:
        results: list[Result] = [None] * len(jobs)
        for type_, places in _places(jobs).items():
            outcome = await self._insert(type_, [jobs[place].items[0] for place in places])
            for place, result in zip(places, outcome, strict=True):
                results[place] = result
        return results

    async def _insert(self, type_: str, items: Sequence[Item]) -> list[Result]:
        documents = [item.current for item in items]
        if are_small(documents) and await self._database.insert(type_, documents):
            return [None] * len(items)
        results: list[Result] = [None] * len(items)
        try:
            await self._database.collection(type_).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            # Without a write error a document is there, but perhaps not on a majority.
            if error.details["writeConcernErrors"]:
                results = [error] * len(items)
            for found in error.details["writeErrors"]:
                results[found["index"]] = failure(type_, items[found["index"]], found)
            return await self._without_ours(type_, items, results)
        except PyMongoError as error:
            return [error] * len(items)
        return results

    async def _without_ours(self, type_: str, items: Sequence[Item], results: list[Result]) -> list[Result]:
        """Return the results without conflicts with what was inserted a moment before, by the short way."""
        places = [place for place, result in enumerate(results) if isinstance(result, VersionConflictError)]
        written = await tokens_of(self._database, type_, [items[place] for place in places]) if places else set()
        for place in places:
            if items[place].write.version.token in written:
                results[place] = None
        return results

    async def _replace(self, jobs: list[Job]) -> list[Result]:
        results: list[Result] = [_conflict(one) for one in jobs]
        for type_, places in _places(jobs).items():
            # Of two that follow the same version only one can win; the other looks again.
            first = {(jobs[place].items[0].tenant, jobs[place].items[0].write.version.id): place for place in reversed(places)}
            chosen = sorted(first.values())
            outcome = await supersede(self._database, type_, [jobs[place].items[0] for place in chosen])
            for place, result in zip(chosen, outcome, strict=True):
                results[place] = result
        return results

    async def _transact(self, one: Job) -> None:
        if not one.guards and not one.claims and all(item.superseded is None for item in one.items):
            groups = sorted(by_type(one.items).items())
            inserts = [(type_, [item.current for item in items]) for type_, items in groups]
            if are_small([item.current for item in one.items]) and await self._database.insert_together(inserts):
                return

        async def work(session: AsyncClientSession) -> None:
            await self._write([one], session)

        await in_transaction(self._database, work)


def _indexed(found: Job) -> list[Indexed]:
    return [(item.type, item.index) for item in found.items if item.index is not None]


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


def _conflict(one: Job) -> VersionConflictError:
    version = one.items[0].write.version
    return VersionConflictError(version.type, version.id)
