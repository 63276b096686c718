"""What a search asks of a resource, as a tree.

https://hl7.org/fhir/R4/search.html

`query` and `filter_expression` parse text to these, `compile` makes MongoDB filters of them.
"""

from dataclasses import dataclass
from typing import TypeAlias

from fhir_server.search.registry import SearchParameter


@dataclass(frozen=True, slots=True)
class Match:
    """One parameter has one of the values (OR); values are as the client wrote them, with their escapes."""

    parameter: SearchParameter
    modifier: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A reference parameter leads to a resource for which a condition holds.

    https://hl7.org/fhir/R4/search.html#chaining
    """

    parameter: SearchParameter
    branches: tuple[tuple[str, "Condition"], ...]
    """The condition for each type that may stand at the other end."""


@dataclass(frozen=True, slots=True)
class Has:
    """A resource of `type` refers to this one by a parameter, and a condition holds for it.

    https://hl7.org/fhir/R4/search.html#has
    """

    type: str
    parameter: SearchParameter
    condition: "Condition"


@dataclass(frozen=True, slots=True)
class InCompartment:
    """The resource is in a compartment: https://hl7.org/fhir/R4/compartmentdefinition.html."""

    reference: str
    """The resource that the compartment is of, such as `Patient/1`."""


@dataclass(frozen=True, slots=True)
class OnList:
    """The resource is an item of a List: https://hl7.org/fhir/R4/search.html#list."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All conditions hold; none is always true."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition holds."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The condition does not hold."""

    condition: "Condition"


Condition: TypeAlias = Match | Chain | Has | InCompartment | OnList | AllOf | AnyOf | Negation
