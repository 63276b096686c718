"""The `_name` members that carry ids and extensions of primitives: https://hl7.org/fhir/R4/json.html#primitive."""

from typing import Any

from fhir_server.fhir.validation.problem import Check, Problem, Problems, within, wrong_kind


def sibling_check(name: str, check_element: Check) -> Check:
    """Return the check of `_name`, where `name` is a single primitive."""

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is not dict:
            return wrong_kind("an object with id or extension", value)
        return check_element(value, owner) or (_lone(value) if not value or name not in owner else None)

    return check


def siblings_check(name: str, check_element: Check) -> Check:
    """Return the check of `_name`, where `name` is an array of primitives: both arrays are aligned by nulls."""

    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is not list:
            return wrong_kind("an array", value)
        if not value:
            return [Problem("structure", "The array is empty; leave the element out instead.")]
        values = owner.get(name, [None] * len(value))
        if type(values) is list and len(values) != len(value):
            text = f"'_{name}' has {len(value)} items, but '{name}' has {len(values)}; fill the gaps with null."
            return [Problem("structure", text)]
        problems: Problems = []
        for index, item in enumerate(value):
            has_value = type(values) is not list or values[index] is not None
            if item is None:
                found = None if has_value else [Problem("structure", "Neither a value nor an extension stands here.")]
            else:
                found = check_element(item, owner) or (_lone(item) if not item or not has_value else None)
            if found is not None:
                problems += within(f"[{index}]", found)
        return problems or None

    return check


def _lone(value: dict[str, Any]) -> Problems | None:
    if not value:
        return [Problem("structure", "The object is empty; leave it out, or write null in an array.")]
    if "extension" in value:
        return None
    return [Problem("invariant", "ele-1: an element has to have a value or an extension; this one has only an id.")]
