"""Functions that need the place of an element, or evaluate their arguments item by item.

http://hl7.org/fhirpath/N1/index.html#functions and https://hl7.org/fhir/R4/fhirpath.html#functions. All others work on
plain values; fhirpathpy has them.
"""

from collections.abc import Callable
from typing import Any

from fhir_server.fhir.fhirpath import operators
from fhir_server.fhir.fhirpath.foreign import invoke
from fhir_server.fhir.fhirpath.nodes import Node
from fhir_server.fhir.fhirpath.parse import FhirPathError, Tree, identifiers
from fhir_server.fhir.fhirpath.run import Evaluation, Items, Scope, is_of_type


def call(run: Evaluation, name: str, focus: Items, arguments: list[Tree], scope: Scope) -> Items:
    """Return what the function `name` yields on `focus`."""
    if name in _LAMBDAS:
        arity, function = _LAMBDAS[name]
        if len(arguments) not in arity:
            raise FhirPathError(f"{name}() does not take {len(arguments)} arguments")
        return function(run, focus, arguments, scope)
    values = [run.run(argument, scope.this, scope) for argument in arguments]
    if name in _COLLECTIONS:
        arity, collection_function = _COLLECTIONS[name]
        if len(arguments) not in arity:
            raise FhirPathError(f"{name}() does not take {len(arguments)} arguments")
        return collection_function(run, focus, *values)
    if any(len(value) != 1 for value in values):
        return []
    return invoke(name, focus, [operators.plain(value[0]) for value in values])


def _each(run: Evaluation, focus: Items, criterion: Tree) -> list[bool | None]:
    return [operators.truth(run.run(criterion, [item], Scope([item], index))) for index, item in enumerate(focus)]


def _where(run: Evaluation, focus: Items, arguments: list[Tree], _scope: Scope) -> Items:
    return [item for item, is_true in zip(focus, _each(run, focus, arguments[0]), strict=True) if is_true]


def _exists(run: Evaluation, focus: Items, arguments: list[Tree], scope: Scope) -> Items:
    return [bool(_where(run, focus, arguments, scope) if arguments else focus)]


def _all(run: Evaluation, focus: Items, arguments: list[Tree], _scope: Scope) -> Items:
    return [all(_each(run, focus, arguments[0]))]


def _select(run: Evaluation, focus: Items, arguments: list[Tree], _scope: Scope) -> Items:
    return [found for index, item in enumerate(focus) for found in run.run(arguments[0], [item], Scope([item], index))]


def _repeat(run: Evaluation, focus: Items, arguments: list[Tree], scope: Scope) -> Items:
    found: Items = []
    level = focus
    while level:
        level = _select(run, level, arguments, scope)
        level = [item for item in level if not (isinstance(item, Node) and any(item is other for other in found))]
        run.spend(len(level))
        found += level
    return found


def _iif(run: Evaluation, focus: Items, arguments: list[Tree], scope: Scope) -> Items:
    inner = Scope(focus, scope.index, scope.total)
    if operators.truth(run.run(arguments[0], focus, inner)):
        return run.run(arguments[1], focus, inner)
    return run.run(arguments[2], focus, inner) if len(arguments) > 2 else []  # noqa: PLR2004  # The otherwise branch.


def _aggregate(run: Evaluation, focus: Items, arguments: list[Tree], scope: Scope) -> Items:
    total = run.run(arguments[1], scope.this, scope) if len(arguments) > 1 else []
    for index, item in enumerate(focus):
        total = run.run(arguments[0], [item], Scope([item], index, total))
    return total


def _trace(_run: Evaluation, focus: Items, _arguments: list[Tree], _scope: Scope) -> Items:
    return focus


def _specifier(argument: Tree) -> str:
    return ".".join(identifiers(argument))


def _of_type(_run: Evaluation, focus: Items, arguments: list[Tree], _scope: Scope) -> Items:
    return [item for item in focus if is_of_type(item, _specifier(arguments[0]))]


def _is(_run: Evaluation, focus: Items, arguments: list[Tree], _scope: Scope) -> Items:
    if len(focus) > 1:
        raise FhirPathError("is() needs one element")
    return [is_of_type(item, _specifier(arguments[0])) for item in focus]


_LAMBDAS: dict[str, tuple[tuple[int, ...], Callable[[Evaluation, Items, list[Tree], Scope], Items]]] = {
    "where": ((1,), _where),
    "exists": ((0, 1), _exists),
    "all": ((1,), _all),
    "select": ((1,), _select),
    "repeat": ((1,), _repeat),
    "iif": ((2, 3), _iif),
    "aggregate": ((1, 2), _aggregate),
    "trace": ((1, 2), _trace),
    "ofType": ((1,), _of_type),
    "as": ((1,), _of_type),
    "is": ((1,), _is),
}


