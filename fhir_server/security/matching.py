"""A filter of MongoDB, evaluated here.

Versions in history have no index entries in the database, and a new version is none yet: whether they lie within what
somebody may see is decided on entries that are computed, by the same filter that MongoDB gets for current versions.
https://www.mongodb.com/docs/manual/reference/operator/query/
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from bson.regex import Regex

Filter = Mapping[str, Any]
_NUMBERS = (int, float, Decimal)
_MISSING: Final = object()


class UnsupportedFilterError(Exception):
    """A filter uses what only MongoDB can evaluate."""


def matches(filter_: Filter, document: Mapping[str, Any]) -> bool:
    """Tell whether a document matches."""
    for name, condition in filter_.items():
        if name == "$and":
            found = all(matches(part, document) for part in condition)
        elif name == "$or":
            found = any(matches(part, document) for part in condition)
        elif name == "$nor":
            found = not any(matches(part, document) for part in condition)
        else:
            found = _field(_values(document, name.split(".")), condition)
        if not found:
            return False
    return True


def check(filter_: Any) -> None:
    """Make sure that a filter can be evaluated here.

    Raises:
        UnsupportedFilterError: it can not.
    """
    if isinstance(filter_, Mapping):
        for name, value in filter_.items():
            if name.startswith("$") and name not in _OPERATORS and name not in ("$and", "$or", "$nor", "$not", "$options"):
                raise UnsupportedFilterError(name)
            check(value)
    elif isinstance(filter_, list | tuple):
        for part in filter_:
            check(part)


def fields(filter_: Any) -> Iterator[str]:
    """Yield the fields of index entries (`s.subject`) that a filter is about."""
    if isinstance(filter_, Mapping):
        for name, value in filter_.items():
            if name.startswith("s."):
                yield "s." + name[2:].partition(".")[0].partition(":")[0]
            yield from fields(value)
    elif isinstance(filter_, list | tuple):
        for part in filter_:
            yield from fields(part)


def _values(node: Any, path: list[str]) -> list[Any]:
    """Return what stands at a path: of arrays both themselves and their members, MISSING where an object lacks a member."""
    if not path:
        return [node, *node] if isinstance(node, list) else [node]
    if isinstance(node, Mapping):
        return _values(node[path[0]], path[1:]) if path[0] in node else [_MISSING]
    if not isinstance(node, list):
        return [_MISSING]
    found: list[Any] = []
    for item in node:
        if isinstance(item, Mapping):
            found += _values(item, path)
    place = int(path[0]) if path[0].isdigit() else len(node)
    if place < len(node) and (len(path) == 1 or isinstance(node[place], Mapping | list)):
        found += _values(node[place], path[1:])
    return found


def _field(values: list[Any], condition: Any) -> bool:
    if isinstance(condition, Mapping) and condition and next(iter(condition)).startswith("$"):
        return all(
            _OPERATORS[name](values, operand) if name not in ("$regex", "$options", "$not") else _special(values, name, condition)
            for name, operand in condition.items()
        )
    return _equal(values, condition)


def _special(values: list[Any], name: str, condition: Mapping[str, Any]) -> bool:
    if name == "$options":
        return True
    if name == "$not":
        return not _field(values, condition["$not"])
    return _matches(values, condition["$regex"], condition.get("$options", ""))


def _matches(values: list[Any], text: str, options: str) -> bool:
    pattern = _pattern(text, options)
    return any(isinstance(value, str) and pattern.search(value) for value in values)


@lru_cache(maxsize=512)
def _pattern(text: str, options: str) -> "re.Pattern[str]":
    flags = re.IGNORECASE if "i" in options else re.NOFLAG
    return re.compile(text, flags)


def _equal(values: list[Any], wanted: Any) -> bool:
    if wanted is None:
        return any(value is None or value is _MISSING for value in values)
    return any((type(value) is type(wanted) and value == wanted) or _same_number(value, wanted) for value in values)


def _same_number(left: Any, right: Any) -> bool:
    return _is_number(left) and _is_number(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[list[Any], Any], bool]:
    def compare(values: list[Any], bound: Any) -> bool:
        if bound is None:
            return test(0, 0) and _equal(values, None)
        return any(_comparable(value, bound) and test(value, bound) for value in values)

    return compare


def _comparable(left: Any, right: Any) -> bool:
    if _is_number(left):
        return _is_number(right)
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, datetime, bool))


def _exists(values: list[Any], wanted: Any) -> bool:
    return any(value is not _MISSING for value in values) == bool(wanted)


def _among(values: list[Any], wanted: Any) -> bool:
    return any(_matches(values, one.pattern, "") if isinstance(one, Regex) else _equal(values, one) for one in wanted)


def _elements(values: list[Any], condition: Any) -> bool:
    return any(_element(member, condition) for value in values if isinstance(value, list) for member in value)


def _element(member: Any, condition: Mapping[str, Any]) -> bool:
    if next(iter(condition), "").startswith("$") and not next(iter(condition)).startswith(("$and", "$or", "$nor")):
        return _field([member], condition)
    return isinstance(member, Mapping) and matches(condition, member)


_OPERATORS: Final[Mapping[str, Callable[[list[Any], Any], bool]]] = {
    "$eq": _equal,
    "$ne": lambda values, wanted: not _equal(values, wanted),
    "$in": _among,
    "$nin": lambda values, wanted: not _among(values, wanted),
    "$gt": _ordered(lambda value, bound: bool(value > bound)),
    "$gte": _ordered(lambda value, bound: bool(value >= bound)),
    "$lt": _ordered(lambda value, bound: bool(value < bound)),
    "$lte": _ordered(lambda value, bound: bool(value <= bound)),
    "$exists": _exists,
    "$elemMatch": _elements,
    "$all": lambda values, wanted: all(_equal(values, one) for one in wanted),
    "$regex": lambda _values, _wanted: True,
}
