"""A search, from parameters to a page of results.

https://hl7.org/fhir/R4/search.html
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from fhir_server.exchange import Context, Params
from fhir_server.fhir.outcome import Issue, bad_request, forbidden
from fhir_server.search import include, page
from fhir_server.search.access import Access
from fhir_server.search.compile import Compiler
from fhir_server.search.conditions import AllOf, InCompartment
from fhir_server.search.explain import explain
from fhir_server.search.page import Cursor
from fhir_server.search.query import Results, SearchQuery, TypeQuery, parse_criteria, parse_query
from fhir_server.search.recorded import ordered, scan_of
from fhir_server.search.registry import BUILTIN, Registry
from fhir_server.search.scan import COUNTED, Part, Row, Scan
from fhir_server.search.sort import AFTER_ALL, BEFORE_ALL, order_of, precedes, stored_fields
from fhir_server.search.survivors import following, following_criteria
from fhir_server.store.versions import Version

WHOLE = {"s": 0}
FEW_TYPES = 8
"""Matches of more types are not counted unasked."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of a search."""

    matches: tuple[Version, ...] = ()
    scores: tuple[Decimal, ...] = ()
    """How well each match fits, where the search ranks them."""
    included: tuple[Version, ...] = ()
    total: int | None = None
    understood: Params = ()
    """The parameters that were heeded; those of a link to the page."""
    results: Results = field(default_factory=lambda: Results(0))
    next: str = ""
    """The cursor of the page after this one; "" on the last."""
    previous: str = ""
    """The cursor of the page before this one; "" on the first."""
    issues: tuple[Issue, ...] = ()
    """What was ignored or cut short, and what `_explain` found."""


async def search(
    ctx: Context,
    types: str | Sequence[str],
    params: Params,
    *,
    compartment: tuple[str, str] | None = None,
    strict: bool = False,
) -> SearchResult:
    """Return the page of a search over one type or several, within a compartment where one is given.

    Raises:
        FhirError: 400 for malformed parameters (under `strict` also for unknown ones) or an alien cursor, 503 when it
            takes too long.
    """
    names = (types,) if isinstance(types, str) else tuple(types)
    # The list of types grows when the first resource of a type is written; that must not end a walk over all of them.
    scope = types if isinstance(types, str) else "*"
    registry = registry_of(ctx)
    query = parse_query(names, params, registry, ctx.settings, strict=strict)
    inside = "/".join(compartment) if compartment else ""
    if compartment:
        query = replace(query, parts=tuple(_narrowed(part, InCompartment(inside)) for part in query.parts))
    query = await following(ctx, query)
    return await _Runner(ctx, Access(ctx), registry, query, f"{inside} {scope}").run()


async def find_matches(ctx: Context, type_: str, criteria: Params, limit: int = 2) -> list[Version]:
    """Return up to `limit` resources that the criteria of a conditional interaction match.

    Raises:
        FhirError: 400 for whatever is no search parameter of the type.
    """
    registry = registry_of(ctx)
    query = await following_criteria(ctx, parse_criteria(type_, criteria, registry, ctx.settings))
    access = Access(ctx)
    part = await _compiled(access, registry, query)
    rows = await Scan(access, part).rows(None, limit, WHOLE)
    return [Version.from_document(type_, row.document) for row in rows]


def registry_of(ctx: Context) -> Registry:
    """Return the search parameters that the tenant has, and whoever is asking may use."""
    return ctx.access.registry if ctx.access is not None else ctx.registry or BUILTIN


def _narrowed(part: TypeQuery, condition: InCompartment) -> TypeQuery:
    return replace(part, condition=AllOf((condition, *part.condition.conditions)))


async def _compiled(access: Access, registry: Registry, query: TypeQuery) -> Part:
    compiled = await Compiler(access, registry).compile(query.type, query.condition)
    return Part(query.type, compiled, order_of(query.sort))


