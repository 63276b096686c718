"""$everything of a Patient or an Encounter.

https://hl7.org/fhir/R4/patient-operation-everything.html, https://hl7.org/fhir/R4/encounter-operation-everything.html

First come the resources of the compartment, type by type, then what they refer to outside of it: practitioners,
organizations, locations, medications. A page may hold both; none is told twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from fhir_server.exchange import Call, Context, Params, Reply
from fhir_server.fhir import dates
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import Issue, bad_request
from fhir_server.interactions.reading import living
from fhir_server.interactions.search import asked_types, searchset
from fhir_server.search import page
from fhir_server.search.access import Access, Document
from fhir_server.search.chain import references
from fhir_server.search.compartment import compartment_filter, compartment_types, in_any
from fhir_server.search.page import Cursor
from fhir_server.search.query import Results
from fhir_server.search.registry import Registry
from fhir_server.search.run import WHOLE, SearchResult, registry_of
from fhir_server.search.sort import Filter, all_of
from fhir_server.store.versions import Version

_DATES = ("date", "period", "onset-date", "authoredon", "authored", "created", "occurrence", "effective", "sent", "started")
"""Search parameters that hold the time of care; the first counts of which a resource has a value."""
_KNOWN = frozenset({"_since", "_type", "_count", "start", "end", "_cursor"})
_BATCH = 1000


async def everything(ctx: Context, call: Call) -> Reply:
    """Answer a page of all that is known about a patient (or all patients) or an encounter.

    Raises:
        FhirError: 404 or 410 for the resource itself, 400 for malformed parameters; under strict handling also 400 for
            unknown ones, and for a patient whose record has been merged into another's.
    """
    asked, issues = _parse(ctx, call)
    id_ = call.id
    if id_:
        version = await living(ctx, call.type, id_)
        survivor = _survivor(version)
        if survivor:
            issues = (*issues, _merged(call, survivor))
            id_ = survivor
    registry = registry_of(ctx)
    record = _Record(Access(ctx), registry, call.type, id_, asked)
    bound_to = page.purpose(f"{call.type}/{call.id}/$everything", asked.understood)
    place = await page.unseal(ctx.repo, asked.cursor, bound_to) if asked.cursor else None
    versions = await record.page(place, asked.count + 1)
    total = len(versions) if place is None and len(versions) <= asked.count else None
    more, versions = len(versions) > asked.count, versions[: asked.count]
    following = await page.seal(ctx.repo, record.place(versions[-1]), bound_to) if more and versions else ""
    result = SearchResult(
        matches=tuple(versions),
        total=total,
        understood=asked.understood,
        results=Results(asked.count, cursor=asked.cursor),
        next=following,
        issues=issues,
    )
    return Reply(200, searchset(ctx, "/".join(part for part in (call.type, call.id, "$everything") if part), result))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parameters of the operation."""

    types: frozenset[str]
    """Those that are wanted; empty: all."""
    since: datetime | None
    start: str
    end: str
    count: int
    cursor: str
    understood: Params


def _parse(ctx: Context, call: Call) -> tuple[_Asked, tuple[Issue, ...]]:
    known, issues = [], []
    for name, value in (*call.params, *_body_parameters(call)):
        if name not in _KNOWN or (call.type != "Patient" and name in ("start", "end")):
            if call.prefer.strict:
                raise bad_request(f"{name!r} is not a parameter of {call.type}/$everything.", code="not-supported")
            issues.append(Issue("not-supported", f"The parameter {name!r} is not known and was ignored.", severity="warning"))
        elif value:
            known.append((name, value))
    values = dict(known)
    count = values.get("_count", str(ctx.settings.default_count))
    if not (count.isascii() and count.isdigit()) or len(count) > 18 or not int(count):  # noqa: PLR2004 -- beyond any number
        raise bad_request(f"_count={count[:40]!r} is not a positive integer.")
    asked = _Asked(
        types=frozenset(asked_types(tuple(known))),
        since=_moment("_since", values["_since"]) if "_since" in values else None,
        start=_date("start", values.get("start", "")),
        end=_date("end", values.get("end", "")),
        count=min(int(count), ctx.settings.max_count),
        cursor=values.get("_cursor", ""),
        understood=tuple(pair for pair in known if pair[0] != "_cursor"),
    )
    return asked, tuple(issues)


