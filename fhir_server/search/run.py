"""A search, from parameters to a page of results.

https://hl7.org/fhir/R4/search.html
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cmp_to_key
from typing import Any

from fhir_server.exchange import Context, Params
from fhir_server.fhir.outcome import Issue, bad_request
from fhir_server.search import chain, include, page
from fhir_server.search.access import Access, Document, is_positive, present_fields
from fhir_server.search.chain import Bounds, Compiled
from fhir_server.search.compile import Compiler, exact_bounds
from fhir_server.search.conditions import AllOf, InCompartment
from fhir_server.search.explain import explain
from fhir_server.search.include import project_fields
from fhir_server.search.page import Cursor
from fhir_server.search.query import Results, SearchQuery, TypeQuery, parse_criteria, parse_query
from fhir_server.search.registry import BUILTIN, Registry
from fhir_server.search.sort import AFTER_ALL, BEFORE_ALL, Order, order_of, precedes, stored_fields
from fhir_server.store.versions import Version

WHOLE = {"s": 0}
COUNTED = 5000
"""Up to so many matches are counted unasked; the client sees no total where there are more."""
SAMPLE = 2000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of a search."""

    matches: tuple[Version, ...] = ()
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


@dataclass(frozen=True, slots=True)
class _Row:
    """A match, and its place in the order."""

    type: str
    document: Document
    place: Cursor


@dataclass(frozen=True, slots=True)
class _Part:
    """One type of a search, ready to run."""

    type: str
    compiled: Compiled
    order: Order


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
    registry = registry_of(ctx)
    query = parse_query(names, params, registry, ctx.settings, strict=strict)
    inside = "/".join(compartment) if compartment else ""
    if compartment:
        query = replace(query, parts=tuple(_narrowed(part, InCompartment(inside)) for part in query.parts))
    runner = _Runner(Access(ctx), registry, query, page.purpose(f"{inside} {' '.join(names)}", query.understood))
    return await runner.run()


async def find_matches(ctx: Context, type_: str, criteria: Params, limit: int = 2) -> list[Version]:
    """Return up to `limit` resources that the criteria of a conditional interaction match.

    Raises:
        FhirError: 400 for whatever is no search parameter of the type.
    """
    registry = registry_of(ctx)
    query = parse_criteria(type_, criteria, registry, ctx.settings)
    access = Access(ctx)
    part = await _compiled(access, registry, query)
    rows = await _Scan(access, part).rows(None, limit, WHOLE)
    return [Version.from_document(type_, row.document) for row in rows]


def registry_of(ctx: Context) -> Registry:
    """Return the search parameters that the tenant has."""
    return ctx.registry or BUILTIN


def _narrowed(part: TypeQuery, condition: InCompartment) -> TypeQuery:
    return replace(part, condition=AllOf((condition, *part.condition.conditions)))


async def _compiled(access: Access, registry: Registry, query: TypeQuery) -> _Part:
    compiled = await Compiler(access, registry).compile(query.type, query.condition)
    return _Part(query.type, compiled, order_of(query.sort))


