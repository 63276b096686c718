"""The change feed: every version that is written, in the order in which it became durable.

It reads a change stream over the whole database (https://www.mongodb.com/docs/manual/changeStreams/). Where that
can not go on, since the oplog no longer reaches back to the position, it reads the versions themselves
(`fhir_server.store.catch_up`). So no change goes unseen, and some are seen twice.
"""

import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pymongo.errors import PyMongoError

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.store.catch_up import CatchUp, sealed
from fhir_server.store.changes import Change, projection
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.positions import Position
from fhir_server.store.shared_stream import LeftBehindError, SharedStream
from fhir_server.store.stream import LostError, is_resumable, opened
from fhir_server.store.versions import history_key

AWAIT_MS: Final = 1000
"""How long MongoDB waits for a change before it answers that there is none."""
ALONE_SECONDS: Final = 5.0
"""So long who was left behind by the shared stream reads one of its own."""


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


def pipeline_of(interest: Interest) -> list[Document]:
    """Return the stages of a change stream that tells what is of interest."""
    # Versions are told from all else by their form: a comparison with 146 names would cost more, at every write.
    form: Document = {
        "operationType": {"$in": ["insert", "replace"]},
        "fullDocument.w": {"$type": "number"},
        "fullDocument.e": {"$exists": False},
    }
    if interest.types:
        form["ns.coll"] = {"$in": sorted(interest.types)}
    wanted = {"ns.coll": 1, "clusterTime": 1, **projection(interest.elements, "fullDocument.")}
    return [{"$match": form}, {"$project": wanted}]


class Sharing:
    """What the feeds of one process share: a stream of all that is of interest to any of them."""

    def __init__(self, database: Database) -> None:
        self._interests: list[Interest] = []
        self.stream = SharedStream(database, self._pipeline, lambda: AWAIT_MS)

    def add(self, interest: Interest) -> None:
        """Let the stream tell also this, when it is opened the next time."""
        self._interests.append(interest)

    def _pipeline(self) -> list[Document]:
        every = any(not one.types for one in self._interests)
        types = frozenset[str]() if every else frozenset[str]().union(*(one.types for one in self._interests))
        return pipeline_of(Interest(types, frozenset[str]().union(*(one.elements for one in self._interests))))


class Feed:
    """Changes from a position on, without an end; those who have caught up read one stream where they share it."""

    def __init__(self, database: Database, interest: Interest, shared: Sharing | None = None) -> None:
        self._database = database
        self._interest = interest
        self._shared = shared
        if shared is not None:
            shared.add(interest)

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
        """Yield what comes after a position, from a stream of its own until it has caught up with the shared one."""
        alone_until = 0.0
        while True:
            try:
                async with opened(self._database, position, self._pipeline(), await_ms=AWAIT_MS) as stream:
                    caught_up = False
                    while stream.alive and not caught_up:
                        batch = await self._batch(await stream.read(), position, stream.token)
                        yield batch
                        position = batch.position
                        caught_up = not batch.changes and self._shared is not None and time.monotonic() > alone_until
                    if not caught_up:
                        return
            except PyMongoError as error:
                if not is_resumable(error) or time.monotonic() < alone_until:
                    raise
            async with aclosing(self._from_shared(position)) as batches:
                async for batch in batches:
                    yield batch
                    position = batch.position
            alone_until = time.monotonic() + ALONE_SECONDS

    async def _from_shared(self, position: Position) -> AsyncGenerator[Batch, None]:
        """Yield the same from the shared stream, as long as that can give it."""
        if self._shared is None:
            return
        async with self._shared.stream.joined(position) as reader:
            while reader is not None:
                try:
                    events, token = await reader.read()
                except LeftBehindError:
                    return
                batch = await self._batch(events, position, token)
                yield batch
                position = batch.position

    def _pipeline(self) -> list[Document]:
        return pipeline_of(self._interest)

    async def _batch(self, events: Iterable[Document], position: Position, token: Mapping[str, Any] | None) -> Batch:
        changes: list[Change] = []
        positions: list[Position] = []
        for event in events:
            position = Position(_moment(event), event["_id"])
            type_ = event["ns"]["coll"]
            if type_ in (self._interest.types or RESOURCE_TYPES):
                changes.append(Change.from_document(type_, event["fullDocument"], self._interest.elements))
                positions.append(position)
        found = await self._with_previous(changes)
        return Batch(found, positions, replace(position, token=token) if token else position)

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
            cursor = sealed(self._database, type_ + HISTORY).find({"_id": {"$in": keys}}, fields)
            found |= {(type_, document["_id"]): document async for document in cursor}
        return [_preceded(change, found.get((change.type, _key_before(change)))) for change in changes]


def _moment(event: Document) -> datetime:
    moment: datetime = event["clusterTime"].as_datetime()
    return moment.astimezone(UTC)


def _key_before(change: Change) -> str:
    return history_key(change.tenant, change.id, change.version - 1)


def _preceded(change: Change, document: Document | None) -> Change:
    if document is None or document.get("d"):
        return change
    return replace(change, previous=document.get("r") or {})
