"""Searches that arrive while others of the same shape are under way share one round trip.

Eight searches in one aggregation cost MongoDB little more than half of what they cost apart, and this process a
quarter (docs/decisions/0009-lanes.md). Only what is quick is shared, so that nobody waits for somebody else's slow
search; what a search finds and its order are the same in either way.
"""

import time
from collections.abc import Sequence
from typing import Final

from bson.codec_options import CodecOptions
from pymongo.errors import ExecutionTimeout

from fhir_server.store.batcher import Batcher
from fhir_server.store.lanes import Lanes
from fhir_server.store.merging import merged
from fhir_server.store.search import MARK, Document, Search, Shape

SHARED: Final = 16
"""Searches in one round trip."""
SHARED_LIMIT: Final = 101
"""Larger pages go alone, so that no answer outgrows what one batch may hold."""
SHARED_FOUND: Final = 40
"""Searches without such a limit are shared while their like find no more than this."""
SLOW_SECONDS: Final = 0.05
"""What takes longer, waiting included, is not shared."""
SHAPES: Final = 256
CROWDED: Final = 100
"""How often searches of a shape that found too much to be told apart go side by side before they are merged again."""


class Searches:
    """Runs searches of one database over lanes."""

    def __init__(self, lanes: Lanes, database: str, codec_options: CodecOptions[Document]) -> None:
        self._lanes = lanes
        self._database = database
        self._codec_options = codec_options
        self._batchers: dict[Shape, Batcher[Search, list[Document] | None]] = {}
        self._slow: dict[Shape, float] = {}
        self._found: dict[Shape, float] = {}
        self._crowded: dict[Shape, int] = {}

    async def find(self, search: Search) -> list[Document] | None:
        """Return the documents in their order; None: ask PyMongo.

        Raises:
            ExecutionTimeout: MongoDB ended it after `max_time_ms`.
        """
        shape = search.shape()
        if not search.sort or search.index or shape in self._slow or not self._is_small(search, shape):
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
        if (parts := await self._merged(searches, shape)) is not None:
            return parts
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
            part = results[document.pop(MARK)]
            if part is not None:
                part.append(document)
        self._note_parts(searches, results, shape)
        return results

    async def _merged(self, searches: Sequence[Search], shape: Shape) -> list[list[Document] | None] | None:
        """Ask for all in one search; None where that can not be, or found more than it could be sure of."""
        if waits := self._crowded.pop(shape, 0):
            if waits > 1:
                self._crowded[shape] = waits - 1
            return None
        merge = merged(searches)
        if merge is None:
            return None
        began = time.monotonic()
        try:
            found = await self._lanes.read(self._database, merge.search.command(), self._codec_options)
        except ExecutionTimeout:
            found = None
        self._note(shape, (time.monotonic() - began) / len(searches))
        if found is None:
            return None
        if len(found) >= merge.search.limit:
            if len(self._crowded) >= SHAPES:
                self._crowded.clear()
            self._crowded[shape] = CROWDED
            return None
        parts: list[list[Document] | None] = list(merge.parts(found, searches))
        self._note_parts(searches, parts, shape)
        return parts

    async def _alone(self, search: Search, shape: Shape) -> list[Document] | None:
        began = time.monotonic()
        try:
            found = await self._lanes.read(self._database, search.command(), self._codec_options)
        finally:
            self._note(shape, time.monotonic() - began)
        if search.limit > SHARED_LIMIT:
            self._note_found(shape, found)
        return found

    def _note_parts(self, searches: Sequence[Search], parts: Sequence[list[Document] | None], shape: Shape) -> None:
        for search, part in zip(searches, parts, strict=True):
            if search.limit > SHARED_LIMIT:
                self._note_found(shape, part)

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
