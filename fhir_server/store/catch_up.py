"""All versions that were written since a moment, oldest first, of all tenants: what the change feed falls back on.

Every version is a document of the current or of the history collection of its type. Current ones are read first, so that
one that is superseded in between is seen twice, and none is overseen.
"""

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from bson.timestamp import Timestamp
from pymongo import ASCENDING
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from fhir_server.store.changes import Change
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.positions import Position

PAGE: Final = 500
"""Versions that are read of one collection at a time."""
MARGIN: Final = timedelta(minutes=10)
"""A version's time is that of the writer's clock when it began; it may be durable so much later."""

Page = tuple[Sequence[Change], Position]


class CatchUp:
    """Reads versions of some resource types (none: all)."""

    def __init__(self, database: Database, types: frozenset[str], projection: Mapping[str, Any]) -> None:
        self._database = database
        self._types = types
        self._projection = projection

    @asynccontextmanager
    async def begun(self, position: Position) -> AsyncIterator[AsyncIterator[Page]]:
        """Yield an iterator of versions that began at `position.since` or later; the last position is one of the stream.

        What is written from `start_at` on is left to the stream. Reads wait for what was written before: the session
        sees to it that they are not answered by a majority that lags behind.
        """
        async with self._database.client.start_session(causal_consistency=True) as session:
            await self._database.mongodb.command("ping", session=session)
            if position.start_at is None:
                position = Position(position.since - MARGIN, start_at=_after(session.operation_time))
            yield self._pages(position, session)

    async def _pages(self, position: Position, session: AsyncClientSession) -> AsyncIterator[Page]:
        limit = PAGE
        tenants: dict[str, list[str]] = {}
        while True:
            found, horizon = await self._page(position.since, limit, tenants, session)
            if horizon is None:
                yield found, position
                return
            if horizon == position.since:
                # More versions of one moment than a page holds.
                limit *= 2
                continue
            position = replace(position, since=horizon)
            yield [change for change in found if change.moment < horizon], position
            limit = PAGE

    async def _page(
        self, since: datetime, limit: int, tenants: dict[str, list[str]], session: AsyncClientSession
    ) -> tuple[list[Change], datetime | None]:
        """Return versions from `since` on, and the moment from which on there may be others; None where there are none."""
        existing = sorted(await self._database.existing_types())
        types = [type_ for type_ in existing if not self._types or type_ in self._types]
        parts: list[list[Change]] = []
        horizon: datetime | None = None
        for name, type_ in [*((type_, type_) for type_ in types), *((type_ + HISTORY, type_) for type_ in types)]:
            documents = await self._read(name, since, limit, tenants, session)
            parts.append([Change.from_document(type_, document) for document in documents])
            if len(documents) == limit:
                horizon = min(horizon or documents[-1]["u"], documents[-1]["u"])
        merged = heapq.merge(*parts, key=lambda change: (change.moment, change.type, change.id, change.version))
        seen = {(change.tenant, change.type, change.id, change.version): change for change in merged}
        return list(seen.values()), horizon

    async def _read(
        self, name: str, since: datetime, limit: int, tenants: dict[str, list[str]], session: AsyncClientSession
    ) -> list[Document]:
        """Read a collection by its index on tenant and time."""
        collection = sealed(self._database, name)
        if name not in tenants:
            tenants[name] = await collection.distinct("t", session=session)
        condition: Document = {"t": {"$in": tenants[name]}, "u": {"$gte": since}}
        cursor = collection.find(condition, self._projection, session=session, limit=limit)
        return await cursor.sort([("u", ASCENDING), ("i", ASCENDING)]).batch_size(limit + 1).to_list()


def sealed(database: Database, name: str) -> AsyncCollection[Document]:
    """Return a collection whose encrypted values stay so, as those of a stream do: no key has to be known to tell a change."""
    return database.collection(name).with_options(codec_options=CODEC_OPTIONS)


def _after(time: Timestamp | None) -> Timestamp:
    """Return the first operation time that is later; servers that keep an oplog tell theirs with every answer."""
    if time is None:
        raise AssertionError
    return Timestamp(time.time, time.inc + 1)
