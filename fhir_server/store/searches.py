"""Searches that arrive while others of the same shape are under way share one round trip.

Eight searches in one aggregation cost MongoDB little more than half of what they cost apart, and this process a
quarter (docs/decisions/0009-lanes.md). Only what is quick is shared, so that nobody waits for somebody else's slow
search; what a search finds and its order are the same in either way.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bson.codec_options import CodecOptions
from pymongo.errors import ExecutionTimeout

from fhir_server.store.batcher import Batcher
from fhir_server.store.lanes import Document, Lanes

SHARED: Final = 16
"""Searches in one round trip."""
SHARED_LIMIT: Final = 101
"""Larger pages go alone, so that no answer outgrows what one batch may hold."""
SHARED_FOUND: Final = 40
"""Searches without such a limit are shared while their like find no more than this."""
SLOW_SECONDS: Final = 0.05
"""What takes longer, waiting included, is not shared."""
SHAPES: Final = 256
_MARK: Final = "_b"

Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A search of one collection: what `find` takes."""

    collection: str
    filter: Document
    projection: Mapping[str, Any]
    sort: tuple[tuple[str, int], ...]
    limit: int
    max_time_ms: int

    def shape(self) -> Shape:
        """Return what searches have in common that cost about the same."""
        fields = tuple((name, tuple(value) if isinstance(value, dict) else "") for name, value in self.filter.items())
        return (self.collection, fields, self.sort, self.limit, tuple(self.projection.items()))

    def command(self) -> Document:
        """Return it as a `find` that answers in one batch."""
        found: Document = {
            "find": self.collection,
            "filter": self.filter,
            "projection": self.projection,
            "limit": self.limit,
            "batchSize": self.limit + 1,
            "maxTimeMS": self.max_time_ms,
        }
        return found | {"sort": dict(self.sort)} if self.sort else found

    def stages(self, mark: int) -> list[Document]:
        """Return it as stages of an aggregation whose documents say where they belong."""
        sort: list[Document] = [{"$sort": dict(self.sort)}] if self.sort else []
        return [{"$match": self.filter}, *sort, {"$limit": self.limit}, {"$project": self.projection}, {"$set": {_MARK: mark}}]


class Searches:
    """Runs searches of one database over lanes."""

    def __init__(self, lanes: Lanes, database: str, codec_options: CodecOptions[Document]) -> None:
        self._lanes = lanes
        self._database = database
        self._codec_options = codec_options
        self._batchers: dict[Shape, Batcher[Search, list[Document] | None]] = {}
        self._slow: dict[Shape, float] = {}
        self._found: dict[Shape, float] = {}

    async def find(self, search: Search) -> list[Document] | None:
        """Return the documents in their order; None: ask PyMongo.

        Raises:
            ExecutionTimeout: MongoDB ended it after `max_time_ms`.
        """
        shape = search.shape()
        if not search.sort or shape in self._slow or not self._is_small(search, shape):
            return await self._alone(search, shape)
        batcher = self._batchers.get(shape)
        if batcher is None:
            if len(self._batchers) >= SHAPES:
                self._batchers.clear()
            batcher = self._batchers[shape] = Batcher(self._together, limit=SHARED)
        return await batcher(search)

    async def _together(self, searches: list[Search]) -> Sequence[list[Document] | BaseException | None]:
        shape = searches[0].shape()
        if len(searches) == 1:
            return [await self._alone(searches[0], shape)]
        began = time.monotonic()
        try:
            found = await self._lanes.read(self._database, _union(searches), self._codec_options)
        except ExecutionTimeout:
            found = None
        self._note(shape, (time.monotonic() - began) / len(searches))
        if found is None:
            self._found.pop(shape, None)
            return [None] * len(searches)
        results: list[list[Document] | None] = [[] for _ in searches]
        for document in found:
            part = results[document.pop(_MARK)]
            if part is not None:
                part.append(document)
        for search, part in zip(searches, results, strict=True):
            if search.limit > SHARED_LIMIT:
                self._note_found(shape, part)
        return results

    async def _alone(self, search: Search, shape: Shape) -> list[Document] | None:
        began = time.monotonic()
        try:
            found = await self._lanes.read(self._database, search.command(), self._codec_options)
        finally:
            self._note(shape, time.monotonic() - began)
        if search.limit > SHARED_LIMIT:
            self._note_found(shape, found)
        return found

    def _is_small(self, search: Search, shape: Shape) -> bool:
        """Tell whether a search finds little: by its limit, or else by what its like have found."""
        return search.limit <= SHARED_LIMIT or self._found.get(shape, SHARED_LIMIT) <= SHARED_FOUND

    def _note_found(self, shape: Shape, found: list[Document] | None) -> None:
        if found is None:
            self._found.pop(shape, None)
            return
        if len(self._found) >= SHAPES:
            self._found.clear()
        known = self._found.get(shape)
        self._found[shape] = float(len(found)) if known is None else max(0.9 * known + 0.1 * len(found), 0.5 * len(found))

    def _note(self, shape: Shape, seconds: float) -> None:
        """Remember which shapes are slow, until they have been quick for a while."""
        known = self._slow.get(shape, 0.0)
        if not known and seconds < SLOW_SECONDS:
            return
        average = 0.8 * known + 0.2 * seconds if known else seconds
        if average < SLOW_SECONDS:
            self._slow.pop(shape, None)
            return
        if len(self._slow) >= SHAPES:
            self._slow.clear()
        self._slow[shape] = average


def _union(searches: Sequence[Search]) -> Document:
    first, *others = searches
    pipeline = first.stages(0)
    pipeline += [
        {"$unionWith": {"coll": search.collection, "pipeline": search.stages(mark)}} for mark, search in enumerate(others, 1)
    ]
    return {
        "aggregate": first.collection,
        "pipeline": pipeline,
        "cursor": {"batchSize": sum(search.limit for search in searches) + 1},
        "maxTimeMS": min(search.max_time_ms for search in searches),
    }
