"""Expand the value sets of the package whose code systems are in it too.

https://hl7.org/fhir/R4/valueset.html#compositions
"""

from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]
Codes = dict[str, list[str]]


class ValueSets:
    """The value sets by url, expanded on demand."""

    def __init__(self, value_sets: Iterable[Json], code_systems: Iterable[Json]) -> None:
        self._value_sets = {value_set["url"]: value_set for value_set in value_sets}
        self._code_systems = {system["url"]: system for system in code_systems if system.get("content") == "complete"}

    @property
    def urls(self) -> list[str]:
        """The urls of all value sets of the package."""
        return sorted(self._value_sets)

    def compact(self, url: str) -> dict[str, list[str] | None] | None:
        """Return the expansion with None in the place of all codes of a system."""
        codes = self.expand(url)
        if codes is None:
            return None
        return {system: None if self._is_whole(system, some) else some for system, some in codes.items()}

    def _is_whole(self, system: str, codes: list[str]) -> bool:
        known = self._code_systems.get(system)
        return known is not None and set(_flat(known.get("concept", []))) == set(codes)

    def hierarchies(self) -> dict[str, list[Any]]:
        """Return the concepts of each complete code system: a code, or [code, concepts below] where there are some."""
        return {url: _compact(system.get("concept", [])) for url, system in sorted(self._code_systems.items())}

    def expand(self, url: str) -> Codes | None:
        """Return the codes by system in their order, or None when they can not be enumerated."""
        value_set = self._value_sets.get(url.partition("|")[0])
        compose = value_set.get("compose") if value_set else None
        if not compose:
            return None
        codes: Codes = {}
        for include in compose["include"]:
            included = self._select(include)
            if included is None:
                return None
            for system, some in included.items():
                kept = codes.setdefault(system, [])
                kept.extend(code for code in dict.fromkeys(some) if code not in kept)
        for exclude in compose.get("exclude", []):
            excluded = self._select(exclude)
            if excluded is None:
                return None
            for system, some in excluded.items():
                codes[system] = [code for code in codes.get(system, []) if code not in some]
        return codes

    def _select(self, part: Json) -> Codes | None:
        """Return what one include or exclude names: the codes of its system that are in all of its value sets."""
        parts: list[Codes | None] = [self.expand(url) for url in part.get("valueSet", [])]
        if "system" in part:
            parts.append(self._of_system(part))
        first, *others = parts
        if first is None or None in others:
            return None
        return {
            system: [code for code in codes if all(code in (other or {}).get(system, []) for other in others)]
            for system, codes in first.items()
        }

    def _of_system(self, part: Json) -> Codes | None:
        if "concept" in part:
            return {part["system"]: [concept["code"] for concept in part["concept"]]}
        system = self._code_systems.get(part["system"])
        if system is None:
            return None
        codes = list(_flat(system.get("concept", [])))
        for filter_ in part.get("filter", []):
            matching = _matching(system, filter_)
            if matching is None:
                return None
            codes = [code for code in codes if code in matching]
        return {part["system"]: codes}


def _flat(concepts: list[Json]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _flat(concept.get("concept", []))


def _compact(concepts: list[Json]) -> list[Any]:
    return [[one["code"], _compact(one["concept"])] if one.get("concept") else one["code"] for one in concepts]


def _find(concepts: list[Json], code: str) -> Json | None:
    for concept in concepts:
        if concept["code"] == code:
            return concept
        below = _find(concept.get("concept", []), code)
        if below is not None:
            return below
    return None


def _matching(system: Json, filter_: Json) -> set[str] | None:
    """Return the codes that pass a filter, or None for a filter that is not about the hierarchy."""
    if filter_["property"] != "concept" or filter_["op"] not in {"is-a", "descendent-of"}:
        return None
    root = _find(system.get("concept", []), filter_["value"])
    if root is None:
        return None
    below = set(_flat(root.get("concept", [])))
    return below | {filter_["value"]} if filter_["op"] == "is-a" else below
