"""How units of work reach MongoDB.

A creation alone is one insert, without a transaction. Any other unit is a transaction: superseded versions are copied
to history, current ones replaced under a predicate on their version. Units that arrive while others are being
committed share the next insert or transaction (docs/decisions/0004-shared-round-trips.md); when a shared transaction
meets a conflict, each of its units is tried alone, so that none fails for another's sake.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError

from fhir_server.exchange import utc_now
from fhir_server.fhir.outcome import conflict
from fhir_server.store.batcher import Batcher
from fhir_server.store.database import GUARDS, HISTORY, Database, Document
from fhir_server.store.versions import current_key, document, history_document
from fhir_server.store.writes import Unit, VersionConflictError, Write, by_type

DUPLICATE_KEY = 11000
COMMIT_ATTEMPTS = 5
SHARED_WRITES = 4
"""Larger units have a transaction of their own."""

T = TypeVar("T")
Job = tuple[str, Unit]
"""A tenant and what it wants written."""


class Committer:
    """Commits units of work for all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._creator: Batcher[tuple[str, Write], None] = Batcher(self._create)
        self._sharer: Batcher[Job, None] = Batcher(self._share)

    async def commit(self, tenant: str, unit: Unit) -> None:
        """Make the unit durable.

        Raises:
            VersionConflictError: a resource is no longer at the version that the unit follows; nothing is written.
        """
        await self.prepare(unit)
        if len(unit.writes) == 1 and not unit.guards and unit.writes[0].previous is None:
            await self._creator((tenant, unit.writes[0]))
        elif len(unit.writes) <= SHARED_WRITES and not unit.guards:
            await self._sharer((tenant, unit))
        elif unit.writes:
            await self._transact([(tenant, unit)])

    async def prepare(self, unit: Unit) -> None:
        """Make the collections that the unit needs, which a transaction could not do."""
        for item in unit.writes:
            await self._database.prepare(item.version.type)
        if unit.guards:
            await self._database.prepare_guards()

    async def write(self, jobs: Sequence[Job], session: AsyncClientSession) -> None:
        """Write units within a transaction, in a round trip per type.

        Raises:
            VersionConflictError: the transaction has to be aborted.
        """
        guards = [
            UpdateOne({"_id": f"{tenant}/{key}"}, _touch(), upsert=True) for tenant, unit in jobs for key in sorted(unit.guards)
        ]
        if guards:
            await self._database.collection(GUARDS).bulk_write(guards, session=session)
        writes = [(tenant, item) for tenant, unit in jobs for item in unit.writes]
        for type_ in sorted(by_type([item for _, item in writes])):
            await self._write_type(type_, [(tenant, item) for tenant, item in writes if item.version.type == type_], session)

    async def _write_type(self, type_: str, writes: list[tuple[str, Write]], session: AsyncClientSession) -> None:
        current = self._database.collection(type_)
        created = [document(tenant, item.version, item.index) for tenant, item in writes if item.previous is None]
        replaced = [(tenant, item) for tenant, item in writes if item.previous is not None]
        try:
            if created:
                await current.insert_many(created, session=session)
            if replaced:
                old = [
                    history_document(tenant, item.previous, item.version.last_updated)
                    for tenant, item in replaced
                    if item.previous
                ]
                await self._database.collection(type_ + HISTORY).insert_many(old, session=session)
                result = await current.bulk_write([_replacement(tenant, item) for tenant, item in replaced], session=session)
                if result.matched_count != len(replaced):
                    raise VersionConflictError(type_, replaced[0][1].version.id)
        except BulkWriteError as error:
            if all(_is_key_conflict(found) for found in error.details["writeErrors"]):
                raise VersionConflictError(type_, writes[0][1].version.id) from error
            raise

    async def _create(self, items: list[tuple[str, Write]]) -> list[BaseException | None]:
        results: list[BaseException | None] = [None] * len(items)
        for type_ in by_type([item for _, item in items]):
            places = [place for place, (_, item) in enumerate(items) if item.version.type == type_]
            documents = [document(items[place][0], items[place][1].version, items[place][1].index) for place in places]
            try:
                await self._database.collection(type_).insert_many(documents, ordered=False)
            except BulkWriteError as error:
                failed = error.details["writeErrors"]
                for found in failed:
                    place = places[found["index"]]
                    key_conflict = VersionConflictError(type_, items[place][1].version.id)
                    results[place] = key_conflict if _is_key_conflict(found) else error
                if not failed:
                    results = [error if place in places else result for place, result in enumerate(results)]
            except PyMongoError as error:
                results = [error if place in places else result for place, result in enumerate(results)]
        return results

    async def _share(self, jobs: list[Job]) -> list[BaseException | None]:
        results: list[BaseException | None] = [None] * len(jobs)
        taken: set[tuple[str, str, str]] = set()
        shared: list[int] = []
        for place, (tenant, unit) in enumerate(jobs):
            names = {(tenant, item.version.type, item.version.id) for item in unit.writes}
            if taken.isdisjoint(names):
                taken |= names
                shared.append(place)
            else:
                results[place] = VersionConflictError(unit.writes[0].version.type, unit.writes[0].version.id)
        try:
            await self._once([jobs[place] for place in shared])
        except (VersionConflictError, PyMongoError) as error:
            if isinstance(error, PyMongoError) and not error.has_error_label("TransientTransactionError"):
                return [error if place in shared else result for place, result in enumerate(results)]
            for place in shared:
                results[place] = await self._alone(jobs[place])
        return results

    async def _alone(self, job: Job) -> BaseException | None:
        try:
            await self._transact([job])
        except Exception as error:  # noqa: BLE001 (the batcher hands it to whoever waits for this job)
            return error
        return None

    async def _transact(self, jobs: Sequence[Job]) -> None:
        async def work(session: AsyncClientSession) -> None:
            await self.write(jobs, session)

        await in_transaction(self._database, work)

    async def _once(self, jobs: Sequence[Job]) -> None:
        async with self._database.client.start_session() as session:
            await session.start_transaction()
            await self.write(jobs, session)
            await _commit(session)