class _Scan:
    """Reads the rows of one type in their order.

    Where chains are among the conditions: if the other conditions leave few candidates, these are tested. Else what
    stands at the ends of the chains is listed, if that is little. Else candidates are tested in the order of the page
    until it is full, or, where hits are rare among them, the chains are listed after all.
    """

    STEP = 250
    """So many candidates are tested at once at first; so few are always tested."""
    PATIENCE = 1500
    """So many candidates are tested for a page."""

    def __init__(self, access: Access, part: _Part) -> None:
        self._access = access
        self._part = part
        self._order = part.order
        self._resolved: Compiled | None = None

    def backward(self) -> "_Scan":
        """Return the scan in the opposite order."""
        return _Scan(self._access, replace(self._part, order=self._part.order.reversed()))

    async def rows(self, place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[_Row]:
        """Return the first rows after a place; `place.id` is "" to include those with equal values."""
        if limit <= 0:
            return []
        compiled = self._part.compiled
        candidates = None
        if compiled.joins and is_positive(compiled.filter):
            candidates = await self._read(compiled.filter, place, self._step(limit), self._keys())
            if len(candidates) < self._step(limit):
                return await self._whole((await self._kept(candidates))[:limit], projection)
        if compiled.joins:
            compiled = await self._resolve()
        if not compiled.joins:
            return await self._read(compiled.filter, place, limit, projection)
        # What was listed meanwhile is in the filter now, which these candidates have not seen.
        reusable = candidates if len(compiled.joins) == len(self._part.compiled.joins) else None
        return await self._tested(compiled, place, limit, projection, reusable)

    def _step(self, limit: int) -> int:
        return max(self.STEP, 2 * limit)

    async def _resolve(self) -> Compiled:
        if self._resolved is None:
            self._resolved = await self._part.compiled.resolve(self._access, Bounds(chain.FEW))
        return self._resolved

    def _keys(self) -> dict[str, Any]:
        return dict.fromkeys(("i", *project_fields({*stored_fields(self._order), *self._part.compiled.fields})), 1)

    async def _kept(self, rows: Sequence[_Row]) -> list[_Row]:
        kept = {
            id(one) for one in await (self._resolved or self._part.compiled).keep(self._access, [row.document for row in rows])
        }
        return [row for row in rows if id(row.document) in kept]

    async def _read(self, filter_: dict[str, Any], place: Cursor | None, limit: int, projection: dict[str, Any]) -> list[_Row]:
        tie = self._order.tie_value(self._access.repo.tenant, place.id) if place else ""
        segments = self._order.segments(place.values if place else None, tie, present_fields(filter_))
        rows: list[_Row] = []
        for segment in segments:
            documents = await self._access.fetch(self._part.type, filter_, segment, projection, limit - len(rows))
            rows += [self._row(document) for document in documents]
            if len(rows) >= limit:
                break
        return rows

    def _row(self, document: Document) -> _Row:
        return _Row(self._part.type, document, Cursor(self._part.type, document["i"], self._order.values(document)))

    async def _tested(
        self, compiled: Compiled, place: Cursor | None, limit: int, projection: dict[str, Any], first: list[_Row] | None
    ) -> list[_Row]:
        rows: list[_Row] = []
        tested, size = 0, self._step(limit)
        while True:
            candidates = await self._read(compiled.filter, place, size, self._keys()) if first is None else first
            first = None
            rows += await self._kept(candidates)
            if len(rows) >= limit or len(candidates) < size:
                return await self._whole(rows[:limit], projection)
            place = candidates[-1].place
            tested, size = tested + size, 2 * size
            if tested * limit > self.PATIENCE * len(rows):
                break
        exact = await compiled.resolve(self._access, exact_bounds(self._access))
        return [*await self._whole(rows, projection), *await self._read(exact.filter, place, limit - len(rows), projection)]

    async def _whole(self, rows: Sequence[_Row], projection: dict[str, Any]) -> list[_Row]:
        """Return the rows with all that is wanted of their documents; those deleted meanwhile are left out."""
        keys = {"_id": {"$in": [f"{self._access.repo.tenant}/{row.place.id}" for row in rows]}}
        with self._access.in_time():
            documents = await self._access.find(self._part.type, keys, projection).to_list() if rows else []
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


class _Runner:
    """Runs one parsed search."""

    def __init__(self, access: Access, registry: Registry, query: SearchQuery, bound_to: str) -> None:
        self._access = access
        self._registry = registry
        self._query = query
        self._bound_to = bound_to
        self._types = tuple(part.type for part in query.parts)
        self._parts: list[_Part] = []
        self._scans: dict[str, _Scan] = {}

    async def run(self) -> SearchResult:
        """Return the page."""
        query, results = self._query, self._query.results
        place = await page.unseal(self._access.repo, results.cursor, self._bound_to) if results.cursor else None
        self._parts = [await _compiled(self._access, self._registry, part) for part in query.parts]
        self._scans = {part.type: _Scan(self._access, part) for part in self._parts}
        answer = SearchResult(understood=query.understood, results=results, issues=query.issues)
        if results.explain:
            answer = replace(answer, issues=(*answer.issues, *await self._explanation()))
        if results.counts_only:
            return replace(answer, total=None if results.total == "none" else await self._total(place, "accurate"))
        rows, more = await self._page(place)
        answer = await self._with_links(answer, rows, place, more)
        matches = tuple(Version.from_document(row.type, row.document) for row in rows)
        included, issues = await include.included(
            self._access, self._registry, results.includes, [(row.type, row.document) for row in rows]
        )
        return replace(answer, matches=matches, included=included, issues=(*answer.issues, *issues))

    async def _page(self, place: Cursor | None) -> tuple[list[_Row], bool]:
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

    async def _merged(self, place: Cursor | None, limit: int, projection: dict[str, Any], *, backward: bool) -> list[_Row]:
        types = self._types[::-1] if backward != self._parts_descend() else self._types
        scans = [self._scans[type_].backward() if backward else self._scans[type_] for type_ in types]
        if self._parts and not self._parts[0].order.keys:
            return await self._one_after_the_other(types, scans, place, limit, projection)
        rows: list[_Row] = []
        for type_, scan in zip(types, scans, strict=True):
            rows += await scan.rows(self._seen_from(place, type_, types), limit, projection)
        if len(types) == 1:
            return rows
        order = self._parts[0].order.reversed() if backward else self._parts[0].order

        def compare(left: _Row, right: _Row) -> int:
            return -1 if precedes(order, left.place, right.place, self._types) else 1

        return sorted(rows, key=cmp_to_key(compare))[:limit]

    def _parts_descend(self) -> bool:
        return bool(self._parts) and self._parts[0].order.tie.descending

    async def _one_after_the_other(
        self, types: Sequence[str], scans: Sequence[_Scan], place: Cursor | None, limit: int, projection: dict[str, Any]
    ) -> list[_Row]:
        rows: list[_Row] = []
        begun = place is None
        for type_, scan in zip(types, scans, strict=True):
            here = place if place is not None and place.type == type_ else None
            begun = begun or here is not None
            if begun and len(rows) < limit:
                rows += await scan.rows(here, limit - len(rows), projection)
        return rows

    def _seen_from(self, place: Cursor | None, type_: str, types: Sequence[str]) -> Cursor | None:
        """Return where the rows of a type begin, for a place that is a row of perhaps another type."""
        if place is None or place.type == type_:
            return place
        if place.type not in types:
            raise bad_request("The page cursor belongs to another search; start from the first page.")
        return replace(place, type=type_, id=BEFORE_ALL if types.index(type_) > types.index(place.type) else AFTER_ALL)

    async def _with_links(self, answer: SearchResult, rows: Sequence[_Row], place: Cursor | None, more: bool) -> SearchResult:
        backward = place is not None and place.backward
        whole = place is None and not more
        total = (
            len(rows) if whole and self._query.results.total != "none" else await self._total(place, self._query.results.total)
        )
        answer = replace(answer, total=total)
        if not rows:
            return answer
        if more or backward:
            last = replace(rows[-1].place, backward=False, total=total)
            answer = replace(answer, next=await page.seal(self._access.repo, last, self._bound_to))
        if (more and backward) or (place is not None and not backward):
            first = replace(rows[0].place, backward=True, total=total)
            answer = replace(answer, previous=await page.seal(self._access.repo, first, self._bound_to))
        return answer

    async def _total(self, place: Cursor | None, wanted: str) -> int | None:
        if wanted == "none":
            return None
        if place is not None and place.total is not None and wanted != "accurate":
            return place.total
        if not wanted and (self._access.repo.session is not None or place is not None):
            # In a transaction a count that runs out of time would abort it; a later page would count in vain again.
            return None
        bounds = {} if wanted == "accurate" else {"limit": COUNTED, "limit_ms": self._access.settings.count_timeout_ms}
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
        return [
            issue
            for part in self._parts
            for issue in await explain(self._access, part.type, part.compiled, part.order, self._query.results.count + 1)
        ]
