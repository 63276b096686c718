"""What a principal may do: for each resource type and each of create, read, update, delete, search a filter.

docs/decisions/0020-one-boundary.md

The same filter is given to MongoDB, joined to every query of a search, and evaluated here (`security.matching`) where
there are no stored index entries: versions in history, and what is about to be written.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal

from fhir_server.exchange import Principal, Resource
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.access import NOTHING
from fhir_server.search.index import entries
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import Registry
from fhir_server.search.sort import Filter, all_of
from fhir_server.security import matching
from fhir_server.security.compartments import record_filter
from fhir_server.store.versions import current_key

EVERYTHING: Final[Filter] = {}
CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
Identifiers = Literal["full", "masked", "hidden"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What one scope, or one rule of a role, allows."""

    types: frozenset[str]
    letters: str
    record_of: str | None = None
    """The id of the patient whose record it is confined to; "" is nobody's; None: it is not confined."""
    conditions: Mapping[str, Filter] | None = None
    """By type, the filter that its criteria mean; types that are not in it are not granted. None: without criteria."""

    def filter(self, type_: str, letter: str, tenant: str, registry: Registry) -> Filter | None:
        """Return the filter of what is granted; None where nothing is."""
        if letter not in self.letters or type_ not in self.types:
            return None
        record = EVERYTHING if self.record_of is None else record_filter(type_, self.record_of, letter, tenant, registry)
        condition = EVERYTHING if self.conditions is None else self.conditions.get(type_)
        if record is None or condition is None:
            return None
        return all_of([record, condition])


Grants = tuple[Grant, ...]
"""Alternatives: what any of them allows is allowed."""


