"""From the definition of a search parameter to the parameter of one resource type.

https://hl7.org/fhir/R4/searchparameter-definitions.html
"""

import re
from collections.abc import Mapping
from functools import cache

from fhir_server.fhir.definitions import SearchParameterDefinition, search_parameters, value_set_codes
from fhir_server.fhir.path import CompiledPath, PathError, compile_branches
from fhir_server.search.parameter import NO_PATH, Component, SearchParameter
from fhir_server.search.types import has_index, spreads

_FIELDS = {"_id": "i", "_lastUpdated": "u"}
_OF_THE_SEARCH = ("_filter", "_query")
"""Parameters that the search itself evaluates; no resource has entries of them."""
_TEXTS = ("_text", "_content")
"""Parameters that are defined in prose only, and that `index` fills."""
_MAX_COMPONENTS = 8
Definitions = Mapping[str, SearchParameterDefinition]
NO_DEFINITIONS: Definitions = {}
_RESOLVED_IS = re.compile(r"\.where\(resolve\(\) is (\w+)\)")


def specialise(
    definition: SearchParameterDefinition,
    type_: str,
    *,
    custom: bool = False,
    filled: bool = True,
    known: Definitions = NO_DEFINITIONS,
) -> SearchParameter | None:
    """Return the parameter of a resource type; None when it is defined in prose only.

    `known` are definitions, by url, that a composite may be made of beside those of the specification.

    Raises:
        PathError: its expression is not supported, or finds what can not be searched by its type.
    """
    if definition.code in _OF_THE_SEARCH or not (definition.expression or definition.code in _TEXTS):
        return None
    path = compile_branches(definition.expression, type_) if definition.expression else NO_PATH
    components = _components(definition, type_, path, known)
    if definition.expression and not components:
        path = _indexable(path, definition)
    return SearchParameter(
        code=definition.code,
        type=definition.type,
        url=definition.url,
        resource_type=type_,
        expression=definition.expression,
        path=path,
        target=_targets(definition, type_),
        components=components,
        description=definition.description,
        field=_FIELDS.get(definition.code, f"s.{definition.code}"),
        repeats=_repeats(definition, path),
        filled=filled,
        custom=custom,
        value_types=path.types,
        systems=_systems(path),
        multiple_or=definition.multiple_or,
        multiple_and=definition.multiple_and,
    )


def _indexable(path: CompiledPath, definition: SearchParameterDefinition) -> CompiledPath:
    kept = tuple(branch for branch in path.branches if has_index(definition.type, branch.type))
    if path.branches and not kept:
        found = ", ".join(sorted(path.types))
        raise PathError(f"{definition.expression!r} finds {found}, which can not be searched as {definition.type}")
    return CompiledPath(kept)


def _repeats(definition: SearchParameterDefinition, path: CompiledPath) -> bool:
    if definition.code in _FIELDS or definition.code in _TEXTS:
        return False
    if definition.type == "composite":
        return True
    return path.repeats or spreads(definition.type, path.types, definition.code)


def _targets(definition: SearchParameterDefinition, type_: str) -> tuple[str, ...]:
    """Return the types that a reference may lead to; a definition of many types names those of all of them."""
    branches = [branch.strip() for branch in definition.expression.split("|") if branch.strip(" (").startswith(f"{type_}.")]
    only = [match[1] for branch in branches if (match := _RESOLVED_IS.search(branch))]
    if only and len(only) == len(branches):
        return tuple(dict.fromkeys(only))
    return definition.target


def _systems(path: CompiledPath) -> frozenset[str]:
    elements = [branch.element for branch in path.branches if branch.type == "code" and branch.element is not None]
    return frozenset(system for element in elements for system in value_set_codes(element.value_set) or ())


def _components(
    definition: SearchParameterDefinition, type_: str, path: CompiledPath, known: Definitions
) -> tuple[Component, ...]:
    if definition.type != "composite":
        return ()
    if not 1 < len(definition.component) <= _MAX_COMPONENTS:
        raise PathError(f"a composite parameter has 2 to {_MAX_COMPONENTS} components, not {len(definition.component)}")
    return tuple(_component(position, part, type_, path, known) for position, part in enumerate(definition.component))


def _component(position: int, part: tuple[str, str], type_: str, path: CompiledPath, known: Definitions) -> Component:
    url, expression = part
    bare = url.partition("|")[0]
    definition = _by_url().get(bare) or known.get(bare)
    if definition is None:
        raise PathError(f"the component {url!r} is not a search parameter that is known here")
    if definition.type in ("composite", "special"):
        raise PathError(f"the component {url!r} is of type {definition.type}, which can not be part of a composite")
    paths = {context: _component_path(expression, type_, context, definition) for context in path.types}
    branches = tuple(branch for one in paths.values() for branch in one.branches)
    found = CompiledPath(branches)
    parameter = SearchParameter(
        code=definition.code,
        type=definition.type,
        url=definition.url,
        resource_type=type_,
        expression=expression,
        path=found,
        target=definition.target,
        field=f"c{position}",
        value_types=found.types,
        systems=_systems(found),
    )
    return Component(parameter, paths)


def _component_path(expression: str, type_: str, context: str, definition: SearchParameterDefinition) -> CompiledPath:
    try:
        return _indexable(compile_branches(expression, type_, (context,)), definition)
    except PathError:
        # DocumentReference.relationship of R4 has the expressions of its two components swapped: what they define is right.
        own = definition.expression.removeprefix(f"{context}.")
        if own == definition.expression:
            raise
        return _indexable(compile_branches(own, type_, (context,)), definition)


@cache
def _by_url() -> dict[str, SearchParameterDefinition]:
    return {definition.url: definition for definition in search_parameters()}
