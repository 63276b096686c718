"""A Timing as a series of moments, with its bounds.

https://hl7.org/fhir/R4/datatypes.html#Timing, docs/notifications/schedules.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from dateutil.relativedelta import relativedelta

from prm_ext.notifications.clock import Clock, since_midnight, utc_of
from prm_ext.notifications.moments import begin_of, end_of, is_day, unschedulable
from prm_ext.notifications.rules import CALENDAR, DATA, MOST, REPEAT, Rule, Start, fixed, number_of, whole
from prm_ext.notifications.series import Listed, Series

PATH: Final = "CommunicationRequest.occurrenceTiming"
_ABBREVIATIONS: Final = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"
CODES: Final[Mapping[str, Mapping[str, Any]]] = {
    "BID": {"frequency": 2, "period": 1, "periodUnit": "d"},
    "TID": {"frequency": 3, "period": 1, "periodUnit": "d"},
    "QID": {"frequency": 4, "period": 1, "periodUnit": "d"},
    "QD": {"when": ["MORN"]},
    "AM": {"when": ["MORN"]},
    "PM": {"when": ["AFT"]},
    "BED": {"when": ["HS"]},
    "QOD": {"period": 2, "periodUnit": "d", "when": ["MORN"]},
    "WK": {"period": 1, "periodUnit": "wk", "when": ["MORN"]},
    "MO": {"period": 1, "periodUnit": "mo", "when": ["MORN"]},
    **{f"Q{hours}H": {"period": hours, "periodUnit": "h"} for hours in (1, 2, 3, 4, 6, 8)},
}
"""What the codes of `Timing.code` say, in the words of `Timing.repeat`."""


@dataclass(frozen=True, slots=True)
class Once:
    """A Timing that happens one time."""

    at: datetime
    until: datetime | None


def series_of(timing: Mapping[str, Any], known: datetime, zone: tzinfo, clock: Clock) -> Series | Once:
    """Return the moments of a Timing, in the time of a zone; `known` is when it was written.

    Raises:
        FhirError: 422, it can not be understood.
    """
    events = timing.get("event", ())
    if "_event" in timing or len(events) > MOST:
        raise unschedulable(f"Each event needs a value, and there may be {MOST}.", f"{PATH}.event")
    repeat = _repeat_of(timing)
    if not repeat:
        return _listed([begin_of(one, f"{PATH}.event[{place}]", zone, clock["MORN"][0]) for place, one in enumerate(events)])
    if len(events) > 1:
        raise unschedulable("Several events can not be repeated: leave out the repeat, or all events but the first.", PATH)
    return _repeated(repeat, _start(repeat, events, known, zone), zone, clock)


def _listed(found: list[datetime]) -> Series | Once:
    if not found:
        raise unschedulable("It says neither events nor how it repeats, nor has it a code that is known.", PATH)
    moments = sorted(set(found))
    return Once(moments[0], None) if len(moments) == 1 else Series(Listed(moments), moments[0])


def _repeat_of(timing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a Timing repeats: as its data say, else as its code does, within the bounds that always hold."""
    repeat: Mapping[str, Any] = timing.get("repeat") or {}
    if any(name in repeat for name in DATA) or "code" not in timing:
        return repeat
    codings = timing["code"].get("coding", ())
    codes = [one.get("code") for one in codings if one.get("system", _ABBREVIATIONS) == _ABBREVIATIONS]
    known = next((CODES[code] for code in codes if code in CODES), None)
    if known is not None:
        return {**repeat, **known}
    if not timing.get("event"):
        raise unschedulable(f"Its code is none of {', '.join(CODES)}; say it by repeat.", f"{PATH}.code")
    return repeat


def _start(repeat: Mapping[str, Any], events: Any, known: datetime, zone: tzinfo) -> Start:
    path, stated = f"{PATH}.event[0]", events[0] if events else None
    if "start" in (period := repeat.get("boundsPeriod", {})):
        path, stated = f"{REPEAT}.boundsPeriod.start", period["start"]
    if stated is None:
        return Start(known, stated=False, clock_time=None)
    at = begin_of(stated, path, zone)
    return Start(at, stated=True, clock_time=None if is_day(stated) else since_midnight(at.astimezone(zone).time()))


def _repeated(repeat: Mapping[str, Any], start: Start, zone: tzinfo, clock: Clock) -> Series | Once:
    count = repeat.get("count")
    if count is not None and not 0 < count <= MOST:
        raise unschedulable(f"count is {count}; it can be 1 to {MOST}.", f"{REPEAT}.count")
    if any(name in repeat for name in DATA):
        series = Rule(repeat, start, zone, clock).series()
        return Series(series.moments, series.begin, _end(repeat, series.begin, zone), count)
    if count not in (None, 1) or not (start.stated or "boundsPeriod" in repeat):
        raise unschedulable("It does not say how often: add frequency, period and periodUnit, or timeOfDay.", REPEAT)
    at = start.at
    if start.stated and start.clock_time is None:
        at = utc_of(at.astimezone(zone).date(), clock["MORN"][0], zone)
    return Once(at, _end(repeat, at, zone))


def _end(repeat: Mapping[str, Any], begin: datetime, zone: tzinfo) -> datetime | None:
    """Return the end of the bounds, itself excluded."""
    if "end" in (period := repeat.get("boundsPeriod", {})):
        end = end_of(period["end"], f"{REPEAT}.boundsPeriod.end", zone)
    elif "boundsDuration" in repeat:
        end = _plus(begin, repeat["boundsDuration"], f"{REPEAT}.boundsDuration", zone)
    elif "boundsRange" in repeat:
        # It may go on up to the outer limit; without one it need not go on beyond the inner.
        limits = repeat["boundsRange"]
        end = _plus(begin, limits.get("high") or limits.get("low") or {}, f"{REPEAT}.boundsRange", zone)
    else:
        return None
    if end <= begin:
        raise unschedulable("Its bounds end before they begin.", REPEAT)
    return end


def _plus(begin: datetime, duration: Mapping[str, Any], path: str, zone: tzinfo) -> datetime:
    """Return when a duration ends: of days or more, at the same time of the day as it began."""
    unit = duration.get("code") or duration.get("unit") or ""
    value = number_of(duration.get("value"), path)
    if unit not in ("h", "min", "s", *CALENDAR):
        raise unschedulable(f"{unit!r} is no unit of time; use UCUM's: s, min, h, d, wk, mo, a.", path)
    try:
        if unit not in CALENDAR:
            return begin + fixed(value, unit, path)
        local = begin.astimezone(zone).replace(tzinfo=None)
        if unit in ("d", "wk"):
            later = local + fixed(value, unit, path)
        else:
            later = local + relativedelta(months=whole(value * (12 if unit == "a" else 1), path))
        return utc_of(later.date(), since_midnight(later.time()), zone)
    except (OverflowError, ValueError):
        raise unschedulable("It lasts longer than dates go.", path) from None
