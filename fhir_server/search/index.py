"""Index entries of a resource: the subdocument `s` of the stored document.

https://hl7.org/fhir/R4/search.html

A type's plan holds, for each member of the resource, the steps that read it, so that parameters about absent members cost
nothing. What the entries look like is said in the files of `search/types`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhir_server import matching
from fhir_server.fhir.path import Branch
from fhir_server.search.fuzzy import keys as fuzzy_keys
from fhir_server.search.indexes import index_models
from fhir_server.search.parameter import Component, SearchParameter
from fhir_server.search.referrers import refs_entry
from fhir_server.search.registry import BUILTIN, Registry, builtin
from fhir_server.search.types import Convert, converters, date, special, string, sub_converters, token

__all__ = ["entries", "index_models"]

Found = dict[str, list[Any]]
Step = Callable[[Mapping[str, Any], str, Found], None]
Finish = Callable[[str, list[Any], dict[str, Any]], None]
_OBJECTS = frozenset({"date", "number", "quantity"})
_DERIVED: Mapping[str, tuple[Callable[[Mapping[str, Any]], Mapping[str, Any]], ...]] = {
    "Patient": (matching.entries, fuzzy_keys.entries)
}
"""What else is indexed of a type's resources, under names that no parameter has; lists under the same name are put together."""


@dataclass(slots=True)
class _Plan:
    by_member: dict[str, list[Step]] = field(default_factory=dict)
    always: list[Step] = field(default_factory=list)
    finish: dict[str, Finish] = field(default_factory=dict)


def entries(resource: Mapping[str, Any], registry: Registry | None = None, base_url: str = "") -> dict[str, Any]:
    """Return the entries of a valid resource, by parameter code (and `code:sub-field`).

    References that start with `base_url` are local.
    """
    plan = _plan(resource["resourceType"], registry or BUILTIN)
    found: Found = {}
    by_member = plan.by_member
    for name in resource:
        for step in by_member.get(name, ()):
            step(resource, base_url, found)
    for step in plan.always:
        step(resource, base_url, found)
    finished: dict[str, Any] = {}
    finish = plan.finish
    for key, values in found.items():
        finish[key](key, values, finished)
    for derive in _DERIVED.get(resource["resourceType"], ()):
        for name, keys in derive(resource).items():
            finished[name] = [*finished.get(name, ()), *keys]
    refs_entry(resource, finished, base_url)
    return finished


def _plan(type_: str, registry: Registry) -> _Plan:
    plan: _Plan | None = registry.plans.get(type_)
    if plan is None:
        base = builtin(registry.region)
        if registry is not base and not registry.is_custom(type_):
            plan = _plan(type_, base)
        else:
            plan = _Plan()
            for parameter in registry.of(type_).values():
                if parameter.field.startswith("s.") and not (parameter.parts or parameter.joined or parameter.shared):
                    _add(plan, parameter, registry.region)
        registry.plans[type_] = plan
    return plan


def _add(plan: _Plan, parameter: SearchParameter, region: str) -> None:
    key = parameter.field.removeprefix("s.")
    plan.finish[key] = _finish(parameter)
    if parameter.code in _TEXT_STEPS:
        member, step = _TEXT_STEPS[parameter.code]
        plan.by_member.setdefault(member, []).append(step)
        return
    for branch in parameter.path.branches:
        for step in _steps(key, branch, parameter, region):
            (plan.by_member.setdefault(branch.top, []) if branch.top else plan.always).append(step)
    for name in sub_converters(parameter.type):
        plan.finish[f"{key}:{name}"] = _sorted_set


def _steps(key: str, branch: Branch, parameter: SearchParameter, region: str) -> Iterator[Step]:
    if parameter.components:
        yield _composite_step(key, branch, parameter.components)
        return
    convert = converters(parameter.type, parameter.code).get(branch.type)
    if branch.type == "ContactPoint" and convert is not None:
        convert = token.contact_point(region)
    if convert is not None:
        yield _step(key, branch, convert)
    for name, of_types in sub_converters(parameter.type).items():
        if branch.type in of_types:
            yield _step(f"{key}:{name}", branch, of_types[branch.type])


def _step(key: str, branch: Branch, convert: Convert) -> Step:
    get = branch.get

    def step(resource: Mapping[str, Any], base_url: str, found: Found) -> None:
        for value in get(resource, resource):
            if value is not None:
                out = found.get(key)
                if out is None:
                    out = found[key] = []
                convert(value, out, base_url)

    return step


def _composite_step(key: str, branch: Branch, components: Sequence[Component]) -> Step:
    parts = [(part.parameter.field, _component_steps(part, branch.type), part.parameter.type) for part in components]

    def step(resource: Mapping[str, Any], base_url: str, found: Found) -> None:
        for node in branch.get(resource, resource):
            entry: dict[str, list[Any]] = {}
            for name, readers, _type in parts:
                out: list[Any] = []
                for get, convert in readers:
                    for value in get(node, resource):
                        if value is not None:
                            convert(value, out, base_url)
                if not out:
                    break
                entry[name] = out
            else:
                found.setdefault(key, []).append(entry)

    return step


def _component_steps(part: Component, context: str) -> list[tuple[Any, Convert]]:
    by_type = converters(part.parameter.type, part.parameter.code)
    return [(branch.get, by_type[branch.type]) for branch in part.paths[context].branches if branch.type in by_type]


def _narrative(resource: Mapping[str, Any], _base_url: str, found: Found) -> None:
    text = special.packed(resource["text"].get("div") or "")
    if text != " ":
        found["_text"] = [text]


def _content(resource: Mapping[str, Any], _base_url: str, found: Found) -> None:
    text = special.packed(special.content(resource))
    if text != " ":
        found["_content"] = [text]


_TEXT_STEPS: Mapping[str, tuple[str, Step]] = {"_text": ("text", _narrative), "_content": ("resourceType", _content)}


def _finish(parameter: SearchParameter) -> Finish:
    if parameter.components:
        return _as_it_is
    if parameter.type in _OBJECTS:
        one = _finish_objects if parameter.repeats else _first
        return _with_long(one) if parameter.type == "date" and parameter.value_types & date.MAY_BE_LONG else one
    if not parameter.repeats:
        return _first
    if string.span_field(parameter):
        return _finish_spanned
    return _finish_names if string.has_words(parameter) else _finish_texts


def _as_it_is(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    finished[key] = values


def _first(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    if values:
        finished[key] = values[0]


def _sorted_set(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    if values:
        finished[key] = sorted(set(values)) if len(values) > 1 else values


def _finish_texts(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    if len(values) > 1:
        ordered = sorted(set(values))
        finished[key] = [ordered[0], ordered[-1], *ordered[1:-1]]
    elif values:
        finished[key] = [values[0], values[0]]


def _finish_spanned(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    _finish_texts(key, values, finished)
    if values:
        finished[f"{key}:span"] = {"l": finished[key][0], "h": finished[key][1]}


def _finish_names(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    string.check_names(values)
    _finish_texts(key, values, finished)
    if values:
        finished[key] += string.later_words(values)


def _finish_objects(key: str, values: list[Any], finished: dict[str, Any]) -> None:
    if values:
        ordered = sorted(values, key=_low)
        finished[key] = [ordered[0], ordered[-1], *ordered[1:-1]]


def _low(entry: Mapping[str, Any]) -> Any:
    return entry["l"]


def _with_long(finish: Finish) -> Finish:
    def finished_with_long(key: str, values: list[Any], finished: dict[str, Any]) -> None:
        finish(key, values, finished)
        if ends := date.long_ends(values):
            finished[f"{key}:long"] = ends

    return finished_with_long
