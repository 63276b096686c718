"""The search parameters that can be used, by resource type.

https://hl7.org/fhir/R4/searchparameter-registry.html

A parameter is specialised for each type that it applies to, when the type is first asked for. `BUILTIN` holds those of
the specification; `with_custom` lays those of a tenant over it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from fhir_server.fhir.definitions import TYPES, SearchParameterDefinition, search_parameters
from fhir_server.search.parameter import Component, SearchParameter
from fhir_server.search.relate import related
from fhir_server.search.specialise import specialise
from fhir_server.search.types.token import REGION

__all__ = ["BUILTIN", "Component", "Registry", "SearchParameter", "builtin"]


class Registry:
    """Search parameters by resource type and code.

    Phone numbers without a country code are of `region`.
    """

    def __init__(self, custom: Iterable[SearchParameter] = (), region: str = REGION) -> None:
        self.region = region
        self._custom: dict[str, dict[str, SearchParameter]] = {}
        for parameter in custom:
            self._custom.setdefault(parameter.resource_type, {})[parameter.code] = parameter
        self._of: dict[str, Mapping[str, SearchParameter]] = {}
        self.plans: dict[str, Any] = {}
        """How to index a type, kept here by `fhir_server.search.index`."""

    def of(self, type_: str) -> Mapping[str, SearchParameter]:
        """Return the parameters of a resource type by their code."""
        found = self._of.get(type_)
        if found is None:
            custom = self._custom.get(type_)
            found = MappingProxyType({**_builtin(type_), **custom}) if custom else _builtin(type_)
            self._of[type_] = found
        return found

    def get(self, type_: str, code: str) -> SearchParameter | None:
        """Return one parameter of a resource type."""
        return self.of(type_).get(code)

    def is_custom(self, type_: str) -> bool:
        """Tell whether a type has parameters that are not of the specification."""
        return type_ in self._custom

    def custom(self) -> list[SearchParameter]:
        """Return the parameters that are not of the specification."""
        return [parameter for codes in self._custom.values() for parameter in codes.values()]

    def with_custom(self, parameters: Iterable[SearchParameter]) -> "Registry":
        """Return a registry that holds these custom parameters as well."""
        return Registry([*self.custom(), *parameters], self.region)


@cache
def _builtin(type_: str) -> Mapping[str, SearchParameter]:
    found: dict[str, SearchParameter] = {}
    for definition in _definitions(type_):
        if definition.code not in found:
            parameter = specialise(definition, type_)
            if parameter is not None:
                found[definition.code] = parameter
    return MappingProxyType(related(found))


@cache
def _by_base() -> Mapping[str, tuple[SearchParameterDefinition, ...]]:
    """Definitions by base; of two with the same code the specification's examples come last."""
    found: dict[str, list[SearchParameterDefinition]] = {}
    for definition in search_parameters():
        for base in definition.base:
            found.setdefault(base, []).append(definition)
    return {base: tuple(sorted(all_, key=lambda one: "/example" in one.url)) for base, all_ in found.items()}


def _definitions(type_: str) -> Iterable[SearchParameterDefinition]:
    while type_ in TYPES:
        yield from _by_base().get(type_, ())
        type_ = TYPES[type_].base


BUILTIN = Registry()
"""The search parameters of the specification."""


@cache
def builtin(region: str) -> Registry:
    """Return the search parameters of the specification for a region of phone numbers."""
    return BUILTIN if region == BUILTIN.region else Registry((), region)
