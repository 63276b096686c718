"""Counts that are asked for while others are under way share one round trip.

Eight in one aggregation cost MongoDB half of what they cost apart, and this process a third. What ran out of time, alone or
in such company, is counted alone for a while, so that nobody waits for somebody else's long count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import ExecutionTimeout

from fhir_server.store.batcher import Batcher
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.lanes import Lanes
from fhir_server.store.search import MARK, Document

SHARED: Final = 8
"""Counts in one round trip."""
SHARED_LIMIT: Final = 5000
"""What may count further goes alone."""
ALONE: Final = 100
"""How often counts of a shape are alone after one ran out of time."""
SHAPES: Final = 256
Shape = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Count:
    """How many documents match, at most `limit` (0: all)."""

    collection: str
    filter: Document
    limit: int
    max_time_ms: int

    def shape(self) -> Shape:
        """Return what counts have in common that cost about the same."""
        return self.collection, tuple(self.filter)

    def command(self) -> Document:
        """Return it as a command of its own."""
        return {"count": self.collection, "query": self.filter, "limit": self.limit, "maxTimeMS": self.max_time_ms}

    def stages(self, mark: int) -> list[Document]:
        """Return it as stages of an aggregation whose only document, if any, says where it belongs."""
        return [{"$match": self.filter}, {"$limit": self.limit}, {"$count": "n"}, {"$set": {MARK: mark}}]


class Counts:
    """Counts documents of one database over lanes."""

    def __init__(self, lanes: Lanes, database: str) -> None:
        self._lanes = lanes
        self._database = database
        self._batcher: Batcher[Count, int | None] = Batcher(self._together, limit=SHARED)
        self._slow: dict[Shape, int] = {}

    async def count(self, count: Count) -> int | None:
        """Return how many match; None: ask PyMongo.

        Raises:
            ExecutionTimeout: MongoDB ended it after `max_time_ms`.
        """
        if 0 < count.limit <= SHARED_LIMIT and not self._is_slow(count.shape()):
            return await self._batcher(count)
        return await self._alone(count)

    async def _together(self, counts: list[Count]) -> Sequence[int | BaseException | None]:
        if len(counts) > 1:
            try:
                found = await self._lanes.read(self._database, _union(counts), CODEC_OPTIONS)
            except ExecutionTimeout:
                found = None
                for count in counts:
                    self._note_slow(count)
            if found is not None:
                numbers: dict[int, Any] = {document[MARK]: document["n"] for document in found}
                return [numbers.get(mark, 0) for mark in range(len(counts))]
        results: list[int | BaseException | None] = []
        for count in counts:
            try:
                results.append(await self._alone(count))
            except ExecutionTimeout as error:
                results.append(error)
        return results

    async def _alone(self, count: Count) -> int | None:
        try:
            reply = await self._lanes.run(self._database, count.command(), CODEC_OPTIONS)
        except ExecutionTimeout:
            self._note_slow(count)
            raise
        return None if reply is None else int(reply["n"])

    def _note_slow(self, count: Count) -> None:
        if len(self._slow) >= SHAPES:
            self._slow.clear()
        self._slow[count.shape()] = ALONE

    def _is_slow(self, shape: Shape) -> bool:
        left = self._slow.pop(shape, 0)
        if left > 1:
            self._slow[shape] = left - 1
        return left > 0


def _union(counts: Sequence[Count]) -> Document:
    first, *others = counts
    pipeline = first.stages(0)
    pipeline += [{"$unionWith": {"coll": one.collection, "pipeline": one.stages(mark)}} for mark, one in enumerate(others, 1)]
    return {
        "aggregate": first.collection,
        "pipeline": pipeline,
        "cursor": {"batchSize": len(counts) + 1},
        "maxTimeMS": max(count.max_time_ms for count in counts),
    }
