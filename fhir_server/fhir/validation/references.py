"""References and the types of what they point to: https://hl7.org/fhir/R4/references.html."""

import re
from typing import Any

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.validation.primitives import is_id
from fhir_server.fhir.validation.problem import Check, Problem, Problems, joined, quote, within

_parse = re.compile(
    r"(?:(?P<base>https?://.+)/)?(?P<type>[A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
).fullmatch
_parse_conditional = re.compile(r"(?P<type>[A-Za-z]+)\?.+", re.DOTALL).fullmatch
_is_absolute = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.+", re.DOTALL).fullmatch


def reference_check(check_object: Check, targets: tuple[str, ...]) -> Check:
    """Return the check of a Reference that may point to the types `targets` (() is any)."""
    allowed = frozenset(targets) or RESOURCE_TYPES

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        problems = check_object(value, owner)
        if type(value) is not dict:
            return problems
        reference = value.get("reference")
        if type(reference) is str:
            type_, _, id_ = reference.partition("/")
            if (type_ not in allowed or not is_id(id_)) and (found := _judge(reference, allowed, targets)):
                problems = joined(problems, found)
        if "type" in value and (found := _judge_type(value, allowed)):
            problems = joined(problems, found)
        return problems

    return check


def canonical_check(check_uri: Check, targets: tuple[str, ...]) -> Check:
    """Return the check of a canonical; only one that points into the resource tells the type of its target."""

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        problems = check_uri(value, owner)
        if problems is None and value[0] == "#":
            return _fragment(value, targets)
        return problems

    return check


def settle(problems: Problems, resource: dict[str, Any]) -> Problems | None:
    """Drop the findings about references to contained resources that `resource` holds, and word the others."""
    contained = resource.get("contained")
    types = {
        item.get("id"): item.get("resourceType")
        for item in (contained if isinstance(contained, list) else [])
        if isinstance(item, dict) and isinstance(item.get("id"), str)
    }
    left: Problems = []
    for problem in problems:
        if problem.fragment is not None:
            id_, targets = problem.fragment
            problem.fragment = None
            type_ = types.get(id_)
            if type_ is not None and (not targets or type_ in targets):
                continue
            if type_ is not None:
                problem.code, problem.text = "value", _wrong_type(f"#{id_}", str(type_), targets)
        left.append(problem)
    return left or None


def _judge(reference: str, allowed: frozenset[str], targets: tuple[str, ...]) -> Problems | None:
    """Judge a literal reference that is not simply `Type/id` with an allowed type."""
    if reference.startswith("#"):
        problems = _fragment(reference, targets)
        return problems and within(".reference", problems)
    parsed = _parse(reference) or _parse_conditional(reference)
    if parsed is None:
        if not reference or _is_absolute(reference):
            return None
        text = f"{quote(reference)} is not a reference: it has to be Type/id, an absolute URL or URN, or #id."
        return [Problem("value", text, ".reference")]
    type_ = parsed["type"]
    if type_ in allowed:
        return None
    if type_ not in RESOURCE_TYPES:
        # The last two segments of any URL look like a type and an id; only a relative one has to be that.
        if parsed.groupdict().get("base"):
            return None
        return [Problem("value", f"{quote(type_)} in {quote(reference)} is not a resource type of R4.", ".reference")]
    return [Problem("value", _wrong_type(reference, type_, targets), ".reference")]


def _judge_type(value: dict[str, Any], allowed: frozenset[str]) -> Problems | None:
    type_, reference = value["type"], value.get("reference")
    if type(type_) is not str or type_ not in RESOURCE_TYPES:
        return None
    if type_ not in allowed:
        return [Problem("value", _wrong_type(f"type {type_}", type_, tuple(sorted(allowed))), ".type")]
    parsed = _parse(reference) if isinstance(reference, str) else None
    if parsed is not None and parsed["type"] in RESOURCE_TYPES and parsed["type"] != type_:
        return [Problem("value", f"The type says {type_}, but the reference is {quote(reference)}.", ".type")]
    return None


def _fragment(reference: str, targets: tuple[str, ...]) -> Problems | None:
    if reference == "#":
        return None
    text = f"There is no contained resource with the id {reference[1:]!r} that {quote(reference)} could point to."
    return [Problem("not-found", text, fragment=(reference[1:], targets))]


def _wrong_type(reference: str, type_: str, targets: tuple[str, ...]) -> str:
    return f"{quote(reference)} is a {type_}; allowed here: {', '.join(targets)}."
