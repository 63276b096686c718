"""The invariants of the base specification: https://hl7.org/fhir/R4/conformance-rules.html#constraints.

Each is a FHIRPath expression on the instances of a type, or of one of its elements. The interpreter is slow and has
gaps; whatever is not evaluated just as the specification writes it is named in one of the tables below.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from fhirpathpy import compile as compile_fhirpath
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from fhir_server.fhir.definitions import TYPES, Element, Invariant
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.validation.narrative import has_content

IN_VALIDATION = frozenset({"ele-1", "ext-1", "ref-1", "dom-2", "txt-1"})
"""What `validate` judges already."""

REWRITTEN: Mapping[str, str] = {
    # hasValue() is missing in the interpreter; exists() differs only for a primitive that has nothing but extensions.
    "age-1": "(code.exists() or value.empty()) and (system.empty() or system = %ucum) and (value.empty() or value > 0)",
    "bdl-10": "type = 'document' implies timestamp.exists()",
    "cnt-3": (
        "(code.exists() or value.empty()) and (system.empty() or system = %ucum) and (code.empty() or code = '1')"
        " and (value.empty() or value.toString().contains('.').not())"
    ),
    "per-1": "start.empty() or end.empty() or (start <= end)",
    # resolve() would need the store; the text of the reference tells its type, or it is not judged.
    "ctm-1": (
        "onBehalfOf.empty() or member.reference.empty()"
        " or member.reference.matches('(^|/)[A-Z][A-Za-z]*/[A-Za-z0-9.-]+').not()"
        " or member.reference.matches('(^|/)Practitioner/')"
    ),
    # Quantities are compared where they share their unit.
    "rng-2": (
        "low.value.empty() or high.value.empty() or (low.code | low.unit) != (high.code | high.unit) or (low.value <= high.value)"
    ),
    # The interpreter takes Boolean for System.Boolean only, which no element is.
    "que-7": "operator = 'exists' implies (answer is boolean)",
}
"""Expressions that the interpreter can not evaluate as they stand, in words that it can."""

_OF_ROOT_ONLY = frozenset({"dom-6"})
"""Contained resources have no narrative of their own: https://hl7.org/fhir/R4/references.html#contained."""


class _Node(NamedTuple):
    value: Any
    type: str
    path: str
    element: str
    resource: dict[str, Any]
    root: dict[str, Any]


def check_invariants(resource: dict[str, Any]) -> list[Issue]:
    """Return the invariants that a structurally valid resource breaks, each with its severity."""
    return [
        Issue("invariant", f"{invariant.key}: {invariant.human}.", (path,), invariant.severity)
        for node in _nodes(resource)
        for invariant in TYPES[node.type].invariants
        for target in _targets(node, invariant)
        for path in _violations(invariant, target)
    ]


def _targets(node: _Node, invariant: Invariant) -> list[_Node]:
    if invariant.key in IN_VALIDATION or (invariant.key in _OF_ROOT_ONLY and node.resource is not node.root):
        return []
    if not invariant.element:
        return [node]
    return [child for child in _children(node) if child.element == invariant.element]


def _violations(invariant: Invariant, node: _Node) -> list[str]:
    native = NATIVE.get(invariant.key)
    if native is not None:
        return native(node)
    evaluate = _compiled(REWRITTEN.get(invariant.key, invariant.expression))
    context = {"resource": _typed(node.resource), "rootResource": _typed(node.root)}
    result = evaluate(_typed(node.value, node.type), context)
    return [] if result in ([], [True]) else [node.path]


def _typed(value: Any, type_: str = "") -> Any:
    """Return a value that the interpreter knows the type of, so that it resolves choices."""
    return ResourceNode.create_node(value, type_ or value["resourceType"])  # type: ignore[no-untyped-call]


@cache
def _compiled(expression: str) -> Callable[[Any, Any], list[Any]]:
    return compile_fhirpath(expression, models["r4"], {"traceFn": _no_trace})


def _no_trace(_label: str, _values: object) -> None:
    """Keep what trace() shows out of the log: it is the content of a resource."""


def _nodes(resource: dict[str, Any]) -> Iterator[_Node]:
    """Yield the resource and all elements that are in it, in document order."""
    type_ = resource["resourceType"]
    stack = [_Node(resource, type_, type_, "", resource, resource)]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(_children(node))))


def _children(node: _Node) -> Iterator[_Node]:
    if not isinstance(node.value, dict):
        return
    elements = TYPES[node.type].elements
    for name, value in node.value.items():
        element = elements.get(name)
        if element is None:
            continue
        path = f"{node.path}.{element.choice or name}"
        if isinstance(value, list):
            for index, item in enumerate(value):
                if item is not None:
                    yield _child(node, element, item, f"{path}[{index}]")
        else:
            yield _child(node, element, value, path)


def _child(node: _Node, element: Element, value: Any, path: str) -> _Node:
    name = element.choice or element.name
    if element.type != "Resource":
        return _Node(value, element.type, path, name, node.resource, node.root)
    root = node.root if element.name == "contained" else value
    return _Node(value, value["resourceType"], path, name, value, root)


def _contained_is_referred_to(node: _Node) -> list[str]:
    """dom-3: each contained resource is referred to, or refers to its container."""
    contained = node.value.get("contained")
    if not contained:
        return []
    links = set(_links(node.value))
    return [
        f"{node.path}.contained[{index}]"
        for index, resource in enumerate(contained)
        if f"#{resource.get('id')}" not in links and "#" not in _links(resource)
    ]


def _links(value: Any) -> list[str]:
    """Return all texts in a value that begin with `#`."""
    found: list[str] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str) and item.startswith("#"):
            found.append(item)
    return found


def _narrative_has_content(node: _Node) -> list[str]:
    """txt-2: the narrative shows something."""
    return [] if has_content(node.value) else [node.path]


NATIVE: Mapping[str, Callable[[_Node], list[str]]] = {
    # The interpreter fails on `as(canonical)` for more than one node, and descendants() is quadratic.
    "dom-3": _contained_is_referred_to,
    # htmlChecks() exists only in the specification's own tools.
    "txt-2": _narrative_has_content,
}
"""Invariants that are judged in Python; each returns the paths at which they are broken."""
