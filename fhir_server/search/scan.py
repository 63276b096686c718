"""The rows of one resource type that match, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.search import chain
from fhir_server.search.access import Access, Document, is_positive, present_fields
from fhir_server.search.chain import Bounds, Compiled
from fhir_server.search.compile import exact_bounds
from fhir_server.search.include import project_fields
from fhir_server.search.page import Cursor
from fhir_server.search.sort import Order, stored_fields

SAMPLE = 2000
"""So many documents are looked at for an estimate."""


@dataclass(frozen=True, slots=True)
class Row:
    """A match, and its place in the order."""

    type: str
    document: Document
    place: Cursor


@dataclass(frozen=True, slots=True)
class Part:
    """One type of a search, ready to run."""

    type: str
    compiled: Compiled
    order: Order


class Scan:
    """Reads the rows of one type in their order.

    Where chains are among the conditions, what stands at their ends is listed, if that is little. Else candidates are
    tested in the order of the page until it is full, or, where hits are rare among them, the chains are listed after all.
    Where there are other conditions beside `_has`, the first candidates are tested before anything is listed.
    """

    STEP = 250
    """So many candidates are tested at once at first."""
    PATIENCE = 1500
    """So many candidates are tested for a page."""

    def __init__(self, access: Access, part: Part) -> None:
        self._access = access
        self._part = part
        self._order = part.order
        self._resolved: Compiled | None = None

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

    async def rows(self, place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[Row]:
        """Return the first rows after a place."""
        if limit <= 0:
            return []
        compiled = self._part.compiled
        if compiled.joins and compiled.tests_first and is_positive(compiled.filter):
            candidates = await self._read(compiled.filter, place, self._step(limit), self._keys())
            kept = await self._kept(compiled, candidates)
            if len(kept) >= limit or len(candidates) < self._step(limit):
                return await self.whole(kept[:limit], projection)
        if compiled.joins:
            compiled = await self._resolve()
        if not compiled.joins:
            return await self._read(compiled.filter, place, limit, projection)
        return await self._tested(compiled, place, limit, projection)

    def _step(self, limit: int) -> int:
        return max(self.STEP, 2 * limit)

    async def _resolve(self) -> Compiled:
        if self._resolved is None:
            self._resolved = await self._part.compiled.resolve(self._access, Bounds(chain.FEW))
        return self._resolved

    def _keys(self) -> dict[str, Any]:
        return dict.fromkeys(("i", *project_fields({*stored_fields(self._order), *self._part.compiled.fields})), 1)

    async def _kept(self, compiled: Compiled, rows: Sequence[Row]) -> list[Row]:
        kept = {id(one) for one in await compiled.keep(self._access, [row.document for row in rows])}
        return [row for row in rows if id(row.document) in kept]

    async def _read(self, filter_: dict[str, Any], place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[Row]:
        tie = self._order.tie_value(self._access.repo.tenant, place.id) if place else ""
        segments = self._order.segments(place.values if place else None, tie, present_fields(filter_))
        rows: list[Row] = []
        for segment in segments:
            documents = await self._access.fetch(self._part.type, filter_, segment, projection, limit - len(rows))
            rows += [self._row(document) for document in documents]
            if len(rows) >= limit:
                break
        return rows

    def _row(self, document: Document) -> Row:
        return Row(self._part.type, document, Cursor(self._part.type, document["i"], self._order.values(document)))

    async def _tested(self, compiled: Compiled, place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[Row]:
        rows: list[Row] = []
        tested, size = 0, self._step(limit)
        while True:
            candidates = await self._read(compiled.filter, place, size, self._keys())
            rows += await self._kept(compiled, candidates)
            if len(rows) >= limit or len(candidates) < size:
                return await self.whole(rows[:limit], projection)
            place = candidates[-1].place
            tested, size = tested + size, 2 * size
            if tested * limit > self.PATIENCE * len(rows):
                break
        exact = await compiled.resolve(self._access, exact_bounds(self._access))
        return [*await self.whole(rows, projection), *await self._read(exact.filter, place, limit - len(rows), projection)]

    async def whole(self, rows: Sequence[Row], projection: dict[str, Any]) -> list[Row]:
        """Return the rows with all that is wanted of their documents; those deleted meanwhile are left out."""
        keys = {"_id": {"$in": [f"{self._access.repo.tenant}/{row.place.id}" for row in rows]}}
        documents = await self._access.read(self._part.type, keys, projection, limit=len(rows)) if rows else []
        found = {document["i"]: document for document in documents}
        return [replace(row, document=found[row.place.id]) for row in rows if row.place.id in found]

    async def count(self, *, limit: int = 0, limit_ms: int = 0) -> int | None:
        """Return how many rows there are; None where they are more than `limit` or took longer (0: no such bound)."""
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
