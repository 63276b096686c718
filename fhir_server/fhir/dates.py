"""Dates and times as intervals of UTC.

https://hl7.org/fhir/R4/search.html#date, https://hl7.org/fhir/R4/datatypes.html#dateTime

Every date, however precise, is the interval [low, high) of the instants that it may mean: `2013-01` is the whole of
January, `2013-01-14T10:00:00Z` the whole second. Where no zone is stated it is UTC. MongoDB keeps milliseconds, so finer
fractions are cut; times beyond the years 1 to 9999 are put at their ends.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Interval = tuple[datetime, datetime]

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)

_DATE_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)
_DAY, _SECOND, _MILLISECOND, _MINUTE = timedelta(days=1), timedelta(seconds=1), timedelta(milliseconds=1), timedelta(minutes=1)
_FARTHEST_ZONE, _HOUR_MINUTES, _DECEMBER = timedelta(hours=14), 60, 12
_LONGEST_TEXT = 64
_DATE_LENGTH = 10


def interval(text: str) -> Interval:
    """Return the interval of a date, dateTime or instant; the minute is the finest part that may be left out.

    Raises:
        ValueError: it is none.
    """
    if len(text) == _DATE_LENGTH and text[4] == text[7] == "-" and text.isascii():
        low = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return low, _plus(low, _DAY)
    match = _DATE_TIME.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError(text)
    year, month, day, hour = match.group(1, 2, 3, 4)
    if hour is not None:
        return _time(match)
    if day is not None:
        low = datetime(int(year), int(month), int(day), tzinfo=UTC)
        return low, _plus(low, _DAY)
    if month is not None:
        low = datetime(int(year), int(month), 1, tzinfo=UTC)
        return low, _month_after(low)
    low = datetime(int(year), 1, 1, tzinfo=UTC)
    return low, low.replace(year=low.year + 1) if low.year < LATEST.year else LATEST


def _time(match: re.Match[str]) -> Interval:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    milliseconds = int(fraction[:3].ljust(3, "0")) if fraction else 0
    leap = second == "60"
    local = datetime(
        int(year), int(month), int(day), int(hour), int(minute), 59 if leap else int(second or 0), milliseconds * 1000, tzinfo=UTC
    )
    low = _plus(local, (_SECOND if leap else timedelta()) - _offset(zone))
    return low, _plus(low, _MINUTE if second is None else _SECOND if fraction is None else _MILLISECOND)


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone == "Z":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    offset = timedelta(hours=hours, minutes=minutes)
    if offset > _FARTHEST_ZONE or minutes >= _HOUR_MINUTES:
        raise ValueError(zone)
    return -offset if zone[0] == "-" else offset


def _plus(moment: datetime, delta: timedelta) -> datetime:
    try:
        return min(moment + delta, LATEST)
    except OverflowError:
        return LATEST if delta > timedelta() else EARLIEST


def _month_after(first: datetime) -> datetime:
    if first.month < _DECEMBER:
        return first.replace(month=first.month + 1)
    return first.replace(year=first.year + 1, month=1) if first.year < LATEST.year else LATEST


def period(value: Mapping[str, Any]) -> Interval | None:
    """Return the interval of a Period, open where it has no start or end; None for one that has neither.

    Raises:
        ValueError: a part of it is no dateTime.
    """
    start, end = value.get("start"), value.get("end")
    if start is None and end is None:
        return None
    low = EARLIEST if start is None else interval(start)[0]
    high = LATEST if end is None else interval(end)[1]
    return low, max(low, high)


def timing(value: Mapping[str, Any]) -> Interval | None:
    """Return the outer limits of a Timing: of its events and its bounds; None where it has none of them.

    Raises:
        ValueError: a part of it is no dateTime.
    """
    found = list(_timing_parts(value))
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _timing_parts(value: Mapping[str, Any]) -> Iterator[Interval]:
    for event in value.get("event", ()):
        if event is not None:
            yield interval(event)
    bounds = (value.get("repeat") or {}).get("boundsPeriod")
    limits = period(bounds) if bounds else None
    if limits is not None:
        yield limits
