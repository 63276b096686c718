"""Search parameters, compartments and operations of R4.

https://hl7.org/fhir/R4/searchparameter-registry.html, https://hl7.org/fhir/R4/compartmentdefinition.html,
https://hl7.org/fhir/R4/operations.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fhir_server.fhir.definitions.tables import read_table

SearchType = Literal["number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"]


@dataclass(frozen=True, slots=True)
class SearchParameterDefinition:
    """A SearchParameter as the specification publishes it."""

    url: str
    code: str
    type: SearchType
    base: tuple[str, ...]
    """May be empty, and may name `Resource` or `DomainResource`."""
    expression: str
    """FHIRPath; "" for the few that are defined in prose only (`_text`, `_list`, …)."""
    target: tuple[str, ...]
    component: tuple[tuple[str, str], ...]
    """Of a composite: the url of each component's definition, and its expression relative to this one."""
    description: str
    multiple_or: bool
    multiple_and: bool
    comparator: tuple[str, ...]
    modifier: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OperationParameter:
    """One parameter of an operation; `part` where it is made of others."""

    name: str
    use: Literal["in", "out"]
    min: int
    max: int | None
    type: str
    documentation: str
    part: "tuple[OperationParameter, ...]"


@dataclass(frozen=True, slots=True)
class OperationDefinition:
    """An OperationDefinition as the specification publishes it."""

    url: str
    code: str
    name: str
    description: str
    resource: tuple[str, ...]
    system: bool
    type: bool
    instance: bool
    affects_state: bool
    parameter: tuple[OperationParameter, ...]


@cache
def search_parameters() -> tuple[SearchParameterDefinition, ...]:
    """Return the 1,400 search parameters of R4, ordered by url."""
    return tuple(_search_parameter(row) for row in read_table("search_parameters"))


def _search_parameter(row: Mapping[str, Any]) -> SearchParameterDefinition:
    return SearchParameterDefinition(
        url=row["url"],
        code=row["code"],
        type=row["type"],
        base=tuple(row.get("base", ())),
        expression=row.get("expression", ""),
        target=tuple(row.get("target", ())),
        component=tuple((definition, expression) for definition, expression in row.get("component", ())),
        description=row["description"],
        multiple_or=row.get("multipleOr", True),
        multiple_and=row.get("multipleAnd", True),
        comparator=tuple(row.get("comparator", ())),
        modifier=tuple(row.get("modifier", ())),
    )


@cache
def compartments() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return, by compartment (`Patient`) and resource type, the search parameters that place a resource in it.

    A resource is also in its own compartment, which needs no parameter and is not in the table.
    """
    return {
        compartment: {type_: tuple(parameters) for type_, parameters in types.items()}
        for compartment, types in read_table("compartments").items()
    }


@cache
def operation_definitions() -> tuple[OperationDefinition, ...]:
    """Return the operations of R4, ordered by url."""
    return tuple(_operation(row) for row in read_table("operations"))


def _operation(row: Mapping[str, Any]) -> OperationDefinition:
    return OperationDefinition(
        url=row["url"],
        code=row["code"],
        name=row["name"],
        description=row.get("description", ""),
        resource=tuple(row.get("resource", ())),
        system=row["system"],
        type=row["type"],
        instance=row["instance"],
        affects_state=row.get("affectsState", False),
        parameter=tuple(_operation_parameter(parameter) for parameter in row.get("parameter", ())),
    )


def _operation_parameter(row: Mapping[str, Any]) -> OperationParameter:
    return OperationParameter(
        name=row["name"],
        use=row["use"],
        min=row["min"],
        max=None if row["max"] == "*" else int(row["max"]),
        type=row.get("type", ""),
        documentation=row.get("documentation", ""),
        part=tuple(_operation_parameter(part) for part in row.get("part", ())),
    )