def _body_parameters(call: Call) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a POST with a Parameters resource."""
    if not isinstance(call.resource, dict):
        return
    for parameter in call.resource.get("parameter", ()):
        value = next((value for name, value in parameter.items() if name.startswith("value")), None)
        if value is not None:
            yield parameter.get("name", ""), str(value)


def _moment(name: str, value: str) -> datetime:
    try:
        return dates.interval(value.replace(" ", "+"))[0]
    except ValueError:
        raise bad_request(f"{name}={value!r} is not a date or an instant.") from None


def _date(name: str, value: str) -> str:
    if value:
        _moment(name, value)
    return value


def _survivor(version: Version) -> str:
    links = (version.resource or {}).get("link", ()) if version.type == "Patient" else ()
    other = next((link.get("other", {}).get("reference", "") for link in links if link.get("type") == "replaced-by"), "")
    return str(other.removeprefix("Patient/")) if other.startswith("Patient/") else ""


def _merged(call: Call, survivor: str) -> Issue:
    text = f"The record of Patient/{call.id} has been merged into that of Patient/{survivor}"
    if call.prefer.strict:
        raise bad_request(f"{text}: ask for Patient/{survivor}/$everything.", code="not-supported")
    return Issue("informational", f"{text}, which is what is shown.", severity="warning")


class _Record:
    """All that belongs to one patient or encounter (or to all patients), in a fixed order."""

    def __init__(self, access: Access, registry: Registry, compartment: str, id_: str, asked: _Asked) -> None:
        self._access = access
        self._registry = registry
        self._compartment = compartment
        self._reference = f"{compartment}/{id_}" if id_ else ""
        self._asked = asked
        self._types = compartment_types(compartment)

    def place(self, version: Version) -> Cursor:
        """Return the cursor behind a resource of a page."""
        return Cursor(version.type, version.id, ())

    async def page(self, place: Cursor | None, limit: int) -> list[Version]:
        """Return up to `limit` resources after a place."""
        existing = await self._access.repo.existing_types()
        versions: list[Version] = []
        if place is None or place.type in self._types:
            versions = await self._members(place, limit, existing)
            place = None
        if len(versions) < limit:
            versions += await self._others(place, limit - len(versions), existing)
        return versions

    async def _members(self, place: Cursor | None, limit: int, existing: frozenset[str]) -> list[Version]:
        start = self._types.index(place.type) if place else 0
        versions: list[Version] = []
        for type_ in self._types[start:]:
            if type_ not in existing or not self._is_wanted(type_) or len(versions) >= limit:
                continue
            parts = [self._member_filter(type_), self._in_time(type_), self._since()]
            if None in parts:
                continue
            after = self._after(place) if place and place.type == type_ else {}
            versions += await self._read(type_, all_of([*(part for part in parts if part), after]), limit - len(versions))
        return versions

    def _member_filter(self, type_: str) -> Filter | None:
        if not self._reference:
            return in_any(type_, self._compartment, self._registry)
        return compartment_filter(type_, self._reference, self._access.repo.tenant, self._registry)

    def _is_wanted(self, type_: str) -> bool:
        return not self._asked.types or type_ in self._asked.types

    def _since(self) -> Filter:
        return {"u": {"$gte": self._asked.since}} if self._asked.since else {}

    def _in_time(self, type_: str) -> Filter:
        """Return the filter of care between `start` and `end`; what has no date of care is always part of the record."""
        bounds = [prefix + value for prefix, value in (("ge", self._asked.start), ("le", self._asked.end)) if value]
        known = self._registry.of(type_)
        dates_ = [known[code] for code in _DATES if code in known and known[code].type == "date"]
        if not bounds or not dates_ or type_ == self._compartment:
            return {}
        ways: list[Filter] = []
        missing: list[Filter] = []
        for parameter in dates_:
            inside = [self._access.filter_of(parameter, "", [bound]) for bound in bounds]
            ways.append({"$and": [*missing, *inside]})
            missing.append({parameter.field: None})
        return {"$or": [*ways, all_of(missing)]}

    def _after(self, place: Cursor) -> Filter:
        return {"_id": {"$gt": f"{self._access.repo.tenant}/{place.id}"}}

    async def _read(self, type_: str, filter_: Filter, limit: int) -> list[Version]:
        documents = await self._access.read(type_, filter_, WHOLE, sort=[("_id", 1)], limit=limit)
        return [Version.from_document(type_, document) for document in documents]

    async def _others(self, place: Cursor | None, limit: int, existing: frozenset[str]) -> list[Version]:
        """Return resources outside of the compartment that those inside refer to."""
        wanted: dict[str, set[str]] = {}
        for text in await self._referred(existing):
            type_, _, id_ = text.partition("/")
            if type_ in existing and self._is_wanted(type_) and id_ and "/" not in id_:
                wanted.setdefault(type_, set()).add(id_)
        versions: list[Version] = []
        for type_ in sorted(wanted):
            ids = sorted(id_ for id_ in wanted[type_] if place is None or (type_, id_) > (place.type, place.id))
            while ids and len(versions) < limit:
                some, ids = ids[:_BATCH], ids[_BATCH:]
                keys = {"_id": {"$in": [f"{self._access.repo.tenant}/{id_}" for id_ in some]}}
                versions += await self._read(type_, all_of([keys, self._since()]), limit - len(versions))
        return versions

    async def _referred(self, existing: frozenset[str]) -> set[str]:
        outside = RESOURCE_TYPES - set(self._types)
        found: set[str] = set()
        for type_ in self._types:
            filter_ = self._member_filter(type_) if type_ in existing else None
            fields = [one.field for one in self._registry.of(type_).values() if one.type == "reference"]
            if filter_ is None or not fields:
                continue
            with self._access.in_time():
                filter_ = all_of([filter_, self._in_time(type_)])
                async for document in self._access.find(type_, filter_, dict.fromkeys(fields, 1)).batch_size(_BATCH):
                    found.update(_outside(document, fields, outside))
        return found


def _outside(document: Document, fields: Sequence[str], types: frozenset[str]) -> Iterator[str]:
    for field in fields:
        for text in references(document, field):
            if text.partition("/")[0] in types:
                yield text
