"""What was recorded, as documents like those of stored resources, so that the search can look at them.

A filter is evaluated here (`security.matching`), on entries that are computed; what it says of patients, entities, agents and
time bounds what is read from the database.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fhir_server.exchange import Context
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.security import matching
from fhir_server.security.audit.event import audit_event
from fhir_server.security.audit.record import ID, PREFIX, Place, Record, unpacked
from fhir_server.security.audit.trail import PARTITION, partition, partitions
from fhir_server.store.database import Document
from fhir_server.store.versions import current_key

TYPE: Final = "AuditEvent"
_BATCH: Final = 100
_KEYED: Final = {"s.patient": "patient", "s.entity": "entity", "s.agent": "agent", "s.altid": "altid"}
_LOWER: Final = frozenset({"$gt", "$gte", "$eq"})
_UPPER: Final = frozenset({"$lt", "$lte", "$eq"})
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """What has to be read from the database."""

    since: datetime = _FIRST
    until: datetime = _LAST
    keys: tuple[frozenset[str], ...] = ()
    """Of each of these sets one key has to be there."""


def narrowed(filter_: Mapping[str, Any], range_: Range | None = None) -> Range:
    """Return the range within which everything lies that a filter finds."""
    found = range_ or Range()
    for name, condition in filter_.items():
        if name == "$and":
            for part in condition:
                found = narrowed(part, found)
        elif name in _KEYED:
            keys = _keys(_KEYED[name], condition)
            found = Range(found.since, found.until, (*found.keys, keys)) if keys is not None else found
        elif name in ("u", "s.date.l"):
            since, until = _bounds(condition)
            found = Range(max(found.since, since), min(found.until, until), found.keys)
    return found


def _keys(kind: str, condition: Any) -> frozenset[str] | None:
    values = condition.get("$in") if isinstance(condition, dict) and condition.keys() == {"$in"} else [condition]
    if not values or not all(isinstance(one, str) for one in values):
        return None
    return frozenset(f"{'patient' if one.startswith('Patient/') else kind}:{one}" for one in values)


def _bounds(condition: Any) -> tuple[datetime, datetime]:
    if isinstance(condition, datetime):
        return condition, condition
    since, until = _FIRST, _LAST
    for operator, value in condition.items() if isinstance(condition, dict) else ():
        if isinstance(value, datetime):
            since = max(since, value) if operator in _LOWER else since
            until = min(until, value) if operator in _UPPER else until
    return since, until


async def find(ctx: Context, id_: str) -> Document | None:
    """Return the document of an AuditEvent of the trail; None where there is none that may be seen."""
    place = Place.parse(id_)
    try:
        collection = ctx.repo.database.collection(partition(place.moment))
    except (OverflowError, ValueError):
        return None
    stored = await collection.find_one({"_id": current_key(ctx.tenant, str(place))}, {"b": 1})
    records = unpacked(stored["b"]) if stored else []
    match = ID.fullmatch(id_)
    index = int(match[4], 16) if match else len(records)
    if index >= len(records):
        return None
    document = _document(ctx, records[index], place, index)
    allowed = ctx.access.filter(TYPE, "r") if ctx.access is not None else {}
    return document if matching.matches(allowed, document) else None


async def documents(
    ctx: Context, filter_: Mapping[str, Any], *, descending: bool, start: str = ""
) -> AsyncIterator[Document | None]:
    """Yield the documents that match, in the order of time and id, from the id `start` on; None for each that does not.

    Raises:
        FhirError: 400, the filter can not be evaluated here.
    """
    range_ = narrowed(filter_)
    async for stored in _stored(ctx, range_, descending=descending, start=start):
        place = Place.parse(stored["_id"].rpartition("/")[2])
        for index, record in _in_order(stored["b"], descending=descending):
            if _has(record, range_.keys):
                document = _document(ctx, record, place, index)
                yield document if matching.matches(filter_, document) else None


def _in_order(data: bytes, *, descending: bool) -> Iterator[tuple[int, Record]]:
    records = list(enumerate(unpacked(data)))
    return iter(records[::-1] if descending else records)


def _has(record: Record, keys: tuple[frozenset[str], ...]) -> bool:
    return not keys or all(not one.isdisjoint(record.keys) for one in keys)


async def _stored(ctx: Context, range_: Range, *, descending: bool, start: str) -> AsyncIterator[Document]:
    since, until = _edge(range_.since, 0), _edge(range_.until, 1)
    begin = start.removeprefix(PREFIX)[: len(str(Place(0, "0" * 8, 0)))]
    if begin:
        since, until = (since, min(until, begin)) if descending else (max(since, begin), until)
    tenant = ctx.tenant
    condition: Document = {"_id": {"$gte": f"{tenant}/{since}", "$lte": f"{tenant}/{until}"}}
    if range_.keys:
        condition["t"] = tenant
        condition["$and"] = [{"k": {"$in": sorted(one)}} for one in range_.keys]
    names = [name for name in await partitions(ctx.repo.database) if _overlaps(name, since, until)]
    for name in reversed(names) if descending else names:
        cursor = ctx.repo.database.collection(name).find(
            condition, {"b": 1}, sort=[("_id", -1 if descending else 1)], max_time_ms=ctx.settings.search_timeout_ms
        )
        async for stored in cursor.batch_size(_BATCH):
            yield stored


def _edge(moment: datetime, more: int) -> str:
    """Return the beginning of keys of a time; with `more` the end of those of the millisecond."""
    ms = max(0, min((moment - _FIRST) // timedelta(milliseconds=1) + more, 2**44 - 1))
    return f"{ms:011x}"


def _overlaps(name: str, since: str, until: str) -> bool:
    year, month = (int(part) for part in name.removeprefix(PARTITION).split("_"))
    first = datetime(year, month, 1, tzinfo=UTC)
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return _edge(first, 0) <= until and since[:11] <= _edge(after, 0)


def _document(ctx: Context, record: Record, place: Place, index: int) -> Document:
    resource = audit_event(record, place, index, ctx.base_url)
    id_ = place.id(index)
    return {
        "_id": current_key(ctx.tenant, id_),
        "t": ctx.tenant,
        "i": id_,
        "v": 1,
        "u": place.moment,
        "m": "POST",
        "r": resource,
        "s": entries(resource, ctx.registry or BUILTIN, ctx.base_url),
    }
