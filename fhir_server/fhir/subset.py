"""Parts of resources: `_summary` and `_elements`.

https://hl7.org/fhir/R4/search.html#summary, https://hl7.org/fhir/R4/search.html#elements

Pure: a resource goes in, another comes out that shares what was kept. What was cut is tagged SUBSETTED, so that
nobody writes it back.
"""

from collections.abc import Collection
from functools import cache
from typing import Any, Literal, get_args

from fhir_server.fhir.definitions import RESOURCE_TYPES, TYPES, mandatory_elements, summary_elements
from fhir_server.fhir.outcome import bad_request

Resource = dict[str, Any]
Summary = Literal["true", "text", "data", "count", "false"]

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_ALWAYS = frozenset({"resourceType", "id", "meta"})


def parse_summary(value: str) -> Summary:
    """Return the mode that `_summary` asks for.

    Raises:
        FhirError: 400 for any other word.
    """
    for mode in get_args(Summary):
        if value == mode:
            return mode  # type: ignore[no-any-return]  # get_args is not generic
    raise bad_request(f"_summary={value!r} is none of true, text, data, count, false.")


def parse_elements(value: str) -> tuple[str, ...]:
    """Return the element names that `_elements` lists; a name may be led by a type (`Patient.name`).

    Raises:
        FhirError: 400 for what can not be the name of a top-level element.
    """
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    for name in names:
        type_, dot, element = name.rpartition(".")
        if not element.isalnum() or (dot and type_ not in RESOURCE_TYPES):
            raise bad_request(f"_elements: {name!r} is not the name of a top-level element, such as `name` or `Patient.name`.")
    return names


def summary(resource: Resource, mode: Summary) -> Resource:
    """Return what `_summary=mode` shows of a resource; all of it for `false` (and for `count`, which shows none)."""
    type_ = resource.get("resourceType")
    if mode in ("false", "count") or type_ not in RESOURCE_TYPES:
        return resource
    if mode == "data":
        return _tagged({name: value for name, value in resource.items() if name != "text"})
    if mode == "text":
        return _tagged(_only(resource, _ALWAYS | {"text"} | mandatory_elements(type_)))
    return _tagged(_summarised(resource, type_, _ALWAYS))


def elements(resource: Resource, names: Collection[str]) -> Resource:
    """Return the named top-level elements of a resource, with its id, meta and what is mandatory.

    Where all names are led by other types (`Patient.name` for an Observation), all of it.
    """
    type_ = resource.get("resourceType")
    if type_ not in RESOURCE_TYPES:
        return resource
    own = {name.rpartition(".")[2] for name in names if name.rpartition(".")[0] in ("", type_)}
    if not own:
        return resource
    choices = {name for name, element in TYPES[type_].elements.items() if element.choice in own and element.choice}
    return _tagged(_only(resource, _ALWAYS | own | choices | mandatory_elements(type_)))


def _only(members: Resource, names: Collection[str]) -> Resource:
    return {name: value for name, value in members.items() if name.lstrip("_") in names}


@cache
def _kept(type_: str) -> frozenset[str]:
    return summary_elements(type_) | mandatory_elements(type_)


def _summarised(members: Resource, type_: str, always: frozenset[str] = frozenset()) -> Resource:
    """Keep the elements marked as summary, down to the backbone elements of the resource's own definition."""
    known = TYPES[type_].elements
    kept = _only(members, _kept(type_) | always)
    for name, value in kept.items():
        element = known.get(name)
        if element is not None and TYPES[element.type].kind == "backbone":
            kept[name] = _summarised_value(value, element.type)
    return kept


def _summarised_value(value: Any, type_: str) -> Any:
    if isinstance(value, list):
        return [_summarised_value(item, type_) for item in value]
    return _summarised(value, type_) if isinstance(value, dict) else value


def _tagged(resource: Resource) -> Resource:
    meta = resource.get("meta")
    members = dict(meta) if isinstance(meta, dict) else {}
    tags = members.get("tag") or []
    if not any(tag.get("system") == SUBSETTED["system"] and tag.get("code") == SUBSETTED["code"] for tag in tags):
        members["tag"] = [*tags, dict(SUBSETTED)]
    head = {name: resource[name] for name in ("resourceType", "id") if name in resource}
    return (
        head | {"meta": members} | {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    )
