"""What a search parameter is.

https://hl7.org/fhir/R4/searchparameter.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute

from fhir_server.fhir.path import CompiledPath

NO_PATH = CompiledPath(())


@dataclass(frozen=True, slots=True, eq=False)
class SearchParameter:
    """A search parameter, specialised for one resource type.

    Its index entries stand in the stored document under `field`. Where `repeats`, they are an array
    `[least, greatest, ...rest]` (so never of less than two), else one plain entry.
    """

    code: str
    type: str
    """A code of https://hl7.org/fhir/R4/valueset-search-param-type.html."""
    url: str
    resource_type: str
    expression: str = ""
    path: CompiledPath = NO_PATH
    target: tuple[str, ...] = ()
    """Resource types that a reference may point to; () is any."""
    components: "tuple[Component, ...]" = ()
    """Of a composite, in order."""
    description: str = ""
    field: str = ""
    """Where the entries stand: `s.<code>`; `i` for `_id`, `u` for `_lastUpdated`."""
    repeats: bool = True
    filled: bool = True
    """False while a custom parameter waits for `reindex`: resources written before it lack its entries."""
    custom: bool = False
    value_types: frozenset[str] = frozenset()
    """FHIR types of the values that the expression finds."""
    systems: frozenset[str] = frozenset()
    """Code systems that a value of type `code` implies."""
    multiple_or: bool = True
    multiple_and: bool = True
    shared: bool = False
    """Whether the field is that of a wider parameter: `patient` reads `subject`, whose entries may be of other types."""
    parts: "tuple[SearchParameter, ...]" = ()
    """Parameters of the same type that together find what this one finds; it has no entries of its own then."""
    joined: "tuple[SearchParameter, ...]" = ()
    """Of a composite over the resource itself: the parameters that are its components; it has no entries of its own."""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a composite parameter.

    Its entries stand inside the entries of the composite, under `parameter.field` (`c0`, `c1`, …), and are always arrays.
    """

    parameter: SearchParameter
    paths: Mapping[str, CompiledPath] = attribute(default_factory=dict)
    """Its expression, compiled for each type of node that the composite's own expression finds."""
    sibling: SearchParameter | None = None
    """The parameter of the resource that finds what the component finds, and has an index."""
