"""Operators: http://hl7.org/fhirpath/N1/index.html#operations."""

from decimal import Decimal
from typing import Any

from fhir_server.fhir.fhirpath.foreign import INVOCATIONS, context, foreign, valueless
from fhir_server.fhir.fhirpath.nodes import Node
from fhir_server.fhir.fhirpath.parse import FhirPathError
from fhir_server.fhir.fhirpath.run import Evaluation, Items

_DATES = frozenset({"date", "dateTime", "instant", "time"})


def apply(run: Evaluation, operator: str, left: Items, right: Items) -> Items:
    """Return what a binary operator yields."""
    if operator in {"and", "or", "xor", "implies"}:
        return _boxed(_logic(operator, truth(left), truth(right)))
    if operator == "|":
        return distinct(run, left + right)
    if operator in {"=", "!="}:
        return _boxed(_negated(equal(left, right), negate=operator == "!="))
    if operator == "in":
        return member(run, left, right)
    if operator == "contains":
        return member(run, right, left)
    if operator == "&":
        return ["".join(str(plain(item)) for item in (*_single(left), *_single(right)))]
    return _delegate(run, operator, left, right)


def _delegate(run: Evaluation, operator: str, left: Items, right: Items) -> Items:
    run.spend(1)
    sides = [[foreign(item) for item in side if not valueless(item)] for side in (left, right)]
    if operator in {"~", "!~"}:
        pass
    elif not all(sides):
        return []
    elif any(len(side) > 1 for side in sides):
        raise FhirPathError(f"what stands beside {operator} must be one value")
    invocation = INVOCATIONS[operator]
    if invocation["arity"][2] == ["Number", "Number"]:
        result = invocation["fn"](context(), *(_number(operator, side[0]) for side in sides))
    else:
        result = invocation["fn"](context(), *sides)
    return result if isinstance(result, list) else _boxed(result)


def _number(operator: str, item: Any) -> Any:
    value = getattr(item, "data", item)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise FhirPathError(f"what stands beside {operator} must be a number")
    return value


def plain(item: Any) -> Any:
    """Return an item's value."""
    return item.value if isinstance(item, Node) else item


def truth(items: Items) -> bool | None:
    """Return a collection as a criterion: http://hl7.org/fhirpath/N1/index.html#singleton-evaluation-of-collections."""
    if not items:
        return None
    if len(items) > 1:
        raise FhirPathError("a condition must yield one value")
    value = plain(items[0])
    return value if isinstance(value, bool) else True


def _logic(operator: str, left: bool | None, right: bool | None) -> bool | None:
    if operator == "implies":
        operator, left = "or", None if left is None else not left
    if operator == "xor":
        return None if left is None or right is None else left is not right
    decisive = operator == "or"
    if decisive in (left, right):
        return decisive
    return None if None in (left, right) else not decisive


def equal(left: Items, right: Items) -> bool | None:
    """Tell whether two collections are equal; None where one is empty or dates differ in precision only."""
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    results = [same(one, other) for one, other in zip(left, right, strict=True)]
    return False if False in results else None if None in results else True


def same(one: Any, other: Any) -> bool | None:
    """Tell whether two items are equal."""
    first, second = plain(one), plain(other)
    if first is None or second is None:
        return None
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, str) and isinstance(second, str) and not (_is_date(one) and _is_date(other)):
        return first == second
    if isinstance(first, int | Decimal) and isinstance(second, int | Decimal):
        return first == second
    if isinstance(first, dict | list) and isinstance(second, dict | list):
        return first == second
    return _foreign_same(one, other)


def _is_date(item: Any) -> bool:
    return isinstance(item, Node) and item.type in _DATES


def _foreign_same(one: Any, other: Any) -> bool | None:
    result = INVOCATIONS["="]["fn"](context(), [_dated(foreign(one), one)], [_dated(foreign(other), other)])
    return bool(result[0]) if result else None


def _dated(item: Any, original: Any) -> Any:
    return item.convert_data() if _is_date(original) else item


def member(run: Evaluation, items: Items, collection: Items) -> Items:
    """Tell whether one item is in a collection."""
    if not items:
        return []
    run.spend(len(collection))
    one = _single(items)[0]
    return [any(same(one, other) for other in collection)]


def distinct(run: Evaluation, items: Items) -> Items:
    """Return the items without those that equal an earlier one."""
    found: Items = []
    for item in items:
        run.spend(len(found))
        if not any(same(item, other) for other in found):
            found.append(item)
    return found


def _single(items: Items) -> Items:
    if len(items) > 1:
        raise FhirPathError("an operator needs one value on either side")
    return items


def _boxed(value: Any) -> Items:
    return [] if value is None else [value]


def _negated(value: bool | None, *, negate: bool) -> bool | None:
    return None if value is None else value is not negate
