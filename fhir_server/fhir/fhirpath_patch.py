"""FHIRPath Patch: https://hl7.org/fhir/R4/fhirpatch.html.

A Parameters resource whose `operation` parameters are carried out one after the other; paths see what earlier
operations did. Parameters that are no patch are a 400, an operation that can not be carried out a 422; both name the
operation, counted from 0, and its path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhir_server.fhir.fhirpath import SAFE_FUNCTIONS, Budget, FhirPathError, Node, compile_expression, locate, root
from fhir_server.fhir.fhirpath.nodes import named
from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.outcome import bad_request
from fhir_server.fhir.patch_document import Operation, parse_operations
from fhir_server.fhir.patch_edit import Slot, insert_at, move_within, put, remove, slot_of
from fhir_server.fhir.patch_value import fitting

BUDGET = 3_000_000
"""How many steps the evaluation of all paths of one patch may take."""
_STEPS_PER_CHARACTER = 70
"""What parsing costs."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A resource that is being patched."""

    resource: dict[str, Any]
    max_depth: int
    budget: Budget


def apply(resource: dict[str, Any], parameters: Any, *, max_depth: int = 64) -> dict[str, Any]:
    """Return what the patch makes of `resource`, which is left as it is."""
    operations = parse_operations(parameters)
    work = _Work(clone(resource), max_depth, Budget(BUDGET))
    for operation in operations:
        _APPLY[operation.type](work, operation)
    return work.resource


def _add(work: _Work, operation: Operation) -> None:
    parent = _one(work, operation, operation.path)
    slot = _slot(parent, operation, operation.name, operation.value_type)
    if not slot.repeats and slot.present():
        raise operation.failed(
            f"{parent.path} already has {operation.name}, which does not repeat; use replace.", code="duplicate"
        )
    insert_at(slot, slot.count(), fitting(operation, slot.element, parent, work.max_depth))


def _insert(work: _Work, operation: Operation) -> None:
    parent, slot = _list(work, operation)
    if operation.index > slot.count():
        raise operation.failed(f"the list has {slot.count()} items; nothing can be inserted at {operation.index}.")
    insert_at(slot, operation.index, fitting(operation, slot.element, parent, work.max_depth))


def _delete(work: _Work, operation: Operation) -> None:
    found = _find(work, operation, operation.path)
    if len(found) > 1:
        raise operation.failed(
            f"the path yields {len(found)} elements; only one can be deleted at a time.", code="multiple-matches"
        )
    if not found:
        return
    if found[0].owner is None:
        raise operation.failed("the resource itself can not be deleted by a patch; use DELETE.")
    remove(found[0])


def _replace(work: _Work, operation: Operation) -> None:
    node = _one(work, operation, operation.path)
    if node.parent is None or node.element is None:
        raise operation.failed("the resource itself can not be replaced by a patch; use PUT.")
    slot = _slot(node.parent, operation, node.element.choice or node.name, operation.value_type)
    put(node, slot, fitting(operation, slot.element, node.parent, work.max_depth))


def _move(work: _Work, operation: Operation) -> None:
    _, slot = _list(work, operation)
    for name, position in (("source", operation.source), ("destination", operation.destination)):
        if position >= slot.count():
            raise operation.failed(f"the list has {slot.count()} items; {name} {position} is not among them.")
    move_within(slot, operation.source, operation.destination)


_APPLY: dict[str, Callable[[_Work, Operation], None]] = {
    "add": _add,
    "insert": _insert,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}


def _find(work: _Work, operation: Operation, path: str) -> list[Node]:
    try:
        work.budget.spend(_STEPS_PER_CHARACTER * len(path))
        expression = compile_expression(path)
    except FhirPathError as error:
        raise bad_request(f"{operation}: the path can not be read: {error}.") from error
    unsafe = expression.functions - SAFE_FUNCTIONS
    if unsafe:
        raise bad_request(f"{operation}: {min(unsafe)}() can not be used in the path of a patch.", code="not-supported")
    try:
        return locate(expression, root(work.resource), budget=work.budget)
    except FhirPathError as error:
        raise operation.failed(f"the path can not be evaluated: {error}.") from error


def _one(work: _Work, operation: Operation, path: str) -> Node:
    found = _find(work, operation, path)
    if len(found) == 1:
        return found[0]
    where = "the path" if path == operation.path else repr(path)
    if not found:
        raise operation.failed(f"{where} yields no element of this resource.", code="not-found")
    raise operation.failed(f"{where} yields {len(found)} elements; it must yield one.", code="multiple-matches")


def _list(work: _Work, operation: Operation) -> tuple[Node, Slot]:
    """Return the list that the path names, which may be empty, and the element that holds it."""
    before, _, name = operation.path.rpartition(".")
    name = name.strip("`")
    if not name.isidentifier():
        raise operation.failed("the path must end in the name of a list, such as Patient.identifier.")
    parent = _one(work, operation, before or "$this")
    slot = _slot(parent, operation, name, "")
    if not slot.repeats:
        raise operation.failed(f"{name} is not a list.")
    return parent, slot


def _slot(parent: Node, operation: Operation, name: str, value_type: str) -> Slot:
    elements = named(parent.type, name.removesuffix("[x]"))
    if not elements:
        raise operation.failed(f"{parent.type} has no element {name!r}.", code="structure")
    if len(elements) == 1:
        return slot_of(parent, elements[0], elements)
    for element in elements:
        if element.type == value_type:
            return slot_of(parent, element, elements)
    allowed = ", ".join(element.type for element in elements)
    raise operation.failed(f"{name} may be {allowed}; it can not be {value_type or 'a value without a type'}.", code="structure")
