"""Which field wins: what the target is after a merge, element by element.

docs/merge.md has the rules and their default: the target keeps what it has, and gets the source's identifiers with
`use=old`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.fhir.codec import encode
from fhir_server.fhir.definitions import TYPES
from fhir_server.store.versions import Version

Rules = Mapping[Any, str]
_FIXED: Final = frozenset({"resourceType", "id", "meta", "active", "link", "implicitRules", "contained"})
"""Elements that no rule is about."""
_CHOICES: Final = ("deceased", "multipleBirth")
DEFAULT: Final[Rules] = {"identifier": "union"}
"""Elements that `*` is not about."""


@dataclass(frozen=True, slots=True)
class Field:
    """One element of the result, and where it comes from."""

    name: str
    """As in FHIRPath, such as `telecom` or `deceased`."""
    rule: str
    source: Mapping[str, Any]
    """The members that hold the element (`birthDate`, `_birthDate`), as the source has them."""
    target: Mapping[str, Any]
    result: Mapping[str, Any]


def merged(source: Version, target: Version, rules: Rules, *, keep_link: bool = True) -> tuple[Resource, list[Field]]:
    """Return the target as it is after the merge, and its elements one by one; `keep_link`: the source stays."""
    old, new = source.resource or {}, target.resource or {}
    newest = "source" if source.last_updated > target.last_updated else "target"
    fields = [_field(name, old, new, rules, newest) for name in _elements(old, new)]
    result = {name: value for name, value in new.items() if _element(name) in _FIXED}
    for field in fields:
        result |= field.result
    link = replaces(source.id)
    if keep_link and link not in new.get("link", ()):
        result["link"] = [*new.get("link", ()), link]
    order = {name: place for place, name in enumerate([*new, *old])}
    return {name: result[name] for name in sorted(result, key=lambda name: order.get(name, len(order)))}, fields


def replaces(id_: str) -> dict[str, Any]:
    """Return the link of the survivor: https://hl7.org/fhir/R4/valueset-link-type.html."""
    return {"other": {"reference": f"Patient/{id_}"}, "type": "replaces"}


def replaced(source: Resource, target_id: str) -> Resource:
    """Return the source as it is after the merge: inactive, with a link to the survivor."""
    link = {"other": {"reference": f"Patient/{target_id}"}, "type": "replaced-by"}
    return source | {"active": False, "link": [*source.get("link", ()), link]}


def _element(name: str) -> str:
    plain = name.removeprefix("_")
    return next((choice for choice in _CHOICES if plain.startswith(choice)), plain)


def _elements(old: Resource, new: Resource) -> list[str]:
    names = dict.fromkeys(_element(name) for name in (*new, *old))
    return [name for name in names if name not in _FIXED]


def _field(name: str, old: Resource, new: Resource, rules: Rules, newest: str) -> Field:
    rule = rules.get(name) or DEFAULT.get(name) or rules.get("*", "target")
    source = {member: value for member, value in _portable(old).items() if _element(member) == name}
    target = {member: value for member, value in new.items() if _element(member) == name}
    wanted = newest if rule == "newest" else rule
    return Field(name, rule, source, target, _RULES[wanted](name, source, target))


def _portable(patient: Resource) -> Resource:
    """Return the patient without what leads to its contained resources, which stay with it."""
    if "contained" not in patient:
        return patient
    return {name: value for name, member in patient.items() if (value := _without_fragments(member)) not in ([], None)}


def _without_fragments(value: Any) -> Any:
    if isinstance(value, list):
        return [found for one in value if (found := _without_fragments(one)) is not None]
    if not isinstance(value, dict):
        return value
    inner = [one for member in value.values() for one in (member if isinstance(member, list) else [member])]
    leads_inside = str(value.get("reference", "")).startswith("#") or any(
        isinstance(one, dict) and _without_fragments(one) is None for one in inner
    )
    return None if leads_inside else value


def _of_target(_name: str, _source: Mapping[str, Any], target: Mapping[str, Any]) -> Mapping[str, Any]:
    return target


def _of_source(_name: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> Mapping[str, Any]:
    return source or target


def _fill(_name: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> Mapping[str, Any]:
    return target or source


def _union(name: str, source: Mapping[str, Any], target: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(source.get(name), list):
        return target or source
    present = target.get(name, [])
    key = _identity(name)
    known = {key(one) for one in present}
    added = [_added(name, one) for one in source[name] if key(one) not in known]
    return {**target, name: [*present, *added]}


def _identity(name: str) -> Callable[[Any], str]:
    def key(value: Any) -> str:
        if name == "identifier" and value.get("value"):
            value = [value.get("system"), value["value"]]
        return encode(value).decode() if isinstance(value, dict) else json.dumps(value)

    return key


def _added(name: str, value: Any) -> Any:
    return value | {"use": "old"} if name == "identifier" else value


_RULES: Final = {"target": _of_target, "source": _of_source, "fill": _fill, "union": _union}


def shown(field: Field) -> dict[str, Any]:
    """Return a field as a part of the Parameters of a preview."""
    parts: list[dict[str, Any]] = [{"name": "element", "valueCode": field.name}, {"name": "rule", "valueCode": field.rule}]
    for name, members in (("source", field.source), ("target", field.target), ("result", field.result)):
        parts += [value for member, found in members.items() for value in _values(name, member, found)]
    return {"name": "field", "part": parts}


def _values(name: str, member: str, found: Any) -> list[dict[str, Any]]:
    """Return the values of one member; what a Parameters resource can not hold as it is, as the text of its JSON."""
    described = TYPES["Patient"].elements.get(member)
    type_ = described.type if described else ""
    choice = f"value{type_[:1].upper()}{type_[1:]}"
    if choice in TYPES["Parameters.parameter"].elements:
        return [{"name": name, choice: value} for value in (found if isinstance(found, list) else [found])]
    if member == "extension":
        return [{"name": name, "extension": [one], "valueUri": one["url"]} for one in found]
    return [{"name": name, "valueString": f"{member}: {encode(found).decode()}"}]
