"""Search parameters of type date.

https://hl7.org/fhir/R4/search.html#date, https://hl7.org/fhir/R4/search.html#prefix

An entry is the interval [l, h) that a date, dateTime, instant, Period or Timing covers; a query is one too. The index is led
by `l`, so every filter bounds it: what is not a Period lasts a year at most, so where `h` is bounded from below, `l` is as
well. Periods that last longer have their ends under `:long` in addition, for the filters that this bound would lose.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from fhir_server.fhir.dates import EARLIEST, LATEST, Interval, interval, period, timing
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, any_of, matches_members, of_extension, unsupported_modifier
from fhir_server.search.values import invalid_value, split_prefix, unescape

MODIFIERS: frozenset[str] = frozenset()
SPREADING: frozenset[str] = frozenset()
LONG = timedelta(days=366)
MAY_BE_LONG = frozenset({"Period", "Timing", "Extension"})
_MILLISECOND = timedelta(milliseconds=1)
_APPROXIMATELY = 10
"""`ap` allows for a tenth of the time between the value and now."""


def _append(found: Interval | None, out: list[Any]) -> None:
    if found is not None:
        out.append({"l": found[0], "h": found[1]})


def _date(value: Any, out: list[Any], _base_url: str) -> None:
    low, high = interval(value)
    out.append({"l": low, "h": high})


def _text(value: Any, out: list[Any], _base_url: str) -> None:
    try:
        _date(value, out, _base_url)
    except ValueError:
        return  # A text in the place of a date, such as CarePlan.activity.detail.scheduledString.


def _period(value: Any, out: list[Any], _base_url: str) -> None:
    _append(period(value), out)


def _timing(value: Any, out: list[Any], _base_url: str) -> None:
    _append(timing(value), out)


_VALUES = {**dict.fromkeys(("date", "dateTime", "instant"), _date), "string": _text, "Period": _period, "Timing": _timing}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}


def long_ends(entries: Iterable[Filter]) -> list[datetime]:
    """Return the ends of the entries that last longer than `LONG`."""
    return [entry["h"] for entry in entries if entry["h"] - entry["l"] > LONG]


def filter(  # noqa: A001 -- the name that all types share
    field: str, modifier: str, values: Iterable[str], parameter: SearchParameter, *, now: datetime
) -> Filter:
    """Return the filter for resources with a date that compares with one of the values as its prefix says.

    Raises:
        FhirError: 400, a value that is no date, or a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    return any_of(_compare(field, value, parameter, now) for value in values)


def parse(code: str, value: str) -> tuple[str, Interval]:
    """Return the prefix and the interval of a search value.

    Raises:
        FhirError: 400, it is no date.
    """
    prefix, text = split_prefix(unescape(value))
    try:
        return prefix, interval(text.replace(" ", "+"))  # A + that was not percent-encoded arrives as a space.
    except ValueError:
        raise invalid_value(
            code, value, "expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss[.fff]][zone], after a prefix"
        ) from None


def _compare(field: str, value: str, parameter: SearchParameter, now: datetime) -> Filter:
    prefix, (low, high) = parse(parameter.code, value)
    if prefix == "ap":
        low, high = _widened(low, high, now)
    if parameter.field == "u":
        return _MOMENTS[prefix](field, low, high)
    predicate = _PREDICATES[prefix](low, high)
    if prefix in _FROM_BELOW and parameter.value_types & MAY_BE_LONG:
        return _also_long(field, prefix, predicate, low, high, parameter)
    return matches_members(field, predicate, parameter)


def _also_long(field: str, prefix: str, predicate: Filter, low: datetime, high: datetime, parameter: SearchParameter) -> Filter:
    """Add those that begin before the bound on `l` and still reach the value."""
    if not field.startswith("s."):  # Inside a composite there is no index to bound, nor a field for the long ones.
        return matches_members(field, _UNBOUNDED[prefix](low, high), parameter)
    bounded = matches_members(field, predicate, parameter)
    return {
        "$or": [
            bounded,
            {f"{field}:long": {"$gt": low if prefix == "ap" else high}, **_overlap_start(field, prefix, high, parameter)},
        ]
    }


def _overlap_start(field: str, prefix: str, high: datetime, parameter: SearchParameter) -> Filter:
    return matches_members(field, {"l": {"$lt": high}}, parameter) if prefix == "ap" else {}


def _widened(low: datetime, high: datetime, now: datetime) -> Interval:
    margin = abs(now - low) / _APPROXIMATELY
    return _moved(low, -margin), _moved(high, margin)


def _moved(moment: datetime, by: timedelta) -> datetime:
    try:
        return min(moment + by, LATEST)
    except OverflowError:
        return EARLIEST if by < timedelta() else LATEST


def _eq(low: datetime, high: datetime) -> Filter:
    return {"l": {"$gte": low, "$lte": high}, "h": {"$lte": high}}


def _ne(low: datetime, high: datetime) -> Filter:
    return {"$or": [{"l": {"$lt": low}}, {"h": {"$gt": high}}]}


def _gt(_low: datetime, high: datetime) -> Filter:
    return {"l": {"$gt": _moved(high, -LONG - _MILLISECOND)}, "h": {"$gt": high}}


def _ge(low: datetime, high: datetime) -> Filter:
    return {"l": {"$gt": min(_moved(high, -LONG), low) - _MILLISECOND}, "$or": [{"l": {"$gte": low}}, {"h": {"$gt": high}}]}


def _ap(low: datetime, high: datetime) -> Filter:
    return {"l": {"$gt": _moved(low, -LONG - _MILLISECOND), "$lt": high}, "h": {"$gt": low}}


_PREDICATES: dict[str, Callable[[datetime, datetime], Filter]] = {
    "eq": _eq,
    "ne": _ne,
    "gt": _gt,
    "lt": lambda low, _high: {"l": {"$lt": low}},
    "ge": _ge,
    "le": lambda low, high: {"l": {"$lte": high}, "$or": [{"l": {"$lt": low}}, {"h": {"$lte": high}}]},
    "sa": lambda _low, high: {"l": {"$gte": high}},
    "eb": lambda low, _high: {"l": {"$lte": low}, "h": {"$lte": low}},
    "ap": _ap,
}
_FROM_BELOW = frozenset({"gt", "ge", "ap"})
_UNBOUNDED: dict[str, Callable[[datetime, datetime], Filter]] = {
    "gt": lambda _low, high: {"h": {"$gt": high}},
    "ge": lambda low, high: {"$or": [{"l": {"$gte": low}}, {"h": {"$gt": high}}]},
    "ap": lambda low, high: {"l": {"$lt": high}, "h": {"$gt": low}},
}


def _within(field: str, low: datetime, high: datetime) -> Filter:
    return {field: {"$gte": low, "$lt": high}}


_MOMENTS: dict[str, Callable[[str, datetime, datetime], Filter]] = {
    "eq": _within,
    "ne": lambda field, low, high: {"$or": [{field: {"$lt": low}}, {field: {"$gte": high}}]},
    "gt": lambda field, _low, high: {field: {"$gte": high}},
    "lt": lambda field, low, _high: {field: {"$lt": low}},
    "ge": lambda field, low, _high: {field: {"$gte": low}},
    "le": lambda field, _low, high: {field: {"$lt": high}},
    "sa": lambda field, _low, high: {field: {"$gte": high}},
    "eb": lambda field, low, _high: {field: {"$lt": low}},
    "ap": _within,
}
"""`_lastUpdated` is a plain moment, a millisecond long."""