@dataclass(frozen=True, slots=True)
class Denial:
    """What a Consent denies: https://hl7.org/fhir/R4/consent.html."""

    types: frozenset[str]
    """Empty: of every type."""
    labels: frozenset[str] = frozenset()
    """Index entries of `_security`; empty: with any label, or none."""
    references: frozenset[str] = frozenset()
    """Resources; empty: any."""

    def filter(self, type_: str, tenant: str) -> Filter | None:
        """Return the filter of what is denied; None where nothing is."""
        if self.types and type_ not in self.types:
            return None
        parts: list[Filter] = []
        if self.labels:
            parts.append({"s._security": {"$in": sorted(self.labels)}})
        if self.references:
            keys = [current_key(tenant, one.partition("/")[2]) for one in self.references if one.startswith(type_ + "/")]
            if not keys:
                return None
            parts.append({"_id": {"$in": sorted(keys)}})
        return all_of(parts)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to be allowed something: by the scopes of one context (`patient/`, `user/`, `system/`)."""

    bounds: tuple[Grants, ...]
    """All of them bound at the same time: scopes, roles."""
    hidden_labels: frozenset[str] = frozenset()
    """Confidentiality codes that there is no clearance for."""
    denials: tuple[Denial, ...] = ()

    def filter(self, type_: str, letter: str, tenant: str, registry: Registry) -> Filter | None:
        """Return the filter of what is allowed in this way; None where nothing is."""
        parts: list[Filter] = []
        for grants in self.bounds:
            part = _any_of([grant.filter(type_, letter, tenant, registry) for grant in grants])
            if part is None:
                return None
            if part and part not in parts:
                parts.append(part)
        if self.hidden_labels:
            parts.append({"s._security": {"$nin": _entries_of_labels(self.hidden_labels)}})
        for denial in self.denials:
            denied = denial.filter(type_, tenant)
            if denied == EVERYTHING:
                return None
            if denied is not None:
                parts.append({"$nor": [denied]})
        return all_of(parts)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a principal's permissions are made of."""

    ways: tuple[Way, ...]
    hidden: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Elements that are neither shown nor searched, by type."""
    identifiers: Identifiers = "full"
    operator: bool = False


class Permissions:
    """What `principal` may do in a tenant."""

    def __init__(self, principal: Principal, tenant: str, registry: Registry, limits: Limits, base_url: str = "") -> None:
        self.principal = principal
        self.tenant = tenant
        self.limits = limits
        self._whole = registry
        self.registry = _without_hidden(registry, limits.hidden)
        """The search parameters that the principal may use."""
        self._base_url = base_url
        self._filters: dict[tuple[str, str], Filter] = {}
        self._confined: dict[tuple[str, str], bool] = {}
        self._narrow: dict[tuple[str, str], _Narrow] = {}
        shown = json.dumps([principal.id, principal.issuer, tenant, limits.ways], default=_canonical, sort_keys=True)
        self.key = hashlib.sha256(shown.encode()).hexdigest()[:32]
        """Differs between those who may see different resources."""

    @property
    def base_url(self) -> str:
        """The base by which this server knows itself; "" where only requests name one."""
        return self._base_url

    @property
    def identifiers(self) -> Identifiers:
        """How protected identifiers are shown."""
        return self.limits.identifiers

    @property
    def operator(self) -> bool:
        """Whether the principal may ask how the server works."""
        return self.limits.operator

    def filter(self, type_: str, letter: str) -> Filter:
        """Return the filter of the resources of a type for which one of `cruds` is allowed: {} of all, NOTHING of none."""
        found = self._filters.get((type_, letter))
        if found is None:
            found = self._filters[type_, letter] = self._made(type_, letter)
        return found

    def may(self, type_: str, letter: str) -> bool:
        """Tell whether a letter is allowed for some resources of a type."""
        return self.filter(type_, letter) is not NOTHING

    def is_confined(self, type_: str, letters: str) -> bool:
        """Tell whether each of the letters is not allowed for some resources of a type."""
        found = self._confined.get((type_, letters))
        if found is None:
            found = self._confined[type_, letters] = all(self.filter(type_, letter) for letter in letters)
        return found

    def types(self, letter: str) -> frozenset[str]:
        """Return the types of which a letter is allowed for some resources."""
        return frozenset(type_ for type_ in RESOURCE_TYPES if self.may(type_, letter))

    def admits(
        self,
        type_: str,
        letters: str,
        id_: str,
        resource: Resource,
        index: Mapping[str, Any] | None = None,
        *,
        referred: bool = False,
    ) -> bool:
        """Tell whether one of the letters is allowed for a resource of this content.

        `index` are its entries, where known; `referred` says of a Binary that it is part of what may be seen.
        """
        return any(self._admits(type_, letter, id_, resource, index, referred) for letter in letters)

    def _admits(
        self, type_: str, letter: str, id_: str, resource: Resource, index: Mapping[str, Any] | None, referred: bool
    ) -> bool:
        filter_ = self.filter(type_, letter)
        if not filter_ or filter_ is NOTHING:
            return filter_ is not NOTHING
        if index is None:
            narrow = self._narrow.get((type_, letter))
            if narrow is None:
                narrow = self._narrow[type_, letter] = _Narrow(self._whole, frozenset(matching.fields(filter_)))
            index = entries(resource, narrow, self._base_url)
        return matching.matches(filter_, {"_id": current_key(self.tenant, id_), "i": None if referred else id_, "s": index})

    def _made(self, type_: str, letter: str) -> Filter:
        found = _any_of([way.filter(type_, letter, self.tenant, self._whole) for way in self.limits.ways])
        return NOTHING if found is None else found


class _Narrow(Registry):
    """The parameters of a registry whose entries stand in certain fields, so that only those are computed."""

    def __init__(self, whole: Registry, wanted: frozenset[str]) -> None:
        super().__init__()
        self._source = whole
        self._wanted = wanted

    def of(self, type_: str) -> Mapping[str, SearchParameter]:
        """Return those parameters of a type."""
        found = self._of.get(type_)
        if found is None:
            found = {code: one for code, one in self._source.of(type_).items() if one.field in self._wanted}
            self._of[type_] = found
        return found

    def is_custom(self, type_: str) -> bool:
        """They differ from those of the specification for every type."""
        del type_
        return True


class _Visible(Registry):
    """The parameters of a registry that read no hidden element."""

    def __init__(self, whole: Registry, allowed: Callable[[SearchParameter], bool]) -> None:
        super().__init__()
        self._source = whole
        self._allowed = allowed

    def of(self, type_: str) -> Mapping[str, SearchParameter]:
        """Return those parameters of a type."""
        found = self._of.get(type_)
        if found is None:
            found = {code: one for code, one in self._source.of(type_).items() if self._allowed(one)}
            self._of[type_] = found
        return found

    def is_custom(self, type_: str) -> bool:
        """They may differ from those of the specification for every type."""
        del type_
        return True


def _without_hidden(registry: Registry, hidden: Mapping[str, frozenset[str]]) -> Registry:
    if not hidden:
        return registry

    def allowed(parameter: SearchParameter) -> bool:
        names = hidden.get(parameter.resource_type)
        if not names:
            return True
        if parameter.code in ("_content", "_text"):
            return False
        return not any(branch.top in names or branch.top == "" for one in _parts(parameter) for branch in one.path.branches)

    return _Visible(registry, allowed)


def _any_of(ways: Iterable[Filter | None]) -> Filter | None:
    """Return the filter that any of these makes; None where there is none of them."""
    found: list[Filter] = []
    for way in ways:
        if way == EVERYTHING:
            return EVERYTHING
        if way is not None and way not in found:
            found.append(way)
    if not found:
        return None
    return found[0] if len(found) == 1 else {"$or": found}


def _parts(parameter: SearchParameter) -> Sequence[SearchParameter]:
    return (parameter, *parameter.parts, *parameter.joined)


def _canonical(value: Any) -> Any:
    """Return what JSON can hold; the same in every process."""
    if isinstance(value, frozenset):
        return sorted(value)
    return {one.name: getattr(value, one.name) for one in fields(value)} if is_dataclass(value) else str(value)


def _entries_of_labels(labels: frozenset[str]) -> list[str]:
    return sorted(f"{label}|{system}" for label in labels for system in (CONFIDENTIALITY, ""))