async def in_transaction(database: Database, work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """Run `work` in a transaction, again when it meets a conflict.

    Raises:
        VersionConflictError: `work` raised it, in every attempt.
        FhirError: 409, when other writers won every time.
    """
    attempts = database.settings.transaction_retries + 1
    for attempt in range(1, attempts + 1):
        try:
            async with database.client.start_session() as session:
                await session.start_transaction()
                result = await work(session)
                await _commit(session)
                return result
        except PyMongoError as error:
            if not error.has_error_label("TransientTransactionError"):
                raise
            if attempt == attempts:
                if isinstance(error, ConnectionFailure):
                    raise
                raise conflict("Others kept writing the same resources; nothing was changed. Send the request again.") from error
            await asyncio.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.2)))  # noqa: S311 (jitter is no secret)
    raise AssertionError


async def _commit(session: AsyncClientSession) -> None:
    """Commit, asking again while the outcome is unknown: a commit may be repeated, it happens once."""
    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        try:
            await session.commit_transaction()
        except PyMongoError as error:
            if attempt == COMMIT_ATTEMPTS or not error.has_error_label("UnknownTransactionCommitResult"):
                raise
        else:
            return


def _touch() -> Document:
    return {"$set": {"u": utc_now()}, "$inc": {"n": 1}}


def _replacement(tenant: str, item: Write) -> ReplaceOne[Document]:
    key = current_key(tenant, item.version.id)
    number = item.previous.number if item.previous else 0
    return ReplaceOne({"_id": key, "v": number}, document(tenant, item.version, item.index))


def _is_key_conflict(error: Document) -> bool:
    return error.get("code") == DUPLICATE_KEY and "_id" in error.get("keyPattern", {})