class _Runner:
    """Runs one parsed search."""

    def __init__(self, ctx: Context, access: Access, registry: Registry, query: SearchQuery, scope: str) -> None:
        self._ctx = ctx
        self._access = access
        self._registry = registry
        self._query = query
        self._scope = scope
        self._types = tuple(part.type for part in query.parts)
        self._parts: list[Part] = []
        self._scans: dict[str, Scan] = {}

    async def run(self) -> SearchResult:
        """Return the page."""
        query, results = self._query, self._query.results
        place = await page.unseal(self._access.repo, results.cursor, self._purpose()) if results.cursor else None
        self._parts = [await _compiled(self._access, self._registry, part) for part in query.parts]
        if len(self._parts) == 1:
            self._parts = [ordered(self._ctx, self._parts[0])]
        self._scans = {part.type: scan_of(self._ctx, self._access, part) for part in self._parts}
        issues = (*query.issues, *await self._explanation()) if results.explain else query.issues
        if results.counts_only:
            counted = None if results.total == "none" else await self._total(place, "accurate")
            return SearchResult(total=counted, understood=query.understood, results=results, issues=issues)
        rows, more = await self._page(place)
        total = await self._total_of(rows, place, more)
        next_, previous = await self._neighbours(rows, place, total, more) if rows else ("", "")
        included, cut = await include.included(
            self._access, self._registry, results.includes, [(row.type, row.document) for row in rows]
        )
        return SearchResult(
            matches=tuple([Version.from_document(row.type, row.document) for row in rows]),
            included=included,
            total=total,
            understood=query.understood,
            results=results,
            next=next_,
            previous=previous,
            issues=(*issues, *cut),
        )

    def _purpose(self) -> str:
        return page.purpose(self._scope, self._query.understood)

    async def _page(self, place: Cursor | None) -> tuple[list[Row], bool]:
        """Return the rows of the page, and whether there are more in the direction of reading."""
        limit = self._query.results.count + 1
        backward = place is not None and place.backward
        projection = include.projection(self._registry, self._types, self._query.results.includes, self._fields())
        rows = await self._merged(place, limit, projection, backward=backward)
        more = len(rows) == limit
        rows = rows[: limit - 1]
        return (rows[::-1] if backward else rows), more

    def _fields(self) -> set[str]:
        """Return the index fields that rows must bring along."""
        return {field for part in self._parts for field in stored_fields(part.order)}

    async def _merged(self, place: Cursor | None, limit: int, projection: dict[str, Any], *, backward: bool) -> list[Row]:
        types = self._types[::-1] if backward != self._parts_descend() else self._types
        scans = [self._scans[type_].backward() if backward else self._scans[type_] for type_ in types]
        if self._parts and not self._parts[0].order.keys:
            return await self._one_after_the_other(types, scans, place, limit, projection)
        rows: list[Row] = []
        for type_, scan in zip(types, scans, strict=True):
            where = self._seen_from(place, type_, types)
            rows += await (scan.rows(where, limit, projection) if len(types) == 1 else scan.candidates(where, limit))
        if len(types) == 1:
            return rows
        order = self._parts[0].order.reversed() if backward else self._parts[0].order

        def compare(left: Row, right: Row) -> int:
            return -1 if precedes(order, left.place, right.place, self._types) else 1

        first = sorted(rows, key=cmp_to_key(compare))[:limit]
        whole = [row for scan in scans for row in await scan.whole([row for row in first if row.type == scan.type], projection)]
        return sorted(whole, key=cmp_to_key(compare))

    def _parts_descend(self) -> bool:
        return bool(self._parts) and self._parts[0].order.tie.descending

    async def _one_after_the_other(
        self, types: Sequence[str], scans: Sequence[Scan], place: Cursor | None, limit: int, projection: dict[str, Any]
    ) -> list[Row]:
        rows: list[Row] = []
        begun, counted = place is None, place is None and self._query.results.total != "none"
        for type_, scan in zip(types, scans, strict=True):
            here = place if place is not None and place.type == type_ else None
            begun = begun or here is not None
            if begun and len(rows) < limit:
                rows += await scan.rows(here, limit - len(rows), projection, counted=counted)
        return rows

    def _seen_from(self, place: Cursor | None, type_: str, types: Sequence[str]) -> Cursor | None:
        """Return where the rows of a type begin, for a place that is a row of perhaps another type."""
        if place is None or place.type == type_:
            return place
        if place.type not in types:
            raise bad_request("The page cursor belongs to another search; start from the first page.")
        return replace(place, type=type_, id=BEFORE_ALL if types.index(type_) > types.index(place.type) else AFTER_ALL)

    async def _total_of(self, rows: Sequence[Row], place: Cursor | None, more: bool) -> int | None:
        wanted = self._query.results.total
        return len(rows) if place is None and not more and wanted != "none" else await self._total(place, wanted)

    async def _neighbours(self, rows: Sequence[Row], place: Cursor | None, total: int | None, more: bool) -> tuple[str, str]:
        """Return the cursors of the next page and of the one before; "" where there is none."""
        backward = place is not None and place.backward
        following, before = "", ""
        if more or backward:
            last = replace(rows[-1].place, backward=False, total=total)
            following = await page.seal(self._access.repo, last, self._purpose())
        if (more and backward) or (place is not None and not backward):
            first = replace(rows[0].place, backward=True, total=total)
            before = await page.seal(self._access.repo, first, self._purpose())
        return following, before

    async def _total(self, place: Cursor | None, wanted: str) -> int | None:
        if wanted == "none":
            return None
        if place is not None and place.total is not None and wanted != "accurate":
            return place.total
        if not wanted and (place is not None or len(self._parts) > FEW_TYPES):
            return None  # A later page would count in vain again.
        bounds = {} if wanted == "accurate" else {"limit": COUNTED, "limit_ms": self._access.settings.count_timeout_ms}
        if self._access.repo.session is not None:
            bounds.pop("limit_ms", None)  # Running out of time would abort the transaction.
        total = 0
        for part in self._parts:
            scan = self._scans[part.type]
            number = await scan.count(**bounds)
            if number is None:
                if wanted != "estimate":
                    return None
                number = await scan.estimate()
            total += number
        return total

    async def _explanation(self) -> list[Issue]:
        if self._access.permissions is not None and not self._access.permissions.operator:
            raise forbidden("_explain is for operators; search without it.")
        return [
            issue
            for part in self._parts
            for issue in await explain(self._access, part.type, part.compiled, part.order, self._query.results.count + 1)
        ]
