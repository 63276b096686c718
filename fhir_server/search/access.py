"""Reads of a search from MongoDB: always within the tenant, its transaction and the time that is left."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import ExecutionTimeout, OperationFailure

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError, too_costly
from fhir_server.search.covering import covered
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.sort import Filter, Segment, all_of, is_positional, missing_flag
from fhir_server.search.sought import contacts, identifiers
from fhir_server.search.types import parameter_filter
from fhir_server.store.search import Search

Document = dict[str, Any]
Sort = Sequence[tuple[str, int]]

NOTHING: Final[Filter] = {"_id": {"$in": []}}
PATIENCE_MS: Final = 100
"""So long one of two ways is tried."""
_EXISTING: Final[Filter] = {"d": None}
_POSITIVE: Final = frozenset({"$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$regex", "$elemMatch", "$all", "$options"})


class Access:
    """What the parts of one search share: the repository, and until when the search may run."""

    def __init__(self, ctx: Context) -> None:
        self.repo = ctx.repo
        self.settings = ctx.settings
        self.permissions = ctx.access
        self._base_url = ctx.base_url
        self._now = ctx.now
        self._deadline = time.monotonic() + ctx.settings.search_timeout_ms / 1000

    def filter_of(self, parameter: SearchParameter, modifier: str, values: Sequence[str]) -> Filter:
        """Return the filter of one parameter."""
        if "ContactPoint" in parameter.value_types and modifier in ("", "not"):
            values = contacts(parameter, values, self.settings.of(self.repo.tenant).phone_region)
        elif modifier == "identifier" or "Identifier" in parameter.value_types:
            values = identifiers(modifier, values, self.repo.database.keyring, self.repo.tenant)
        return covered(parameter, parameter_filter(parameter, modifier, values, base_url=self._base_url, now=self._now()))

    def remaining_ms(self) -> int:
        """Return how long the search may still run.

        Raises:
            FhirError: 503 `too-costly` when its time is over.
        """
        remaining = int((self._deadline - time.monotonic()) * 1000)
        if remaining <= 0:
            raise self.over_time()
        return remaining

    def over_time(self) -> FhirError:
        """503: the search took too long."""
        return too_costly(
            f"The search was stopped after {self.settings.search_timeout_ms} ms. Narrow it: add an indexed parameter such as an"
            " identifier, a date range or a reference, name the type in a chain, avoid :contains, :not and _sort over many hits,"
            " or ask for _total=none.",
            status=503,
        )

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Translate MongoDB's refusal to run longer.

        Raises:
            FhirError: 503 `too-costly`.
        """
        try:
            yield
        except ExecutionTimeout:
            raise self.over_time() from None

    def scope(self, type_: str, filter_: Filter) -> Filter:
        """Return the filter within the tenant and what may be searched of the type, without deleted resources."""
        filter_ = within_each(filter_, self.repo.tenant)
        parts = [filter_] if filter_ else []
        allowed = within_each(self.allowed(type_), self.repo.tenant)
        if allowed and not allowed.items() <= filter_.items():
            parts.append(allowed)
            filter_ = all_of(parts)
        if not is_positive(filter_):
            parts.append(_EXISTING)
        scope: Filter = {"t": self.repo.tenant}
        for part in parts:
            if part.keys() & scope.keys():
                return {"$and": [{"t": self.repo.tenant}, *parts]}
            scope |= part
        return scope

    def allowed(self, type_: str) -> Filter:
        """Return the filter of what the principal may search of a type; {} where that is all."""
        return self.permissions.filter(type_, "s") if self.permissions is not None else {}

    def find(
        self, type_: str, filter_: Filter, projection: Mapping[str, Any] | None = None, *, sort: Sort = (), limit: int = 0
    ) -> AsyncCursor[Document]:
        """Return the documents of existing resources that match."""
        cursor = self.repo.collection(type_).find(
            self.scope(type_, filter_),
            projection,
            limit=limit,
            session=self.repo.session,
            max_time_ms=self.remaining_ms(),
        )
        return cursor.sort(list(sort)) if sort else cursor

    async def read(
        self, type_: str, filter_: Filter, projection: Mapping[str, Any], *, sort: Sort = (), limit: int
    ) -> list[Document]:
        """Return up to `limit` documents of existing resources that match, by the shortest way."""
        search = Search(type_, self.scope(type_, filter_), projection, tuple(sort), limit, self.remaining_ms())
        with self.in_time():
            return await self.repo.database.find(search, self.repo.session)

    async def fetch(
        self, type_: str, filter_: Filter, segment: Segment, projection: Mapping[str, Any], limit: int
    ) -> list[Document]:
        """Return the first documents of a segment of a sorted result."""
        wanted = all_of([filter_, segment.filter])
        if not segment.computed:
            return await self.read(type_, wanted, projection, sort=segment.sort, limit=limit)
        with self.in_time():
            cursor = await self.aggregate(type_, sorted_pipeline(self.scope(type_, wanted), segment, projection, limit))
            return await cursor.to_list()

    async def fetch_by(
        self,
        index: Mapping[str, int],
        type_: str,
        filter_: Filter,
        segment: Segment,
        projection: Mapping[str, Any],
        limit: int,
    ) -> list[Document] | None:
        """Return the same by an index; None where that takes long or there is no such index."""
        if self.repo.session is not None:
            return None  # A failure would end the transaction.
        scope = self.scope(type_, all_of([filter_, segment.filter]))
        patience = min(PATIENCE_MS, self.remaining_ms())
        search = Search(type_, scope, projection, segment.sort, limit, patience, dict(index))
        try:
            return await self.repo.database.find(search)
        except OperationFailure:
            return None

    async def first(self, type_: str, filter_: Filter, field: str, index: Mapping[str, int]) -> Document | None:
        """Return a field of the first document in an index, whoever may see it, outside of transactions.

        Raises:
            OperationFailure: There is no such index.
        """
        scope = {"t": self.repo.tenant, **filter_}
        search = Search(type_, scope, {"_id": 0, field: 1}, (), 1, self.remaining_ms(), dict(index))
        with self.in_time():
            found = await self.repo.database.find(search)
        return found[0] if found else None

    async def aggregate(self, type_: str, pipeline: list[Document]) -> AsyncCommandCursor[Document]:
        """Run a pipeline; its first stage has to be within `scope`."""
        return await self.repo.collection(type_).aggregate(
            pipeline, session=self.repo.session, maxTimeMS=self.remaining_ms(), allowDiskUse=True
        )

    async def distinct(self, type_: str, field: str, filter_: Filter) -> list[Any]:
        """Return the distinct values of a field."""
        scope = self.scope(type_, filter_)
        with self.in_time():
            if self.repo.session is None:
                return await self.repo.collection(type_).distinct(field, scope, maxTimeMS=self.remaining_ms())
            # Sharded collections have no `distinct` in a transaction.
            pipeline: list[Document] = [{"$match": scope}, {"$unwind": f"${field}"}, {"$group": {"_id": f"${field}"}}]
            return [document["_id"] for document in await (await self.aggregate(type_, pipeline)).to_list()]

    async def count(self, type_: str, filter_: Filter, *, limit: int = 0, limit_ms: int = 0) -> int | None:
        """Return how many match; None where they are more than `limit`, or not counted in `limit_ms` (0: no such bound)."""
        try:
            found = await self._count(type_, filter_, limit, limit_ms or self.remaining_ms())
        except ExecutionTimeout:
            if limit_ms:
                return None
            raise self.over_time() from None
        return None if limit and found > limit else found

    async def _count(self, type_: str, filter_: Filter, limit: int, wait: int) -> int:
        if self.repo.session is not None:
            # The command `count`, which is faster, is not allowed in a transaction.
            collection = self.repo.collection(type_)
            bound = {"limit": limit + 1} if limit else {}
            return await collection.count_documents(
                self.scope(type_, filter_), session=self.repo.session, maxTimeMS=wait, **bound
            )
        count = self.repo.database.count
        if filter_ or self.allowed(type_):
            return await count(type_, self.scope(type_, filter_), limit=limit + 1 if limit else 0, max_time_ms=wait)
        # All resources of the type: both counts read an index only, whereas `d: null` would read every document.
        deleted = await count(type_, {"t": self.repo.tenant, "d": True}, limit=0, max_time_ms=wait)
        everything = await count(type_, {"t": self.repo.tenant}, limit=limit + deleted + 1 if limit else 0, max_time_ms=wait)
        return everything - deleted

    async def estimate(self, type_: str, filter_: Filter, sample: int) -> int:
        """Return about how many match, by a sample of all documents of the type.

        Who may see only some of them gets the number of those: what a sample says depends on the others.
        """
        if self.allowed(type_):
            return await self.count(type_, filter_) or 0
        size = await self.repo.collection(type_).estimated_document_count()
        if not size:
            return 0
        pipeline: list[Document] = [{"$sample": {"size": sample}}, {"$match": self.scope(type_, filter_)}, {"$count": "n"}]
        with self.in_time():
            counted = await (await self.aggregate(type_, pipeline)).to_list()
        return round(counted[0]["n"] * size / min(sample, size)) if counted else 0


