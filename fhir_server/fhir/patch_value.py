"""The value of a FHIRPath Patch operation, made to fit the element that it is for.

https://hl7.org/fhir/R4/fhirpatch.html: a data type stands in `value[x]`, a resource in `resource`, and the content of an
anonymous type (`Patient.contact`) in nested parts, one an element.
"""

from typing import Any

from fhir_server.fhir.definitions import TYPES, Element
from fhir_server.fhir.fhirpath import Node
from fhir_server.fhir.fhirpath.nodes import is_a, named
from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.patch_document import Operation, value_member

Value = tuple[Any, dict[str, Any] | None]
"""The JSON value, and what stands in the member with the underscore where the element is a primitive."""

_JSON_KINDS = {"boolean": bool, "integer": int, "positiveInt": int, "unsignedInt": int, "decimal": "number"}


def fitting(operation: Operation, element: Element, parent: Node, max_depth: int) -> Value:
    """Return the value of an operation as `element` holds it.

    Raises:
        FhirError: 422, its type is another one, or it is nested too deep.
    """
    depth = parent.path.count(".") * 2 + 2
    _check_depth(operation, operation.value, max_depth - depth)
    return _value(operation, operation.value, element, f"{parent.path}.{element.name}")


def _value(operation: Operation, part: dict[str, Any], element: Element, where: str) -> Value:
    member = value_member(part)
    given = [
        kind for kind, is_there in (("value[x]", member), ("resource", "resource" in part), ("part", "part" in part)) if is_there
    ]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise operation.failed(
            f"the value of {where} must have one of value[x], resource and part; it has {found}.", code="structure"
        )
    if member:
        return _data(operation, part, member, element, where)
    if "resource" in part:
        if element.type != "Resource" or not isinstance(part["resource"], dict):
            raise operation.failed(f"{where} is a {element.type}; it can not hold a resource.", code="structure")
        return clone(part["resource"]), None
    return _anonymous(operation, part["part"], element, where), None


def _data(operation: Operation, part: dict[str, Any], member: str, element: Element, where: str) -> Value:
    type_ = TYPES["Parameters.parameter"].elements[member].type
    value, extra = part.get(member), part.get("_" + member)
    if not _fits(type_, element.type, value):
        raise operation.failed(f"{where} is a {element.type}; its value can not be a {type_}.", code="structure")
    return clone(value), clone(extra) if isinstance(extra, dict) else None


def _fits(given: str, wanted: str, value: Any) -> bool:
    """Tell whether a value of one type can be read as another: primitives where JSON writes both alike."""
    if is_a(given, wanted) or is_a(wanted, given):
        return True
    if TYPES[given].kind != "primitive" or TYPES[wanted].kind != "primitive":
        return False
    kind = _JSON_KINDS.get(wanted, str)
    if kind == "number":
        return not isinstance(value, bool | str)
    return value is None or (isinstance(value, kind) and (kind is bool) == isinstance(value, bool))  # type: ignore[arg-type]  # A type: the string has been dealt with.


def _anonymous(operation: Operation, parts: Any, element: Element, where: str) -> dict[str, Any]:
    if TYPES[element.type].kind in {"primitive", "resource"}:
        raise operation.failed(f"{where} is a {element.type}; its value can not be made of parts.", code="structure")
    content: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else [parts]:
        name = part.get("name") if isinstance(part, dict) else None
        if not isinstance(name, str):
            raise operation.failed(f"a part of {where} has no name.", code="required")
        below = _element(operation, element.type, name, part, where)
        value = _value(operation, part, below, f"{where}.{name}")
        if not _append(content, below, value):
            raise operation.failed(f"{where}.{name} does not repeat, but has two values.", code="structure")
    if not content:
        raise operation.failed(f"the value of {where} is empty.", code="required")
    return content


def _element(operation: Operation, type_: str, name: str, part: dict[str, Any], where: str) -> Element:
    elements = named(type_, name.removesuffix("[x]"))
    if len(elements) == 1:
        return elements[0]
    member = value_member(part)
    stated = TYPES["Parameters.parameter"].elements[member].type if member else ""
    for element in elements:
        if element.type == stated:
            return element
    problem = f"can not be a {stated}" if elements else "is not known"
    raise operation.failed(f"the element {name!r} of {where} {problem}.", code="structure")


def _append(content: dict[str, Any], element: Element, value: Value) -> bool:
    """Set or append a value; False: the element does not repeat and has one already."""
    names = (element.name, "_" + element.name)
    if element.max is not None and element.max <= 1:
        if any(name in content for name in names):
            return False
        content.update((name, item) for name, item in zip(names, value, strict=True) if item is not None)
        return True
    count = max(len(content.get(name, ())) for name in names)
    for name, item in zip(names, value, strict=True):
        if item is not None or name in content:
            items = content.setdefault(name, [])
            items.extend([None] * (count - len(items)))
            items.append(item)
    return True


def _check_depth(operation: Operation, value: Any, left: int) -> None:
    level = [value]
    while level:
        if left < 0:
            raise operation.failed("the value would nest the resource too deep.", code="too-costly")
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        left -= 1
