"""The resources of one record: of a patient, an encounter, or all patients.

https://hl7.org/fhir/R4/patient-operation-everything.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from fhir_server.exchange import Params
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.access import Access, Document
from fhir_server.search.chain import references
from fhir_server.search.compartment import compartment_filter, compartment_types, in_any
from fhir_server.search.page import Cursor
from fhir_server.search.registry import Registry
from fhir_server.search.run import WHOLE
from fhir_server.search.sort import Filter, all_of
from fhir_server.search.types import reference
from fhir_server.store.versions import Version

_DATES = ("date", "period", "onset-date", "authoredon", "authored", "created", "occurrence", "effective", "sent", "started")
"""Search parameters that hold the time of care; the first counts of which a resource has a value."""
BATCH = 1000
CANDIDATES = 250
"""So many resources outside are tested at once."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of the operation."""

    types: frozenset[str]
    """Those that are wanted; empty: all."""
    since: datetime | None
    start: str
    end: str
    count: int
    cursor: str
    understood: Params


class Record:
    """All that belongs to one patient or encounter (or to all patients), in a fixed order."""

    def __init__(self, access: Access, registry: Registry, compartment: str, id_: str, asked: Asked) -> None:
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
        if not self._reference:
            return await self._others_of_all(place, limit, existing)
        wanted: dict[str, set[str]] = {}
        for text in await self._referred(existing):
            type_, _, id_ = text.partition("/")
            if type_ in existing and self._is_wanted(type_) and id_ and "/" not in id_:
                wanted.setdefault(type_, set()).add(id_)
        versions: list[Version] = []
        for type_ in sorted(wanted):
            ids = sorted(id_ for id_ in wanted[type_] if place is None or (type_, id_) > (place.type, place.id))
            while ids and len(versions) < limit:
                some, ids = ids[:BATCH], ids[BATCH:]
                keys = {"_id": {"$in": [f"{self._access.repo.tenant}/{id_}" for id_ in some]}}
                versions += await self._read(type_, all_of([keys, self._since()]), limit - len(versions))
        return versions

    async def _others_of_all(self, place: Cursor | None, limit: int, existing: frozenset[str]) -> list[Version]:
        """The same for all patients: candidates are tested, since a list of what is referred to would grow with the data."""
        outside = sorted(type_ for type_ in existing.difference(self._types) if self._is_wanted(type_))
        versions: list[Version] = []
        for type_ in outside:
            if place is not None and type_ < place.type:
                continue
            after = self._after(place) if place is not None and place.type == type_ else {}
            while len(versions) < limit:
                candidates = await self._read(type_, all_of([after, self._since()]), CANDIDATES)
                found = await self._referred_among(candidates, existing)
                versions += [version for version in candidates if version.reference in found]
                if len(candidates) < CANDIDATES:
                    break
                after = self._after(self.place(candidates[-1]))
        return versions[:limit]

    async def _referred_among(self, candidates: Sequence[Version], existing: frozenset[str]) -> set[str]:
        texts = sorted(version.reference for version in candidates)
        found: set[str] = set()
        for source in self._types:
            member = self._member_filter(source) if source in existing and texts else None
            if member is None:
                continue
            for parameter in self._registry.of(source).values():
                if parameter.type == "reference" and candidates[0].type in (parameter.target or RESOURCE_TYPES):
                    filter_ = all_of([reference.among(parameter.field, texts, parameter), member, self._in_time(source)])
                    found.update(await self._access.distinct(source, parameter.field, filter_))
        return found

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
                async for document in self._access.find(type_, filter_, dict.fromkeys(fields, 1)).batch_size(BATCH):
                    found.update(_outside(document, fields, outside))
        return found


def _outside(document: Document, fields: Sequence[str], types: frozenset[str]) -> Iterator[str]:
    for field in fields:
        for text in references(document, field):
            if text.partition("/")[0] in types:
                yield text
