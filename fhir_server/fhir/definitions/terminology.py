"""Value sets and code systems of R4: https://hl7.org/fhir/R4/terminologies.html."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from fhir_server.fhir.definitions.tables import read_table


@cache
def value_set_codes(url: str) -> Mapping[str, frozenset[str]] | None:
    """Return the codes by system of a value set of R4; None if it is not known or can not be enumerated."""
    systems = _value_sets().get(url)
    if systems is None:
        return None
    return {system: _system_codes(system) if codes is None else frozenset(codes) for system, codes in systems.items()}


@cache
def code_system_concepts(url: str) -> Sequence[Mapping[str, Any]] | None:
    """Return `CodeSystem.concept` of a complete code system of R4, with codes only; None if it is not known."""
    concepts = _code_systems().get(url)
    return None if concepts is None else _concepts(concepts)


def _concepts(concepts: list[Any]) -> list[dict[str, Any]]:
    return [{"code": one} if isinstance(one, str) else {"code": one[0], "concept": _concepts(one[1])} for one in concepts]


@cache
def _system_codes(url: str) -> frozenset[str]:
    return frozenset(_flat(_code_systems()[url]))


def _flat(concepts: list[Any]) -> Iterator[str]:
    for concept in concepts:
        if isinstance(concept, str):
            yield concept
        else:
            yield concept[0]
            yield from _flat(concept[1])


@cache
def _value_sets() -> dict[str, dict[str, list[str] | None]]:
    return dict(read_table("value_sets"))


@cache
def _code_systems() -> dict[str, list[Any]]:
    return dict(read_table("code_systems"))
