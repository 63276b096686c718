"""Search parameters of type composite.

https://hl7.org/fhir/R4/search.html#combining

An entry is an object for one node that the parameter's expression finds, with the entries of each component (`c0`, `c1`, …), so
that the components of a search meet in one node.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from fhir_server.search.parameter import Component, SearchParameter
from fhir_server.search.types import date, number, quantity, reference, string, token, uri
from fhir_server.search.types.common import Filter, any_of, unsupported_modifier
from fhir_server.search.values import invalid_value, split_escaped

MODIFIERS: frozenset[str] = frozenset()


def filter(  # noqa: A001 -- the name that all types share
    field: str, modifier: str, values: Iterable[str], parameter: SearchParameter, *, base_url: str = "", now: datetime
) -> Filter:
    """Return the filter for resources with a node that meets all components, joined by `$`, of one of the values.

    Raises:
        FhirError: 400, a value with too few or too many components or one that is malformed, or a modifier.
    """
    return any_of(_node(field, parts(parameter, modifier, value), parameter, base_url, now) for value in values)


def parts(parameter: SearchParameter, modifier: str, value: str) -> list[str]:
    """Return the value of each component.

    Raises:
        FhirError: 400, there are too few or too many, or there is a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    found = split_escaped(value, "$")
    if len(found) != len(parameter.components):
        expected = "$".join(component.parameter.code for component in parameter.components)
        raise invalid_value(parameter.code, value, f"expected {expected}; a $ inside is written \\$")
    return found


def _node(field: str, values: Sequence[str], parameter: SearchParameter, base_url: str, now: datetime) -> Filter:
    pairs = list(zip(parameter.components, values, strict=True))
    conditions = [_part(component, value, base_url, now) for component, value in pairs]
    return {field: {"$elemMatch": {"$and": conditions}}, **_indexed(pairs)}


def _indexed(pairs: Sequence[tuple[Component, str]]) -> Filter:
    """Return what follows from the first token, as a filter that an index serves: composites have none of their own."""
    for component, value in pairs:
        if component.sibling is not None and component.sibling.type == "token":
            return token.filter(component.sibling.field, "", [value], component.sibling)
    return {}


def _part(component: Component, value: str, base_url: str, now: datetime) -> Filter:
    parameter = component.parameter
    match parameter.type:
        case "token":
            return token.filter(parameter.field, "", [value], parameter)
        case "quantity":
            return quantity.filter(parameter.field, "", [value], parameter)
        case "date":
            return date.filter(parameter.field, "", [value], parameter, now=now)
        case "number":
            return number.filter(parameter.field, "", [value], parameter)
        case "string":
            return string.filter(parameter.field, "", [value], parameter)
        case "reference":
            return reference.filter(parameter.field, "", [value], parameter, base_url=base_url)
        case _:
            return uri.filter(parameter.field, "", [value], parameter)
