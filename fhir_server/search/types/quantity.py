"""Search parameters of type quantity.

https://hl7.org/fhir/R4/search.html#quantity

An entry holds the value `l` (and `h` of a Range), the code `u`, the unit's text `n` where it differs, the system `s` where the
unit could not be reduced to base units, and else the dimension `k` with the value `c` (and `d`) in base units. A search with a
UCUM unit compares in base units, one with another unit or none compares the values as they are.
"""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, any_of, matches_members, of_extension, unsupported_modifier
from fhir_server.search.types.number import MAY_BE_RANGES, Number, bound, comparison, parse_number
from fhir_server.search.units import UCUM, UnitError, to_base
from fhir_server.search.values import invalid_value, split_escaped, split_prefix, unescape

MODIFIERS: frozenset[str] = frozenset()
SPREADING: frozenset[str] = frozenset()
CURRENCIES = "urn:iso:std:iso:4217"
_SAMPLE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def _quantity(value: Any, out: list[Any], _base_url: str) -> None:
    number = value.get("value")
    if number is not None:
        out.append({"l": float(number), **_unit(value, c=number)})


def _unit(value: Any, **numbers: Any) -> dict[str, Any]:
    """Return the members for the unit, with these numbers in base units where it can be reduced."""
    code, system, text = value.get("code"), value.get("system"), value.get("unit")
    found: dict[str, Any] = {}
    if code:
        found["u"] = code
    if text and text != code:
        found["n"] = text
    if code and system == UCUM:
        try:
            for name, number in numbers.items():
                found["k"], found[name] = to_base(code, number if isinstance(number, Decimal) else Decimal(str(number)))
        except UnitError:
            found.pop("k", None)
    if system and "k" not in found:
        found["s"] = system
    return found


def _money(value: Any, out: list[Any], _base_url: str) -> None:
    number, currency = value.get("value"), value.get("currency")
    if number is not None:
        out.append({"l": float(number), **({"u": currency, "s": CURRENCIES} if currency else {})})


def _range(value: Any, out: list[Any], _base_url: str) -> None:
    low, high = value.get("low") or {}, value.get("high") or {}
    ends = {name: end["value"] for name, end in (("c", low), ("d", high)) if end.get("value") is not None}
    if not ends:
        return
    unit = _unit({**high, **low}, **ends)
    if "k" in unit:
        unit = {"c": -math.inf, "d": math.inf, **unit}
    out.append({"l": bound(low, -math.inf), "h": bound(high, math.inf), **unit})


def _sampled(value: Any, out: list[Any], _base_url: str) -> None:
    """Take the bounds of the samples; `L` and `U` stand for the limits of the device, `E` for an error."""
    data, origin, factor = value.get("data") or "", value.get("origin") or {}, Decimal(str(value.get("factor", 1)))
    zero = Decimal(str(origin.get("value", 0)))
    samples = [zero + Decimal(text) * factor for text in data.split() if _SAMPLE.fullmatch(text)]
    limits = [
        Decimal(str(value[name]))
        for name, sign in (("lowerLimit", "L"), ("upperLimit", "U"))
        if sign in data.split() and name in value
    ]
    found = [*samples, *limits]
    if found:
        low, high = min(found), max(found)
        out.append({"l": float(low), "h": float(high), **_unit(origin, c=low, d=high)})


_VALUES = {
    **dict.fromkeys(("Quantity", "Age", "Duration", "Count", "Distance", "MoneyQuantity", "SimpleQuantity"), _quantity),
    "Money": _money,
    "Range": _range,
    "SampledData": _sampled,
}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with a quantity that compares with one of the values as its prefix says.

    Raises:
        FhirError: 400, a malformed value, or a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    return any_of(_compare(field, value, parameter) for value in values)


def _compare(field: str, value: str, parameter: SearchParameter) -> Filter:
    parts = [unescape(part) for part in split_escaped(value, "|")]
    if len(parts) not in (1, 3):
        raise invalid_value(parameter.code, value, "expected number or number|system|code, where the system may be empty")
    prefix, text = split_prefix(parts[0])
    number = parse_number(parameter.code, value, text)
    system, code = parts[1:] if len(parts) > 1 else ("", "")
    ranges = bool(parameter.value_types & MAY_BE_RANGES)
    if system == UCUM and code and (reduced := _reduced(number, code)) is not None:
        dimension, in_base = reduced
        return matches_members(field, {"k": dimension, **comparison(prefix, in_base, "c", "d" if ranges else "")}, parameter)
    return matches_members(
        field, _joined(comparison(prefix, number, "l", "h" if ranges else ""), _of_unit(system, code)), parameter
    )


def _joined(one: Filter, other: Filter) -> Filter:
    return {"$and": [one, other]} if "$or" in one and "$or" in other else {**one, **other}


def _of_unit(system: str, code: str) -> Filter:
    if system == UCUM and not code:
        return {"$or": [{"s": UCUM}, {"k": {"$exists": True}}]}
    found: Filter = {"s": system} if system else {}
    if code:
        found |= {"u": code} if system else {"$or": [{"u": code}, {"n": code}]}
    return found


def _reduced(number: Number, code: str) -> tuple[str, Number] | None:
    try:
        convert: Callable[[Decimal], tuple[str, float]] = lambda value: to_base(code, value)  # noqa: E731 -- names a partial application
        dimension, value = convert(number.value)
        return dimension, Number(Decimal(value), Decimal(convert(number.low)[1]), Decimal(convert(number.high)[1]))
    except UnitError:
        return None
