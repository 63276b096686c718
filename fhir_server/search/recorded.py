"""Searches of AuditEvents, which are in two places: stored like every resource, and in the audit trail.

The trail is read in the order of time. By another order it is read whole, as far as the filter lets it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cmp_to_key
from typing import Any, Final

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import too_costly
from fhir_server.search.access import Access
from fhir_server.search.compile import exact_bounds
from fhir_server.search.page import Cursor
from fhir_server.search.scan import Part, Row, Scan
from fhir_server.search.sort import Filter, Key, Order, precedes

TYPE: Final = "AuditEvent"
NEWEST_FIRST: Final = Order((Key("u", descending=True, always=True),), Key("i", descending=True, always=True))
OF_TIME: Final = frozenset({"u", "s.date.l"})
MOST: Final = 20_000
"""So many events are sorted by something else than the time."""
LOOKED_AT: Final = 200_000
"""So many events are looked at for one page."""
PREFIX: Final = "log-"


class RecordedScan(Scan):
    """Reads the rows of both places in one order."""

    def __init__(self, ctx: Context, access: Access, part: Part) -> None:
        super().__init__(access, part)
        self._ctx = ctx
        self._filter: Filter | None = None

    def backward(self) -> "RecordedScan":
        """Return the scan in the opposite order."""
        return RecordedScan(self._ctx, self._access, replace(self._part, order=self._part.order.reversed()))

    async def candidates(self, place: Cursor | None, limit: int) -> list[Row]:
        """Return the first rows after a place."""
        return await self.rows(place, limit, {})

    async def rows(self, place: Cursor | None, limit: int, projection: dict[str, Any], *, counted: bool = False) -> list[Row]:
        """Return the first rows after a place; those of the trail bring all they have."""
        if limit <= 0:
            return []
        stored = await super().rows(place, limit, projection, counted=counted)
        rows = [*stored, *await self._recorded(place, limit)]
        return self._sorted(rows)[:limit]

    async def whole(self, rows: Sequence[Row], projection: dict[str, Any]) -> list[Row]:
        """Return the rows with all that is wanted of their documents."""
        stored = [row for row in rows if not row.place.id.startswith(PREFIX)]
        recorded = [row for row in rows if row.place.id.startswith(PREFIX)]
        return self._sorted([*await super().whole(stored, projection), *recorded])

    def _sorted(self, rows: Sequence[Row]) -> list[Row]:
        def compare(left: Row, right: Row) -> int:
            return -1 if precedes(self._order, left.place, right.place, (TYPE,)) else 1

        return sorted(rows, key=cmp_to_key(compare))

    async def _recorded(self, place: Cursor | None, limit: int) -> list[Row]:
        by_time = len(self._order.keys) == 1 and self._order.keys[0].field in OF_TIME
        descending = self._order.keys[0].descending if by_time else False
        start = place.id if place is not None and by_time and place.id.startswith(PREFIX) else ""
        found: list[Row] = []
        looked_at = 0
        async for document in self._walk(descending=descending, start=start):
            looked_at += 1
            if looked_at > LOOKED_AT:
                raise self._access.over_time()
            if looked_at % 64 == 0:
                self._access.remaining_ms()
            if document is None:
                continue
            row = self._row(document)
            if place is None or precedes(self._order, place, row.place, (TYPE,)):
                found.append(row)
            if by_time and len(found) >= limit:
                break
            if len(found) > MOST:
                raise too_costly(
                    f"More than {MOST} events of the audit trail would have to be sorted; sort by date or narrow the search."
                )
        return found

    async def _walk(self, *, descending: bool, start: str = "") -> Any:
        if self._ctx.recorder is None:
            return
        filter_ = await self._exact()
        scope = self._access.scope(TYPE, filter_)
        async for document in self._ctx.recorder.documents(self._ctx, scope, descending=descending, start=start):
            yield document

    async def _exact(self) -> Filter:
        if self._filter is None:
            compiled = self._part.compiled
            if compiled.joins:
                compiled = await compiled.resolve(self._access, exact_bounds(self._access))
            self._filter = compiled.filter
        return self._filter

    async def count(self, *, limit: int = 0, limit_ms: int = 0) -> int | None:
        """Return how many rows there are in both places; None where they are more than `limit`."""
        found = await super().count(limit=limit, limit_ms=limit_ms)
        if found is None:
            return None
        looked_at = 0
        async for document in self._walk(descending=True):
            found += document is not None
            looked_at += 1
            if looked_at % 64 == 0:
                self._access.remaining_ms()
            if limit and (found > limit or looked_at > limit):
                return None
        return found

    async def estimate(self) -> int:
        """Return how many rows there are: of the trail no estimate is made."""
        return await self.count() or 0


def scan_of(ctx: Context, access: Access, part: Part) -> Scan:
    """Return what reads the rows of a type."""
    if ctx.recorder is not None and part.type == TYPE and ctx.repo.session is None:
        return RecordedScan(ctx, access, part)
    return Scan(access, part)


def ordered(ctx: Context, part: Part) -> Part:
    """Return the part with the order that it has where the client asks for none: of AuditEvents the newest come first."""
    if ctx.recorder is not None and part.type == TYPE and not part.order.keys and part.order.tie == Key("_id", always=True):
        return replace(part, order=NEWEST_FIRST)
    return part
