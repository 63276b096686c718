"""Syntax tree and value to collection."""

from collections.abc import Mapping
from typing import Any

from fhirpathpy.engine.invocations.constants import constants

from fhir_server.fhir.fhirpath import operators
from fhir_server.fhir.fhirpath.foreign import literal
from fhir_server.fhir.fhirpath.functions import call
from fhir_server.fhir.fhirpath.nodes import Node, is_a
from fhir_server.fhir.fhirpath.parse import Expression, FhirPathError, Tree
from fhir_server.fhir.fhirpath.run import Budget, Evaluation, Handler, Items, Scope, is_of_type

_UCUM = "http://unitsofmeasure.org"


def evaluate(
    expression: Expression, focus: Node, variables: Mapping[str, Any] | None = None, *, budget: Budget | None = None
) -> Items:
    """Return the values that the expression yields on a node; elements as their JSON values.

    `variables` are what `%name` stands for, `%resource` among them. `budget` bounds the number of steps.

    Raises:
        FhirPathError: it fails on this value, or its budget is used up.
    """
    return [item.value if isinstance(item, Node) else item for item in _start(expression, focus, variables, budget)]


def holds(
    expression: Expression, focus: Node, variables: Mapping[str, Any] | None = None, *, budget: Budget | None = None
) -> bool:
    """Tell whether the expression, read as a criterion, is true of a node."""
    return operators.truth(_start(expression, focus, variables, budget)) is True


def locate(expression: Expression, focus: Node, *, budget: Budget | None = None) -> list[Node]:
    """Return the elements of the resource that the expression points to.

    Raises:
        FhirPathError: it fails, names an element that R4 does not know, or yields values that are no part of the resource.
    """
    found = _start(expression, focus, None, budget, strict=True)
    if not all(isinstance(item, Node) for item in found):
        raise FhirPathError("it yields a value that is no element of the resource")
    return found


def _start(
    expression: Expression,
    focus: Node,
    variables: Mapping[str, Any] | None,
    budget: Budget | None,
    *,
    strict: bool = False,
) -> Items:
    top = focus
    while top.parent is not None:
        top = top.parent
    known = {"context": focus, "resource": top, "rootResource": top, "ucum": _UCUM, **(variables or {})}
    constants.reset()  # type: ignore[no-untyped-call]
    try:
        return Evaluation(_HANDLERS, known, budget, strict=strict).run(expression.tree, [focus], Scope([focus]))
    except FhirPathError:
        raise
    except RecursionError:
        raise FhirPathError("it is nested too deep") from None
    except Exception as error:  # fhirpathpy raises bare exceptions, and those of Python where data surprises it.
        raise FhirPathError(str(error) or type(error).__name__) from error


def _child(number: int) -> Handler:
    return lambda run, tree, focus, scope: run.run(tree["children"][number], focus, scope)


def _chain(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    left, right = tree["children"]
    return run.run(right, run.run(left, focus, scope), scope)


def _member(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    name = tree["children"][0]["text"].strip("`")
    if name[:1].isupper():
        return [item for item in focus if isinstance(item, Node) and isinstance(item.value, dict) and is_a(item.type, name)]
    elements = [item for item in focus if isinstance(item, Node)]
    below = [element.child(name) for element in elements]
    if run.strict and below and scope.index is None and all(nodes is None for nodes in below):
        raise FhirPathError(f"{elements[0].type} has no element {name!r}")
    found = [node for nodes in below if nodes is not None for node in nodes]
    run.spend(len(found))
    return found


def _function(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    name, *parameters = tree["children"][0]["children"]
    return call(run, name["text"].strip("`"), focus, parameters[0]["children"] if parameters else [], scope)


def _index(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    collection = run.run(tree["children"][0], focus, scope)
    position = run.run(tree["children"][1], scope.this, scope)
    if len(position) != 1 or isinstance(position[0], bool) or not isinstance(position[0], int) or position[0] < 0:
        raise FhirPathError("an index must be a whole number from 0 on")
    return collection[position[0] : position[0] + 1]


def _constant(run: Evaluation, tree: Tree, _focus: Items, _scope: Scope) -> Items:
    constant = tree["children"][0]
    name = constant["children"][0]["text"] if constant.get("children") else constant["terminalNodeText"][-1]
    name = name.strip("`'")
    if name not in run.variables:
        raise FhirPathError(f"there is no variable %{name}")
    value = run.variables[name]
    return value if isinstance(value, list) else [] if value is None else [value]


def _type(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    items = run.run(tree["children"][0], focus, scope)
    specifier = tree["children"][1]["text"]
    if tree["terminalNodeText"][0] == "as":
        return [item for item in items if is_of_type(item, specifier)]
    if len(items) > 1:
        raise FhirPathError("what stands left of is must be one element")
    return [is_of_type(item, specifier) for item in items]


def _operator(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    left, right = (run.run(child, focus, scope) for child in tree["children"])
    run.spend(len(left) + len(right))
    return operators.apply(run, tree["terminalNodeText"][0], left, right)


def _polarity(run: Evaluation, tree: Tree, focus: Items, scope: Scope) -> Items:
    items = run.run(tree["children"][0], focus, scope)
    return [item if tree["terminalNodeText"][0] == "+" else -item for item in items]


_HANDLERS: dict[str, Handler] = {
    "TermExpression": _child(0),
    "InvocationTerm": _child(0),
    "ParenthesizedTerm": _child(0),
    "InvocationExpression": _chain,
    "MemberInvocation": _member,
    "FunctionInvocation": _function,
    "IndexerExpression": _index,
    "ThisInvocation": lambda _run, _tree, _focus, scope: scope.this,
    "IndexInvocation": lambda _run, _tree, _focus, scope: [] if scope.index is None else [scope.index],
    "TotalInvocation": lambda _run, _tree, _focus, scope: scope.total,
    "ExternalConstantTerm": _constant,
    "LiteralTerm": lambda _run, tree, _focus, _scope: literal(tree),
    "TypeExpression": _type,
    "PolarityExpression": _polarity,
    **dict.fromkeys(
        (
            "MultiplicativeExpression",
            "AdditiveExpression",
            "UnionExpression",
            "InequalityExpression",
            "EqualityExpression",
            "MembershipExpression",
            "AndExpression",
            "OrExpression",
            "ImpliesExpression",
        ),
        _operator,
    ),
}
