"""Search parameters of type number, and what quantities share with them.

https://hl7.org/fhir/R4/search.html#number, https://hl7.org/fhir/R4/search.html#prefix

An entry is `{l: value}`, or `{l, h}` for a Range. A value of a search stands for the interval that its last digit leaves open:
`100` is [99.5, 100.5), `1e2` is [95, 105). Only `eq` and `ne` use that, the other prefixes take the number itself.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, any_of, matches_members, of_extension, unsupported_modifier
from fhir_server.search.values import invalid_value, split_prefix, unescape

MODIFIERS: frozenset[str] = frozenset()
SPREADING: frozenset[str] = frozenset()
_NUMBER = re.compile(r"[+-]?(\d{1,40})(?:\.(\d{1,40}))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a search, with the interval [low, high) of its implicit precision."""

    value: Decimal
    low: Decimal
    high: Decimal


def parse_number(code: str, value: str, text: str) -> Number:
    """Return the number that a search value names.

    Raises:
        FhirError: 400, it is none.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise invalid_value(code, value, "expected a number such as 5.40 or 1e-3, after a prefix")
    fraction, exponent = match[2] or "", match[3]
    places = max(len(fraction), 1) if exponent is not None else len(fraction)
    half = Decimal(5).scaleb(int(exponent or 0) - places - 1)
    number = Decimal(text)
    return Number(number, number - half, number + half)


def bound(value: Any, default: float) -> float:
    """Return one end of a Range (the value of a quantity) as a number; `default` where it is open."""
    number = value.get("value") if isinstance(value, Mapping) else value
    return default if number is None else float(number)


def _number(value: Any, out: list[Any], _base_url: str) -> None:
    out.append({"l": float(value)})


def _range(value: Any, out: list[Any], _base_url: str) -> None:
    low, high = value.get("low"), value.get("high")
    if low or high:
        out.append({"l": bound(low, -math.inf), "h": bound(high, math.inf)})


_VALUES = {**dict.fromkeys(("decimal", "integer", "positiveInt", "unsignedInt"), _number), "Range": _range}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}
MAY_BE_RANGES = frozenset({"Range", "SampledData", "Extension"})


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with a number that compares with one of the values as its prefix says.

    Raises:
        FhirError: 400, a value that is no number, or a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    return any_of(_compare(field, value, parameter) for value in values)


def _compare(field: str, value: str, parameter: SearchParameter) -> Filter:
    prefix, text = split_prefix(unescape(value))
    number = parse_number(parameter.code, value, text)
    return matches_members(
        field, comparison(prefix, number, "l", "h" if parameter.value_types & MAY_BE_RANGES else ""), parameter
    )


def comparison(prefix: str, number: Number, low: str, high: str) -> Filter:
    """Return the predicate on the members `low` and `high` of an entry; `high` is "" where no entry is a range."""
    value, least, beyond = float(number.value), float(number.low), float(number.high)
    match prefix:
        case "eq":
            return {low: {"$gte": least, "$lt": beyond}, **({high: {"$not": {"$gte": beyond}}} if high else {})}
        case "ne":
            return {"$or": [{low: {"$lt": least}}, {low: {"$gte": beyond}}, *([{high: {"$gte": beyond}}] if high else [])]}
        case "gt" | "ge":
            return _upper(low, high, {"$gt" if prefix == "gt" else "$gte": value})
        case "lt" | "le":
            return {low: {"$lt" if prefix == "lt" else "$lte": value}}
        case "sa":
            return {low: {"$gt": value}}
        case "eb":
            return {low: {"$lt": value}, **({high: {"$not": {"$gte": value}}} if high else {})}
        case _:
            margin = abs(number.value) * _TENTH
            nearest, farthest = float(number.value - margin), float(number.value + margin)
            return (
                {low: {"$lte": farthest}, **_upper(low, high, {"$gte": nearest})}
                if high
                else {low: {"$gte": nearest, "$lte": farthest}}
            )


def _upper(low: str, high: str, operator: Filter) -> Filter:
    """Apply an operator to the upper end, which a plain number states as its lower one only."""
    return {"$or": [{high: operator}, {low: operator}]} if high else {low: operator}
