"""How the parameters of one type relate, so that no value is indexed twice.

See docs/decisions on the form of the index. `combo-code` of Observation is what `code` and `component-code` find; its
`code-value-quantity` is `code` and `value-quantity` of the same resource; `patient` is what of `subject` is a Patient.
"""

from collections.abc import Mapping
from dataclasses import replace

from fhir_server.search.parameter import Component, SearchParameter

_COMBINED = "combo-"


def related(parameters: Mapping[str, SearchParameter]) -> dict[str, SearchParameter]:
    """Return the parameters of a type with `shared`, `joined`, `parts` and the siblings of components filled in."""
    found = {
        code: _composite(parameter, parameters) if parameter.components else parameter for code, parameter in parameters.items()
    }
    if "patient" in found and "subject" in found and _paths(found["patient"]) == _paths(found["subject"]):
        found["patient"] = replace(found["patient"], field=found["subject"].field, repeats=found["subject"].repeats, shared=True)
    for code, parameter in found.items():
        if code.startswith(_COMBINED):
            found[code] = replace(parameter, parts=_parts(parameter, found))
    return found


def _paths(parameter: SearchParameter) -> set[tuple[str, str]]:
    return {(branch.path, branch.type) for branch in parameter.path.branches}


def _parts(parameter: SearchParameter, found: Mapping[str, SearchParameter]) -> tuple[SearchParameter, ...]:
    name = parameter.code.removeprefix(_COMBINED)
    parts = [found[code] for code in (name, f"component-{name}") if code in found]
    same = len(parts) > 1 and all(part.type == parameter.type for part in parts)
    return tuple(parts) if same and set().union(*(_paths(part) for part in parts)) == _paths(parameter) else ()


def _composite(parameter: SearchParameter, parameters: Mapping[str, SearchParameter]) -> SearchParameter:
    same = [_same(component, parameters) for component in parameter.components]
    joined = tuple(one for one in same if one is not None) if _of_resource(parameter) else ()
    components = tuple(
        replace(component, sibling=one or _wider(component, parameters))
        for component, one in zip(parameter.components, same, strict=True)
    )
    return replace(parameter, components=components, joined=joined if len(joined) == len(components) else ())


def _of_resource(parameter: SearchParameter) -> bool:
    """Tell whether it is about the resource as a whole, with components of one value each."""
    whole = all(branch.path == parameter.resource_type for branch in parameter.path.branches)
    return whole and not any(component.parameter.path.repeats for component in parameter.components)


def _same(component: Component, parameters: Mapping[str, SearchParameter]) -> SearchParameter | None:
    """Return the parameter that is about the same elements (of a choice it may know more types)."""
    wanted, types = _elements(component.parameter), component.parameter.value_types
    return next(
        (
            parameter
            for parameter in parameters.values()
            if parameter.type == component.parameter.type and types <= parameter.value_types and _elements(parameter) == wanted
        ),
        None,
    )


def _wider(component: Component, parameters: Mapping[str, SearchParameter]) -> SearchParameter | None:
    """Return the parameter that defines the component: it finds what the component finds, and perhaps more."""
    return next((parameter for parameter in parameters.values() if parameter.url == component.parameter.url), None)


def _elements(parameter: SearchParameter) -> set[str]:
    return {branch.path for branch in parameter.path.branches}
