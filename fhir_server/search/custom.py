"""Search parameters that users define: SearchParameter resources.

https://hl7.org/fhir/R4/searchparameter.html

An active SearchParameter adds a parameter to the types of its `base`; drafts and retired ones only rest in the store, and so
does one with the url of a parameter of the specification, which is there already.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from fhir_server.fhir.definitions import RESOURCE_TYPES, TYPES, SearchParameterDefinition, search_parameters
from fhir_server.fhir.outcome import FhirError, unprocessable
from fhir_server.fhir.path import PathError
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import BUILTIN
from fhir_server.search.specialise import specialise

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Codes are members of the stored document, and stand before `:` and `.` in a query."""
_TYPES = ("number", "date", "string", "token", "reference", "composite", "quantity", "uri")
_ABSTRACT = ("Resource", "DomainResource")


def from_resource(
    resource: Mapping[str, Any], *, filled: bool = True, others: Iterable[Mapping[str, Any]] = ()
) -> tuple[SearchParameter, ...]:
    """Return the parameters, one for each resource type, that a SearchParameter resource defines; () if it is not in use.

    `others` are the tenant's other SearchParameter resources, which the components of a composite may name.

    Raises:
        FhirError: 422, it can not be used, with the reason.
    """
    if resource.get("status") != "active" or resource.get("url") in _builtin_urls():
        return ()
    definition = _definition(resource)
    _check(definition)
    known = {definition.url: definition for definition in map(_definition, others)}
    found = [_specialised(definition, type_, filled, known) for type_ in _types(definition)]
    parameters = tuple(parameter for parameter in found if parameter is not None and parameter.path.branches)
    if not parameters:
        raise _refused(f"its expression {definition.expression!r} finds nothing in {', '.join(definition.base)}", "expression")
    return parameters


def _definition(resource: Mapping[str, Any]) -> SearchParameterDefinition:
    return SearchParameterDefinition(
        url=resource.get("url", ""),
        code=resource.get("code", ""),
        type=resource.get("type", ""),
        base=tuple(resource.get("base", ())),
        expression=resource.get("expression", ""),
        target=tuple(resource.get("target", ())),
        component=tuple((part.get("definition", ""), part.get("expression", "")) for part in resource.get("component", ())),
        description=resource.get("description", ""),
        multiple_or=resource.get("multipleOr", True),
        multiple_and=resource.get("multipleAnd", True),
        comparator=tuple(resource.get("comparator", ())),
        modifier=tuple(resource.get("modifier", ())),
    )


def _check(definition: SearchParameterDefinition) -> None:
    if not _CODE.fullmatch(definition.code):
        raise _refused(f"its code {definition.code!r} is not a letter and up to 63 letters, digits, - and _", "code")
    if definition.type not in _TYPES:
        raise _refused(f"parameters of type {definition.type!r} can not be added; use one of {', '.join(_TYPES)}", "type")
    if not definition.base:
        raise _refused("it names no base", "base")
    if not definition.expression:
        raise _refused("it has no expression", "expression")


def _types(definition: SearchParameterDefinition) -> list[str]:
    unknown = [base for base in definition.base if base not in RESOURCE_TYPES and base not in _ABSTRACT]
    if unknown:
        raise _refused(f"its base {unknown[0]!r} is not a resource type of R4", "base")
    wanted = set(definition.base)
    types = [type_ for type_ in sorted(RESOURCE_TYPES) if type_ in wanted or "Resource" in wanted or TYPES[type_].base in wanted]
    for type_ in types:
        taken = BUILTIN.get(type_, definition.code)
        if taken is not None:
            raise _refused(
                f"{type_} has a parameter {definition.code!r} already ({taken.url}); choose another code", "code", "duplicate"
            )
    return types


def _specialised(
    definition: SearchParameterDefinition, type_: str, filled: bool, known: Mapping[str, SearchParameterDefinition]
) -> SearchParameter | None:
    try:
        return specialise(definition, type_, custom=True, filled=filled, known=known)
    except PathError as error:
        raise _refused(f"{error} (for {type_})", "component" if definition.type == "composite" else "expression") from None


def _refused(reason: str, element: str, code: str = "not-supported") -> FhirError:
    return unprocessable(f"This SearchParameter can not be used: {reason}.", f"SearchParameter.{element}", code)


@cache
def _builtin_urls() -> frozenset[str]:
    return frozenset(definition.url for definition in search_parameters())