def sorted_pipeline(scope: Filter, segment: Segment, projection: Mapping[str, Any], limit: int) -> list[Document]:
    """Return the pipeline of a segment whose order needs computed flags."""
    computed: Document = {missing_flag(field): {"$cond": [{"$eq": [_value(field), None]}, 1, 0]} for field in segment.flags}
    sort: dict[str, int] = {}
    for field, direction in segment.sort:
        if is_positional(field):
            computed["_key_" + field.replace(".", "_")] = _value(field)
            field = "_key_" + field.replace(".", "_")  # noqa: PLW2901 -- aggregation paths do not index arrays
        sort[field] = direction
    return [{"$match": scope}, {"$addFields": computed}, {"$sort": sort}, {"$limit": limit}, {"$project": projection}]


def _value(field: str) -> Document:
    parts = field.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdigit()), -1)
    if place < 0:
        return {"$ifNull": ["$" + field, None]}
    found: Document = {"$arrayElemAt": ["$" + ".".join(parts[:place]), int(parts[place])]}
    member = ".".join(parts[place + 1 :])
    return {"$ifNull": [{"$let": {"vars": {"one": found}, "in": "$$one." + member}} if member else found, None]}


def within_each(filter_: Filter, tenant: str) -> Filter:
    """Return the filter with the tenant in each of its alternatives too, without which MongoDB uses no index for them.

    An index that begins with the tenant and is partial serves an alternative only if that names both.
    """
    found = filter_
    if "$and" in filter_:
        found = found | {"$and": [within_each(part, tenant) for part in filter_["$and"]]}
    if "$or" in filter_:
        ways = [within_each(way, tenant) for way in filter_["$or"]]
        found = found | {"$or": [{"t": tenant, **way} if way else way for way in ways]}
    return found


def is_positive(filter_: Filter) -> bool:
    """Tell whether only documents with some index entry match, hence no deleted ones."""
    return any(field.startswith("s.") for field in present_fields(filter_))


def present_fields(filter_: Filter) -> frozenset[str]:
    """Return the fields that every matching document has."""
    found: set[str] = set()
    for field, condition in filter_.items():
        if field == "$and":
            found.update(*(present_fields(part) for part in condition))
        elif field == "$or" and condition:
            found |= frozenset.intersection(*(present_fields(part) for part in condition))
        elif not field.startswith("$") and _is_present(condition):
            found.add(field)
    return frozenset(found)


def _is_present(condition: Any) -> bool:
    if not isinstance(condition, dict):
        return condition is not None
    if condition.keys() == {"$ne"}:
        return condition["$ne"] is None
    if condition.keys() == {"$exists"}:
        return bool(condition["$exists"])
    if not condition or not condition.keys() <= _POSITIVE:
        return False
    return None not in condition.get("$in", ()) and condition.get("$eq", "") is not None