def _extension(run: Evaluation, focus: Items, url: Items) -> Items:
    wanted = operators.plain(url[0]) if len(url) == 1 else None
    found = [node for item in focus if isinstance(item, Node) for node in item.child("extension") or ()]
    run.spend(len(found))
    return [node for node in found if node.content.get("url") == wanted]


def _children(run: Evaluation, focus: Items) -> Items:
    found = [node for item in focus if isinstance(item, Node) for node in item.children()]
    run.spend(len(found))
    return found


def _descendants(run: Evaluation, focus: Items) -> Items:
    found: Items = []
    level = focus
    while level:
        level = _children(run, level)
        found += level
    return found


def _has_value(_run: Evaluation, focus: Items) -> Items:
    return [len(focus) == 1 and operators.plain(focus[0]) is not None and not isinstance(operators.plain(focus[0]), dict)]


def _resolve(run: Evaluation, focus: Items) -> Items:
    """Find contained resources; what lies outside the resource can not be seen from here."""
    top = run.variables.get("resource")
    contained = (top.child("contained") or []) if isinstance(top, Node) else []
    wanted = {_fragment(operators.plain(item)) for item in focus}
    return [node for node in contained if node.content.get("id") in wanted]


def _fragment(value: Any) -> str:
    reference = value.get("reference") if isinstance(value, dict) else value
    return reference[1:] if isinstance(reference, str) and reference.startswith("#") else ""


def _not(_run: Evaluation, focus: Items) -> Items:
    value = operators.truth(focus)
    return [] if value is None else [not value]


def _single(_run: Evaluation, focus: Items) -> Items:
    if len(focus) > 1:
        raise FhirPathError(f"single() found {len(focus)} items")
    return focus


def _count(value: Items) -> int:
    number = operators.plain(value[0]) if len(value) == 1 else None
    if isinstance(number, bool) or not isinstance(number, int):
        raise FhirPathError("skip() and take() need a whole number")
    return max(number, 0)


def _combine(run: Evaluation, focus: Items, other: Items) -> Items:
    run.spend(len(focus) + len(other))
    return focus + other


def _contained(run: Evaluation, focus: Items, other: Items) -> bool:
    return all(operators.member(run, [item], other)[0] for item in focus)


def _truths(focus: Items) -> list[bool | None]:
    return [operators.truth([item]) for item in focus]


_COLLECTIONS: dict[str, tuple[tuple[int, ...], Callable[..., Items]]] = {
    "extension": ((1,), _extension),
    "children": ((0,), _children),
    "descendants": ((0,), _descendants),
    "hasValue": ((0,), _has_value),
    "resolve": ((0,), _resolve),
    "not": ((0,), _not),
    "empty": ((0,), lambda _run, focus: [not focus]),
    "count": ((0,), lambda _run, focus: [len(focus)]),
    "first": ((0,), lambda _run, focus: focus[:1]),
    "last": ((0,), lambda _run, focus: focus[-1:]),
    "tail": ((0,), lambda _run, focus: focus[1:]),
    "single": ((0,), _single),
    "skip": ((1,), lambda _run, focus, number: focus[_count(number) :]),
    "take": ((1,), lambda _run, focus, number: focus[: _count(number)]),
    "distinct": ((0,), operators.distinct),
    "isDistinct": ((0,), lambda run, focus: [len(operators.distinct(run, focus)) == len(focus)]),
    "combine": ((1,), _combine),
    "union": ((1,), lambda run, focus, other: operators.distinct(run, focus + other)),
    "intersect": (
        (1,),
        lambda run, focus, other: operators.distinct(run, [one for one in focus if operators.member(run, [one], other)[0]]),
    ),
    "exclude": ((1,), lambda run, focus, other: [one for one in focus if not operators.member(run, [one], other)[0]]),
    "subsetOf": ((1,), lambda run, focus, other: [_contained(run, focus, other)]),
    "supersetOf": ((1,), lambda run, focus, other: [_contained(run, other, focus)]),
    "allTrue": ((0,), lambda _run, focus: [all(value is True for value in _truths(focus))]),
    "anyTrue": ((0,), lambda _run, focus: [any(value is True for value in _truths(focus))]),
    "allFalse": ((0,), lambda _run, focus: [all(value is False for value in _truths(focus))]),
    "anyFalse": ((0,), lambda _run, focus: [any(value is False for value in _truths(focus))]),
}
