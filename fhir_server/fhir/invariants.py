"""The invariants of the base specification: https://hl7.org/fhir/R4/conformance-rules.html#constraints.

Each is a FHIRPath expression on the instances of a type, or of one of its elements. Whatever is not evaluated just as
the specification writes it is named in one of the tables below.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhir_server.fhir.dates import interval
from fhir_server.fhir.definitions import TYPES, Invariant
from fhir_server.fhir.fhirpath import Budget, FhirPathError, Node, compile_expression, evaluate, root
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.validation.narrative import has_content

_STEPS = 10_000_000
"""What one resource may cost altogether, some seconds; the largest official example, a Bundle of 6 MB, takes one."""

IN_VALIDATION = frozenset({"ele-1", "ext-1", "ref-1", "dom-2", "txt-1"})
"""What `validate` judges already."""

NOT_EVALUATED: Mapping[str, str] = {
    "cid-0": "R4 states it for ChargeItemDefinition.name, an element that R4 does not define.",
}
"""Invariants that can not be judged, and why."""

OF_TYPE: Mapping[str, str] = {"ras-1": "Range", "sqty-1": "Quantity"}
"""Invariants of an element with a choice of types that make sense for one of them only."""

REWRITTEN: Mapping[str, str] = {
    # Quantities have no order in the interpreter; they are compared where they share their unit.
    "rng-2": (
        "(low.code = high.code or (low.code.empty() and high.code.empty()))"
        " and (low.unit = high.unit or (low.unit.empty() and high.unit.empty()))"
        " and low.value.exists() and high.value.exists() implies low.value <= high.value"
    ),
    # resolve() would need the store; the text of the reference tells its type, or it is not judged.
    "ctm-1": (
        "onBehalfOf.exists() and member.reference.matches('(^|/)[A-Z][A-Za-z]*/[A-Za-z0-9.-]+')"
        " implies member.reference.matches('(^|/)Practitioner/')"
    ),
    # Boolean is System.Boolean to a strict interpreter, which no element is.
    "que-7": "operator = 'exists' implies (answer is boolean)",
}
"""Expressions in words that the interpreter understands as they are meant."""

_OF_ROOT_ONLY = frozenset({"dom-6"})
"""Contained resources have no narrative of their own: https://hl7.org/fhir/R4/references.html#contained."""


def check_invariants(resource: dict[str, Any]) -> list[Issue]:
    """Return the invariants that a structurally valid resource breaks, each with its severity."""
    budget = Budget(_STEPS)
    issues: list[Issue] = []
    for node in _nodes(resource):
        for invariant in TYPES[node.type].invariants:
            for target in _targets(node, invariant):
                issues += _judge(invariant, target, budget)
        if budget.left < 0:
            text = "The resource is too large for all invariants to be evaluated; those from here on were not."
            return [*issues, Issue("too-costly", text, (node.path,), "warning")]
    return issues


def _nodes(resource: dict[str, Any]) -> Iterator[Node]:
    """Yield the resource and all elements that are in it, in document order."""
    stack = [root(resource)]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children()))


def _targets(node: Node, invariant: Invariant) -> list[Node]:
    key = invariant.key
    if key in IN_VALIDATION or key in NOT_EVALUATED or (key in _OF_ROOT_ONLY and _is_contained(node)):
        return []
    if not invariant.element:
        return [node]
    found = node.child(invariant.element) or []
    return [child for child in found if child.type == OF_TYPE.get(key, child.type)]


def _judge(invariant: Invariant, node: Node, budget: Budget) -> list[Issue]:
    native = NATIVE.get(invariant.key) or NATIVE.get(f"{node.type}.{invariant.key}")
    text = f"{invariant.key}: {invariant.human.rstrip('.')}."
    try:
        paths = native(node) if native is not None else _violations(invariant, node, budget)
    except FhirPathError as error:
        if budget.left < 0:
            return []
        return [Issue("not-supported", f"{text} It could not be evaluated here: {error}.", (node.path,), "warning")]
    return [Issue("invariant", text, (path,), invariant.severity) for path in paths]


def _violations(invariant: Invariant, node: Node, budget: Budget) -> list[str]:
    expression = compile_expression(REWRITTEN.get(invariant.key, invariant.expression))
    resource = _resource(node)
    container = resource.parent if _is_contained(resource) else None
    variables = {"resource": resource, "rootResource": container or resource}
    # Empty is no answer, and so no violation.
    return [] if evaluate(expression, node, variables, budget=budget) in ([], [True]) else [node.path]


def _resource(node: Node) -> Node:
    """Return the resource that an element is in, or a resource itself."""
    while TYPES[node.type].kind != "resource" and node.parent is not None:
        node = node.parent
    return node


def _is_contained(node: Node) -> bool:
    return node.name == "contained" and TYPES[node.type].kind == "resource"


def _contained_is_referred_to(node: Node) -> list[str]:
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


def _narrative_has_content(node: Node) -> list[str]:
    """txt-2: the narrative shows something."""
    return [] if has_content(node.value) else [node.path]


def _in_order(first: str, second: str) -> Callable[[Node], list[str]]:
    """Return the check that one date is not after another; dates that overlap (2024 and 2024-02) may be either way."""

    def check(node: Node) -> list[str]:
        earlier, later = node.value.get(first), node.value.get(second)
        if earlier is None or later is None or interval(earlier)[0] < interval(later)[1]:
            return []
        return [node.path]

    return check


NATIVE: Mapping[str, Callable[[Node], list[str]]] = {
    # It asks for `descendants().as(canonical)`, which is an error for more than one node, and its cost is quadratic.
    "dom-3": _contained_is_referred_to,
    # htmlChecks() exists only in the specification's own tools.
    "txt-2": _narrative_has_content,
    # The interpreter takes dates of different precision for unordered, and so for a violation.
    "Task.inv-1": _in_order("authoredOn", "lastModified"),
    "mdd-1": _in_order("whenPrepared", "whenHandedOver"),
    "per-1": _in_order("start", "end"),
}
"""Invariants that are judged in Python, by key (with their type where R4 uses a key twice). Each returns the paths at
which they are broken."""
