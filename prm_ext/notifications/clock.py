"""What times of the day mean for which no clock time is given, and local times as instants.

https://hl7.org/fhir/R4/valueset-event-timing.html, https://hl7.org/fhir/R4/valueset-timing-abbreviation.html
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from types import MappingProxyType
from typing import Final

Clock = Mapping[str, tuple[timedelta, ...]]
"""By code, the times since midnight that it stands for."""

DAY: Final = timedelta(days=1)
MEAL_OFFSET: Final = 30
"""Minutes between a reminder and the meal that it is before or after, where its Timing does not say."""


def _at(*texts: str) -> tuple[timedelta, ...]:
    return tuple(since_midnight(time.fromisoformat(text)) for text in texts)


def since_midnight(found: time) -> timedelta:
    """Return how long after midnight a time of the day is by the clock."""
    return timedelta(hours=found.hour, minutes=found.minute, seconds=found.second)


DEFAULT: Final[Clock] = MappingProxyType(
    {
        "WAKE": _at("07:00"),
        "PHS": _at("07:00"),
        "MORN.early": _at("07:00"),
        "MORN": _at("09:00"),
        "MORN.late": _at("11:00"),
        "NOON": _at("12:00"),
        "AFT.early": _at("13:00"),
        "AFT": _at("15:00"),
        "AFT.late": _at("17:00"),
        "EVE.early": _at("18:00"),
        "EVE": _at("19:00"),
        "EVE.late": _at("20:00"),
        "NIGHT": _at("22:00"),
        "HS": _at("20:30"),
        "CM": _at("08:00"),
        "CD": _at("12:30"),
        "CV": _at("18:30"),
        "BID": _at("08:00", "20:00"),
        "TID": _at("08:00", "14:00", "20:00"),
        "QID": _at("08:00", "12:00", "16:00", "20:00"),
    }
)
"""`MORN` is also when something is sent for which only a day is given."""

_MEALS: Final = ("CM", "CD", "CV")
_SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "C": _MEALS,
    "AC": _MEALS,
    "PC": _MEALS,
    **{f"{side}{meal[1]}": (meal,) for side in ("AC", "PC") for meal in _MEALS},
}
_BEFORE: Final = frozenset({"HS", "AC", "ACM", "ACD", "ACV"})
"""Whose offset is counted backwards; that of all others forwards."""
CLOCK_CODES: Final = frozenset({*DEFAULT, *_SAME} - {"BID", "TID", "QID"})
"""The codes of `Timing.repeat.when`."""


@cache
def clock_of(text: str) -> Clock:
    """Return the times of a tenant: the defaults, but for those that a JSON object has, such as `{"HS": "21:30"}`.

    Raises:
        ValueError: it is none, or names what there is not.
    """
    given = json.loads(text or "{}")
    if not isinstance(given, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004 -- of a setting, whose errors are ValueErrors
    if unknown := sorted(set(given) - set(DEFAULT)):
        raise ValueError(f"has times of {', '.join(unknown)}; there are those of {', '.join(DEFAULT)}")
    found = dict(DEFAULT)
    for code, value in given.items():
        times = value if isinstance(value, list) else [value]
        if len(times) != len(DEFAULT[code]) or not all(isinstance(one, str) for one in times):
            raise ValueError(f"needs {len(DEFAULT[code])} for {code}, such as 09:00")
        found[code] = tuple(sorted(_at(*times)))
    return MappingProxyType(found)


def times_of(code: str, offset: int | None, clock: Clock) -> tuple[timedelta, ...]:
    """Return the times that a code of `Timing.repeat.when` stands for, with an offset in minutes.

    Raises:
        KeyError: there is no such code.
    """
    meals = _SAME.get(code, (code,)) if code in CLOCK_CODES else ()
    if not meals:
        raise KeyError(code)
    minutes = offset if offset is not None else MEAL_OFFSET if code[:2] in ("AC", "PC") else 0
    shift = timedelta(minutes=-minutes if code in _BEFORE else minutes)
    return tuple(at + shift for meal in meals for at in clock[meal])


def spread(number: int, clock: Clock) -> tuple[timedelta, ...]:
    """Return the times of something that happens so often a day: as `BID` and its like, else evenly between these."""
    known = {1: "MORN", 2: "BID", 3: "TID", 4: "QID"}.get(number)
    if known is not None:
        return clock[known]
    first, last = clock["QID"][0], clock["QID"][-1]
    return tuple(first + (last - first) * place / (number - 1) for place in range(number))


def utc_of(day: date, at: timedelta, zone: tzinfo) -> datetime:
    """Return the instant when clocks of a zone show a time of a day.

    A time that they leave out when they are put forward is as much later as they are; of one that they show twice it is
    the first.
    """
    return (datetime.combine(day, time()) + at).replace(tzinfo=zone).astimezone(UTC)
