"""Types and their elements.

https://hl7.org/fhir/R4/elementdefinition.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fhir_server.fhir.definitions.tables import read_table
from fhir_server.fhir.definitions.terminology import value_set_codes

Kind = Literal["primitive", "complex", "backbone", "resource"]
_SUMMARY, _MODIFIER = 1, 2


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type, in its JSON name.

    `value[x]` stands as one Element a type (`valueQuantity`, …) that all have `choice` = `value`; their `min` and
    `max` are those of the choice as a whole.
    """

    name: str
    type: str
    """A name in TYPES. `Resource` is any resource, `xhtml` the narrative's div."""
    min: int
    max: int | None
    """None is `*`: the element is an array in JSON."""
    choice: str
    codes: frozenset[str] | None
    """The codes of a required binding (of all its systems), where they can be enumerated."""
    targets: tuple[str, ...]
    """The resource types that a Reference or canonical may point to; () is any."""
    summary: bool
    modifier: bool
    value_set: str
    """The url of the value set of a required binding, else ""."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """A constraint in FHIRPath, evaluated on every instance of the type, or of its element `element`."""

    key: str
    severity: Literal["error", "warning"]
    human: str
    expression: str
    element: str


@dataclass(frozen=True, slots=True)
class Type:
    """A primitive, a complex type, a backbone element (named by its path) or a resource."""

    name: str
    kind: Kind
    elements: dict[str, Element]
    """By JSON name, in the order of the specification."""
    invariants: tuple[Invariant, ...]
    base: str
    """The type that it specialises, "" for a backbone element."""
    abstract: bool


class _Types(Mapping[str, Type]):
    def __init__(self) -> None:
        self._built: dict[str, Type] = {}

    def __getitem__(self, name: str) -> Type:
        found = self._built.get(name)
        return found if found is not None else self._build(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_rows())

    def __len__(self) -> int:
        return len(_rows())

    def __contains__(self, name: object) -> bool:
        return name in _rows()

    def _build(self, name: str) -> Type:
        row = _rows()[name]
        elements = {element[0]: _element(element) for element in row["elements"]}
        invariants = tuple(_invariant(number) for number in row["invariants"])
        return self._built.setdefault(name, Type(name, row["kind"], elements, invariants, row["base"], row["abstract"]))


def _element(row: list[Any]) -> Element:
    name, type_, min_, max_, flags, choice, value_set, targets = (*row, "", "", "")[:8]
    return Element(
        name=name,
        type=type_,
        min=min_,
        max=max_,
        choice=choice,
        codes=_codes(value_set) if value_set else None,
        targets=tuple(targets),
        summary=bool(flags & _SUMMARY),
        modifier=bool(flags & _MODIFIER),
        value_set=value_set,
    )


def _invariant(number: int | list[Any]) -> Invariant:
    position, element = number if isinstance(number, list) else (number, "")
    key, severity, human, expression = _invariants()[position]
    return Invariant(key, severity, human, expression, element)


@cache
def _rows() -> dict[str, Any]:
    return dict(read_table("types"))


@cache
def _invariants() -> list[Any]:
    return list(read_table("invariants"))


@cache
def _codes(url: str) -> frozenset[str] | None:
    systems = value_set_codes(url)
    return None if systems is None else frozenset().union(*systems.values())


TYPES: Mapping[str, Type] = _Types()
RESOURCE_TYPES: frozenset[str] = frozenset(
    name for name, row in _rows().items() if row["kind"] == "resource" and not row["abstract"]
)


def type_of(name: str) -> Type:
    """Return the type of that name.

    Raises:
        KeyError: R4 knows no such type.
    """
    return TYPES[name]


@cache
def summary_elements(type_: str) -> frozenset[str]:
    """Return the JSON names of the elements that `_summary=true` shows.

    https://hl7.org/fhir/R4/search.html#summary
    """
    return frozenset(name for name, element in TYPES[type_].elements.items() if element.summary)


@cache
def mandatory_elements(type_: str) -> frozenset[str]:
    """Return the JSON names of the elements without which an instance is not valid; of a choice, all its names."""
    return frozenset(name for name, element in TYPES[type_].elements.items() if element.min)
