"""Validation: https://hl7.org/fhir/R4/validation.html.

Structure, cardinality, primitive values, choices, required bindings and types of reference targets are checked by
`validate`; the invariants of the base specification, which are FHIRPath, by `check_invariants`.
"""

from typing import Any

from fhir_server.fhir.invariants import check_invariants
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.validation.compile import check_resource
from fhir_server.fhir.validation.problem import ENOUGH, Problem, quote

__all__ = ["check_invariants", "validate"]


def validate(resource: Any, *, type_: str = "", max_depth: int = 64) -> list[Issue]:
    """Return everything that is wrong with a decoded resource; [] when nothing is.

    Args:
        resource: Decoded JSON; decimals are int or Decimal.
        type_: The type that the resource has to be of, "" for any.
        max_depth: How deep objects and arrays may be nested; 0 where that has been checked.
    """
    actual = resource.get("resourceType") if isinstance(resource, dict) else None
    if type_ and actual != type_ and isinstance(actual, str):
        return [Issue("structure", f"This has to be a {type_}, but is a {quote(actual)}.", ("resourceType",))]
    if max_depth and _is_deeper(resource, max_depth):
        return [Issue("structure", f"The resource is nested deeper than {max_depth} levels.")]
    problems = check_resource(resource, {})
    if problems is None:
        return []
    root = actual if isinstance(actual, str) and _is_located(problems) else ""
    issues = [problem.to_issue(root) for problem in problems[:ENOUGH]]
    if len(problems) > ENOUGH:
        issues.append(Issue("too-costly", f"There are more errors than the first {ENOUGH:,}; the others are not listed."))
    return issues


def _is_located(problems: list[Problem]) -> bool:
    """Say whether the problems lie inside of a resource whose type is known."""
    return problems[0].path != [".resourceType"]


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [
            item
            for parent in level
            for item in (parent.values() if type(parent) is dict else parent if type(parent) is list else ())
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True
