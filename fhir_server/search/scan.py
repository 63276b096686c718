"""The rows of one resource type that match, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_server.search import chain
from fhir_server.search.access import Access, Document, is_positive, present_fields
from fhir_server.search.chain import Bounds, Compiled, id_of, together
from fhir_server.search.compile import exact_bounds
from fhir_server.search.include import project_fields
from fhir_server.search.page import Cursor
from fhir_server.search.sort import Filter, Order, Segment, stored_fields
from fhir_server.search.starts import index_for, index_of_list, spelled_out

COUNTED = 2000
"""Up to so many matches are counted unasked; the client sees no total where there are more."""
SAMPLE = 2000
"""So many documents are looked at for an estimate."""


@dataclass(slots=True)
class Row:
    """A match, and its place in the order, which is made when it is asked for: of most rows nobody does."""

    type: str
    document: Document
    order: Order
    _place: Cursor | None = None

    @property
    def place(self) -> Cursor:
        """The place."""
        if self._place is None:
            id_ = self.document.get("i") or id_of(self.document)
            self._place = Cursor(self.type, id_, self.order.values(self.document))
        return self._place


@dataclass(frozen=True, slots=True)
class Part:
    """One type of a search, ready to run."""

    type: str
    compiled: Compiled
    order: Order


@dataclass(slots=True)
class _Tested:
    """How far the candidates of a page have been tested."""

    place: Cursor | None
    """After which the next ones are read."""
    kept: list[Document] = field(default_factory=list)
    count: int = 0
    all: bool = False
    """Whether there are no more."""

    def enough(self, limit: int) -> bool:
        return self.all or len(self.kept) >= limit

    def expected(self, limit: int) -> int:
        """Return about how many candidates a page needs."""
        return int(limit * self.count / max(len(self.kept), 0.5))


class Scan:
    """Reads the rows of one type in their order.

    Where chains are among the conditions, what stands at their ends is listed, if that is little. Else candidates are
    tested in the order of the page until it is full, or, where hits are rare among them, the chains are listed after all.
    MongoDB then goes through further candidates, or looks for each that is listed, whatever promises to be less.
    Where there are other conditions beside `_has`, the first candidates are tested before anything is listed.
    """

    STEP = 250
    """So many candidates are tested at once at first."""
    PATIENCE = 1500
    """So many candidates are tested for a page."""
    SPARED = 4
    """So many candidates are gone through rather than that MongoDB looks for one that is listed."""
    MANY = 100
    """Where more are listed, what is found for a page is counted by the way."""

    def __init__(self, access: Access, part: Part) -> None:
        self._access = access
        self._part = part
        self._order = part.order
        self._resolved: Compiled | None = None
        self._found_all: int | None = None

    def backward(self) -> "Scan":
        """Return the scan in the opposite order."""
        return Scan(self._access, replace(self._part, order=self._part.order.reversed()))

    @property
    def type(self) -> str:
        """The type of the rows."""
        return self._part.type

    async def candidates(self, place: Cursor | None, limit: int) -> list[Row]:
        """Return the first rows after a place with no more of their documents than the order needs."""
        return await self.rows(place, limit, self._keys())

    async def rows(self, place: Cursor | None, limit: int, projection: dict[str, Any], *, counted: bool = False) -> list[Row]:
        """Return the first rows after a place; where they are to be `counted` afterwards, that may be done by the way."""
        if limit <= 0:
            return []
        compiled = self._part.compiled
        if not compiled.joins:
            return await self._read(compiled.filter, place, limit, projection)
        tested = _Tested(place)
        if compiled.tests_first and is_positive(compiled.filter):
            await self._test(compiled, tested, self._step(limit))
            if tested.enough(limit):
                return await self._found(tested, limit, projection)
        compiled = await self._resolve()
        if not compiled.joins:
            if counted and compiled.listed > self.MANY and place is None and not self._order.keys:
                return await self._read_counting(compiled.filter, limit, projection)
            return await self._read(compiled.filter, place, limit, projection)
        return await self._by_testing(compiled, tested, place, limit, projection)

    def _step(self, limit: int) -> int:
        return max(self.STEP, 2 * limit)

    async def _resolve(self) -> Compiled:
        if self._resolved is None:
            self._resolved = await self._part.compiled.resolve(self._access, Bounds(chain.FEW))
        return self._resolved

    def _keys(self) -> dict[str, Any]:
        return dict.fromkeys(("_id", *project_fields({*stored_fields(self._order), *self._part.compiled.fields})), 1)

    async def _read(self, filter_: Filter, place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[Row]:
        return [self._row(document) for document in await self._documents(filter_, place, limit, projection)]

    async def _read_counting(self, filter_: Filter, limit: int, projection: dict[str, Any]) -> list[Row]:
        """Look once for all that is listed, rather than for the page and again for the total."""
        keys = await self._documents(filter_, None, max(limit, COUNTED + 1), {"_id": 1})
        self._found_all = len(keys) if len(keys) <= COUNTED else None
        return await self.whole([self._row(document) for document in keys[:limit]], projection)

    async def _documents(self, filter_: Filter, place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[Document]:
        index = None if self._order.keys else index_of_list(self._part.type, filter_)
        if index is not None:
            segment = self._segments(filter_, place)[0]
            by_index = await self._access.fetch_by(index, self._part.type, filter_, segment, projection, limit)
            if by_index is not None:
                return by_index
        found: list[Document] = []
        for segment in self._segments(filter_, place):
            found += await self._access.fetch(self._part.type, filter_, segment, projection, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def _segments(self, filter_: Filter, place: Cursor | None) -> list[Segment]:
        tie = self._order.tie_value(self._access.repo.tenant, place.id) if place else ""
        return self._order.segments(place.values if place else None, tie, present_fields(filter_))

    def _row(self, document: Document) -> Row:
        return Row(self._part.type, document, self._order)

    async def _test(self, compiled: Compiled, tested: "_Tested", size: int) -> None:
        """Test the next candidates."""
        documents = await self._documents(compiled.filter, tested.place, size, self._keys())
        tested.kept += await compiled.keep(self._access, documents)
        tested.count += size
        tested.all = len(documents) < size
        if documents:
            tested.place = self._row(documents[-1]).place

    async def _by_testing(
        self, compiled: Compiled, tested: "_Tested", start: Cursor | None, limit: int, projection: dict[str, Any]
    ) -> list[Row]:
        candidates = compiled.filter
        if not self._order.keys:
            candidates = await spelled_out(self._access, self._part.type, candidates)
        size = self._step(limit)
        while not tested.enough(limit):
            if tested.count * limit > self.PATIENCE * len(tested.kept):
                listed = await Compiled({}, compiled.joins).resolve(self._access, exact_bounds(self._access))
                if tested.expected(limit) <= self.SPARED * listed.listed:
                    rows = await self._going_through(candidates, listed, start, limit, projection)
                    if rows is not None:
                        return rows
                return await self._read(together([Compiled(compiled.filter), listed]).filter, start, limit, projection)
            await self._test(replace(compiled, filter=candidates), tested, size)
            size *= 2
        return await self._found(tested, limit, projection)

    async def _going_through(
        self, candidates: Filter, listed: Compiled, start: Cursor | None, limit: int, projection: dict[str, Any]
    ) -> list[Row] | None:
        """Return the rows by an index of the candidates; None where none has them in their order, or that takes too long."""
        index = None if self._order.keys else index_for(self._part.type, candidates, listed.filter)
        if index is None:
            return None
        within = together([Compiled(candidates), listed]).filter
        segment = self._segments(within, start)[0]
        found = await self._access.fetch_by(index, self._part.type, within, segment, projection, limit)
        return None if found is None else [self._row(document) for document in found]

    async def _found(self, tested: "_Tested", limit: int, projection: dict[str, Any]) -> list[Row]:
        return await self.whole([self._row(document) for document in tested.kept[:limit]], projection)

    async def whole(self, rows: Sequence[Row], projection: dict[str, Any]) -> list[Row]:
        """Return the rows with all that is wanted of their documents; those deleted meanwhile are left out."""
        keys = {"_id": {"$in": [f"{self._access.repo.tenant}/{row.place.id}" for row in rows]}}
        documents = await self._access.read(self._part.type, keys, projection, limit=len(rows)) if rows else []
        found = {id_of(document): document for document in documents}
        return [Row(row.type, found[row.place.id], row.order, row.place) for row in rows if row.place.id in found]

    async def count(self, *, limit: int = 0, limit_ms: int = 0) -> int | None:
        """Return how many rows there are; None where they are more than `limit` or took longer (0: no such bound)."""
        if self._found_all is not None:
            return self._found_all if not limit or self._found_all <= limit else None
        compiled = self._part.compiled
        if compiled.joins:
            compiled = await self._resolve()
        if compiled.joins:
            if limit:
                return None
            compiled = await compiled.resolve(self._access, exact_bounds(self._access))
        return await self._access.count(self._part.type, compiled.filter, limit=limit, limit_ms=limit_ms)

    async def estimate(self) -> int:
        """Return about how many rows there are, by a sample."""
        return await self._access.estimate(self._part.type, self._part.compiled.filter, SAMPLE)
