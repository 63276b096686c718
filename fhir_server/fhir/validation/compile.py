"""Types compiled to checks: https://hl7.org/fhir/R4/json.html.

A check takes a value and the object that it is a member of, and returns None or what is wrong. A valid resource costs
one dictionary look-up and one call a member; paths are put together on the way out, when there is something to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhir_server.fhir.definitions import RESOURCE_TYPES, TYPES, Element, Type, value_set_codes
from fhir_server.fhir.validation.bindings import FORMATS, code_check, concept_check, format_check
from fhir_server.fhir.validation.primitives import PRIMITIVES
from fhir_server.fhir.validation.problem import ENOUGH, Check, Problem, Problems, joined, quote, within, wrong_kind
from fhir_server.fhir.validation.references import canonical_check, reference_check, settle
from fhir_server.fhir.validation.siblings import sibling_check, siblings_check

_compiled: dict[str, Check] = {}


def check_resource(value: Any, owner: dict[str, Any]) -> Problems | None:
    """Check a resource of whatever type that stands on its own."""
    type_ = value.get("resourceType") if type(value) is dict else None
    if type(type_) is not str or type_ not in RESOURCE_TYPES:
        return _not_a_resource(value)
    problems = object_check(type_)(value, owner)
    return settle(problems, value) if problems is not None else None


def check_contained(value: Any, owner: dict[str, Any]) -> Problems | None:
    """Check a resource inside another one, which is the one to resolve its references to `#id`."""
    type_ = value.get("resourceType") if type(value) is dict else None
    if type(type_) is not str or type_ not in RESOURCE_TYPES:
        return _not_a_resource(value)
    problems = object_check(type_)(value, owner)
    if "contained" in value:
        nested = Problem("structure", "A contained resource can not contain resources itself (dom-2).", ".contained")
        problems = joined(problems, [nested])
    return problems


def _not_a_resource(value: Any) -> Problems:
    if type(value) is not dict:
        return wrong_kind("a resource", value)
    type_ = value.get("resourceType")
    if type_ is None:
        return [Problem("required", "The resource has no resourceType.", ".resourceType")]
    return [
        Problem("structure", f"{quote(type_)} is not a resource type of FHIR R4 (names are case-sensitive).", ".resourceType")
    ]


def object_check(name: str) -> Check:
    """Return the check of a complex type, a backbone element or the own elements of a resource type."""
    return _compiled.get(name) or _compile_all(name)


def _compile_all(name: str) -> Check:
    """Compile a type with all that it is made of; a type is there for other threads only when it is complete."""
    pending: dict[str, Check] = {}

    def check_of(other: str) -> Check:
        return _compiled.get(other) or pending.get(other) or _compile(TYPES[other], pending, check_of)

    check = check_of(name)
    _compiled.update(pending)
    return check


@dataclass(slots=True)
class _Shape:
    """What the check of an object has to know of its type."""

    type: str
    members: dict[str, Check] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    choices: dict[str, str] = field(default_factory=dict)
    required_choices: tuple[str, ...] = ()

    def piece(self, name: str) -> str:
        """Return what FHIRPath calls the JSON member."""
        if name in self.choices:
            return f".{self.choices[name]}"
        if name in self.members:
            return f".{name.removeprefix('_')}"
        return f".{name}" if name.isidentifier() else f".`{quote(name)[1:-1]}`"


def _compile(type_: Type, pending: dict[str, Check], check_of: Callable[[str], Check]) -> Check:
    elements = type_.elements.values()
    choices = {element.name: element.choice for element in elements if element.choice}
    shape = _Shape(
        type_.name,
        required=tuple(element.name for element in elements if element.min and not element.choice),
        choices=choices | {f"_{name}": choice for name, choice in choices.items()},
        required_choices=tuple({element.choice: None for element in elements if element.min and element.choice}),
    )
    check = pending[type_.name] = _object(shape, may_be_bare=type_.kind == "resource" or type_.name == "Element")
    if type_.kind == "resource":
        shape.members["resourceType"] = _accept
    for element in elements:
        shape.members[element.name] = _member(element, check_of)
        if _has_sibling(type_, element):
            make = sibling_check if element.max == 1 else siblings_check
            shape.members[f"_{element.name}"] = make(element.name, check_of("Element"))
    return check


def _has_sibling(type_: Type, element: Element) -> bool:
    """Say whether the element is a primitive that may have extensions; what XML writes as an attribute may not."""
    if TYPES[element.type].kind != "primitive" or element.type == "xhtml":
        return False
    return element.name != "id" and (type_.name, element.name) != ("Extension", "url")


def _accept(_value: Any, _owner: object) -> None:
    return None


def _member(element: Element, check_of: Callable[[str], Check]) -> Check:
    one = _one(element, check_of)
    if element.max == 1:
        return one
    most = element.max if element.max is not None else 0
    return _array(element.name, one, TYPES[element.type].kind == "primitive", max(element.min, 1), most)


def _one(element: Element, check_of: Callable[[str], Check]) -> Check:
    type_ = element.type
    if type_ == "Resource":
        return check_contained if element.name == "contained" else check_resource
    if type_ == "Reference":
        return reference_check(check_of(type_), element.targets)
    if type_ == "canonical":
        return canonical_check(PRIMITIVES[type_], element.targets)
    if element.value_set in FORMATS:
        return format_check(element.value_set)
    systems = value_set_codes(element.value_set)
    if element.codes is not None and systems is not None:
        if type_ == "code":
            return code_check(element.codes, element.value_set)
        return concept_check(check_of(type_), systems, element.value_set)
    return PRIMITIVES.get(type_) or check_of(type_)


def _object(shape: _Shape, *, may_be_bare: bool) -> Check:  # noqa: C901 - every resource passes this loop: calls would cost
    members, required = shape.members, shape.required
    check_choices = _choices(shape) if shape.choices else None

    def check(value: Any, _owner: dict[str, Any]) -> Problems | None:
        if type(value) is not dict:
            return wrong_kind("an object", value)
        problems: Problems | None = None
        unknown = 0
        for name, item in value.items():
            try:
                check_member = members[name]
            except KeyError:
                problems = joined(
                    problems, [Problem("structure", f"{shape.type} has no element {quote(name)}.", shape.piece(name))]
                )
                unknown += 1
                if unknown > ENOUGH:
                    return problems
                continue
            found = check_member(item, value)
            if found is not None:
                problems = joined(problems, within(shape.piece(name), found))
        for name in required:
            if name not in value and f"_{name}" not in value:
                problems = joined(problems, _missing(shape.type, name))
        if check_choices is not None and (found := check_choices(value)) is not None:
            problems = joined(problems, found)
        if len(value) < 2 and not may_be_bare:  # noqa: PLR2004 - nothing, or only an id
            return _bare(value, problems)
        return problems

    return check


def _missing(type_: str, name: str) -> Problems:
    return [Problem("required", f"{type_}.{name} is required, but is not there.", f".{name}")]


def _bare(value: dict[str, Any], problems: Problems | None) -> Problems | None:
    """Judge an object with fewer than two members: that it is empty says more than what is missing in it."""
    if not value:
        return [Problem("structure", "The object is empty; leave the element out instead.")]
    if "id" in value and problems is None:
        return [Problem("invariant", "ele-1: an element has to have a value or children; this one has only an id.")]
    return problems


def _choices(shape: _Shape) -> Callable[[dict[str, Any]], Problems | None]:
    choices, required = shape.choices, shape.required_choices
    is_extension = shape.type == "Extension"

    def check(value: dict[str, Any]) -> Problems | None:
        seen = [choices[name] for name in value if name in choices]
        if is_extension and bool(seen) == ("extension" in value):
            return _extension(value)
        if len(seen) > 1 and len(set(seen)) < len(seen):
            return _chosen_twice(shape, value)
        for choice in required:
            if choice not in seen:
                return _missing(shape.type, choice)
        return None

    return check


def _extension(value: dict[str, Any]) -> Problems:
    if "extension" in value:
        return [Problem("invariant", "ext-1: an extension has either a value or extensions, not both.")]
    return [Problem("invariant", "ext-1: an extension has to have a value or extensions.")]


def _chosen_twice(shape: _Shape, value: Mapping[str, Any]) -> Problems | None:
    chosen: dict[str, list[str]] = {}
    for name in value:
        choice = shape.choices.get(name)
        bare = name.removeprefix("_")
        if choice is not None and bare not in chosen.setdefault(choice, []):
            chosen[choice].append(bare)
    return [
        Problem(
            "structure", f"{shape.type}.{choice}[x] may have one type only, but here are {' and '.join(names)}.", f".{choice}"
        )
        for choice, names in chosen.items()
        if len(names) > 1
    ] or None


def _array(name: str, check_item: Check, is_primitive: bool, least: int, most: int) -> Check:
    def check(value: Any, owner: dict[str, Any]) -> Problems | None:
        if type(value) is not list:
            return wrong_kind("an array", value)
        problems: Problems | None = None
        wrong = 0
        for index, item in enumerate(value):
            if item is None and is_primitive and _is_extended(name, index, owner):
                continue
            found = check_item(item, owner)
            if found is not None:
                problems = joined(problems, within(f"[{index}]", found))
                # What may yet be settled does not count.
                wrong += found[0].fragment is None
                if wrong > ENOUGH:
                    return problems
        if len(value) < least or 0 < most < len(value):
            problems = joined(problems, [_wrong_count(len(value), least, most)])
        return problems

    return check


def _is_extended(name: str, index: int, owner: dict[str, Any]) -> bool:
    """Say whether an extension stands in the place of a null."""
    siblings = owner.get(f"_{name}")
    return type(siblings) is list and index < len(siblings) and siblings[index] is not None


def _wrong_count(count: int, least: int, most: int) -> Problem:
    if count == 0:
        return Problem("structure", "The array is empty; leave the element out instead.")
    bounds = f"at least {least}" if count < least else f"at most {most}"
    return Problem("structure", f"There are {count} items here; {bounds} are allowed.")
