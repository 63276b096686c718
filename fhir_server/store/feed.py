"""The change feed: every version that is written, in the order in which it became durable.

It reads one change stream over the whole database (https://www.mongodb.com/docs/manual/changeStreams/). Where that
can not go on, since the oplog no longer reaches back to the position, it reads the versions themselves
(`fhir_server.store.catch_up`). So no change goes unseen, and some are seen twice.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.store.catch_up import CatchUp
from fhir_server.store.changes import Change, projection
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.positions import Position
from fhir_server.store.tasks import end
from fhir_server.store.versions import history_key

BATCH: Final = 500
AWAIT_MS: Final = 1000
"""How long MongoDB waits for a change before it answers that there is none."""
LOST: Final = {136, 260, 280, 286}
"""MongoDB's codes for positions that are no more: CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError,
ChangeStreamHistoryLost."""
FORBIDDEN: Final = {13, 18}
"""Unauthorized, AuthenticationFailed."""


class LostError(Exception):
    """MongoDB can not go on from a token."""


@dataclass(frozen=True, slots=True)
class Interest:
    """Which changes are told, and what of the resources with them."""

    types: frozenset[str] = frozenset()
    """Resource types; empty for all."""
    elements: frozenset[str] = frozenset()
    """Elements that `Change.elements` carries."""
    previous: frozenset[str] = frozenset()
    """Resource types whose changes carry the elements of the version before."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in their order. `positions` has one for each: where the feed stands when that change is done."""

    changes: Sequence[Change]
    positions: Sequence[Position]
    position: Position
    """Where the feed stands when all are done; it moves on also where there are none."""


class Feed:
    """Changes from a position on, without an end."""

    def __init__(self, database: Database, interest: Interest) -> None:
        self._database = database
        self._interest = interest

    async def batches(self, position: Position) -> AsyncGenerator[Batch, None]:
        """Yield changes, and now and then an empty batch; raises what PyMongo raises when MongoDB is away."""
        while True:
            if position.token is None:
                async with aclosing(self._from_history(position)) as batches:
                    async for batch in batches:
                        yield batch
                        position = batch.position
            with suppress(LostError):
                async with aclosing(self._from_stream(position)) as batches:
                    async for batch in batches:
                        yield batch
                        position = batch.position
            # Its end, or its loss: what is in between stands in the history.
            position = Position(position.since)

    async def _from_history(self, position: Position) -> AsyncGenerator[Batch, None]:
        catch_up = CatchUp(self._database, self._interest.types, projection(self._interest.elements))
        async with catch_up.begun(position) as pages:
            async for found, reached in pages:
                positions = [replace(reached, since=change.moment) for change in found]
                yield Batch(await self._with_previous(found), positions, reached)

    async def _from_stream(self, position: Position) -> AsyncGenerator[Batch, None]:
        async with self._stream(position) as stream:
            pending: asyncio.Task[Any] | None = None
            try:
                while stream.alive:
                    pending = pending or asyncio.create_task(stream.try_next())
                    # Not awaited as such: PyMongo might swallow the cancellation of both.
                    await asyncio.wait({pending})
                    events, pending = await _available(stream, pending)
                    batch = self._batch(events, position, stream.resume_token)
                    position = batch.position
                    yield replace(batch, changes=await self._with_previous(batch.changes))
            finally:
                if pending is not None:
                    await end(pending)

    @asynccontextmanager
    async def _stream(self, position: Position) -> AsyncIterator[AsyncChangeStream[Document]]:
        try:
            opened = await self._database.mongodb.watch(
                self._pipeline(),
                resume_after=position.token,
                start_at_operation_time=None if position.token else position.start_at,
                max_await_time_ms=AWAIT_MS,
                batch_size=BATCH,
            )
        except OperationFailure as error:
            # A token that is none, or one of another version of MongoDB, is answered by many codes.
            if error.code in LOST or (position.token and error.code not in FORBIDDEN):
                raise LostError from error
            raise
        async with opened as stream:
            try:
                yield stream
            except OperationFailure as error:
                if error.code in LOST:
                    raise LostError from error
                raise

    def _pipeline(self) -> list[Document]:
        # Versions are told from all else by their form: a comparison with 146 names would cost more, at every write.
        form: Document = {
            "operationType": {"$in": ["insert", "replace"]},
            "fullDocument.w": {"$exists": True},
            "fullDocument.e": {"$exists": False},
        }
        if self._interest.types:
            form["ns.coll"] = {"$in": sorted(self._interest.types)}
        wanted = {"ns.coll": 1, "clusterTime": 1, **projection(self._interest.elements, "fullDocument.")}
        return [{"$match": form}, {"$project": wanted}]

    def _batch(self, events: Iterable[Document], position: Position, token: Mapping[str, Any] | None) -> Batch:
        changes, positions = [], []
        for event in events:
            position = Position(_moment(event), event["_id"])
            type_ = event["ns"]["coll"]
            if type_ in RESOURCE_TYPES:
                changes.append(Change.from_document(type_, event["fullDocument"]))
                positions.append(position)
        return Batch(changes, positions, replace(position, token=token) if token else position)

    async def _with_previous(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Add what is asked for of the versions before, with one look at the history of each type."""
        wanted: dict[str, list[str]] = {}
        for change in changes:
            if change.type in self._interest.previous and change.version > 1:
                wanted.setdefault(change.type, []).append(_key_before(change))
        if not wanted:
            return changes
        fields = {"d": 1, **{f"r.{name}": 1 for name in sorted(self._interest.elements)}}
        found: dict[tuple[str, str], Document] = {}
        for type_, keys in wanted.items():
            cursor = self._database.collection(type_ + HISTORY).find({"_id": {"$in": keys}}, fields)
            found |= {(type_, document["_id"]): document async for document in cursor}
        return [_preceded(change, found.get((change.type, _key_before(change)))) for change in changes]


async def _available(
    stream: AsyncChangeStream[Document], arrived: "asyncio.Task[Any]"
) -> tuple[list[Document], "asyncio.Task[Any] | None"]:
    """Return the changes that have arrived, and the request for more that is under way by then.

    PyMongo gives one change after the other, and only the wait for the next tells whether it has arrived already: what
    has takes no turn of the event loop.
    """
    events: list[Document] = []
    while arrived.done():
        event = arrived.result()
        if event is None:
            return events, None
        events.append(event)
        if len(events) == BATCH:
            return events, None
        arrived = asyncio.create_task(stream.try_next())
        await asyncio.sleep(0)
    return events, arrived


def _moment(event: Document) -> datetime:
    moment: datetime = event["clusterTime"].as_datetime()
    return moment.astimezone(UTC)


def _key_before(change: Change) -> str:
    return history_key(change.tenant, change.id, change.version - 1)


def _preceded(change: Change, document: Document | None) -> Change:
    if document is None or document.get("d"):
        return change
    return replace(change, previous=document.get("r") or {})
