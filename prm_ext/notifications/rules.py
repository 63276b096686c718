"""How a Timing repeats, as a series of moments.

https://hl7.org/fhir/R4/datatypes-definitions.html#Timing.repeat, docs/notifications/schedules.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

from prm_ext.notifications.clock import DAY, Clock, since_midnight, spread, times_of, utc_of
from prm_ext.notifications.moments import MIDNIGHT, unschedulable
from prm_ext.notifications.series import SPREAD_DAYS, WEEK, Calendar, Distant, Series, Times, Unit

REPEAT: Final = "CommunicationRequest.occurrenceTiming.repeat"
DATA: Final = ("frequency", "period", "dayOfWeek", "timeOfDay", "when")
"""The parts that say how often."""
MOST: Final = 5000
"""Occurrences that a request may name, or count, and that a period of it may have."""
MOST_OFTEN: Final = 96
"""Times a day."""
CLOSEST: Final = timedelta(minutes=1)
CALENDAR: Final[Mapping[str, Unit]] = {"d": "day", "wk": "week", "mo": "month", "a": "year"}
FIXED: Final = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "wk": timedelta(weeks=1),
}
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Start:
    """When a schedule begins."""

    at: datetime
    stated: bool
    """Whether the request says so; else it is when it was written."""
    clock_time: timedelta | None
    """The time of the day that the request says with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The parts of `Timing.repeat` that say how often, in one time zone."""

    repeat: Mapping[str, Any]
    start: Start
    zone: tzinfo
    clock: Clock

    def series(self) -> Series:
        """Return the moments, from the start on.

        Raises:
            FhirError: 422, it can not be understood, or is more often than anybody wants to be written to.
        """
        number, times, weekdays = self._frequency(), self._times(), self._weekdays()
        period, unit = self._period(bare=bool(times or weekdays), daily=bool(times))
        if unit not in CALENDAR or (period % 1 and unit in FIXED):
            return self._distant(period, unit, number, weekdays, times)
        if not times and self.start.clock_time is not None and number == 1:
            times = (self.start.clock_time,)
        every = whole(period, f"{REPEAT}.period")
        if number > MOST_OFTEN * every * SPREAD_DAYS[CALENDAR[unit]]:
            raise unschedulable(f"It would be more often than {MOST_OFTEN} times a day.", f"{REPEAT}.frequency")
        first = self.start.at.astimezone(self.zone).date()
        spread_by = partial(spread, clock=self.clock)
        calendar = Calendar(first, every, CALENDAR[unit], number, weekdays, times, spread_by, self.zone)
        return Series(calendar, self.start.at) if self.start.stated else self._from_next(calendar)

    def _from_next(self, calendar: Calendar) -> Series:
        """Return what begins today, or, where nothing of today is left, with the next day."""
        first, known = calendar.first, self.start.at
        weekly = bool(calendar.weekdays) and calendar.unit == "week"
        following = first + (WEEK - first.weekday() if weekly else 1) * DAY
        edge = utc_of(following, MIDNIGHT, self.zone)
        if any(known <= moment for moment in calendar.until(edge)):
            return Series(calendar, known)
        return Series(calendar.beginning(following), edge)

    def _distant(self, period: Decimal, unit: str, number: int, weekdays: frozenset[int], times: Times) -> Series:
        if times:
            text = "A time of the day goes with a period of whole days, weeks, months or years."
            raise unschedulable(text, f"{REPEAT}.period")
        distance = fixed(period, unit, f"{REPEAT}.period") / number
        if distance < CLOSEST:
            raise unschedulable(f"It would be more often than every {CLOSEST.seconds} seconds.", f"{REPEAT}.period")
        begin = self.start.at
        if self.start.stated and self.start.clock_time is None:
            begin = utc_of(begin.astimezone(self.zone).date(), self.clock["MORN"][0], self.zone)
        return Series(Distant(begin, distance, weekdays, self.zone), begin)

    def _frequency(self) -> int:
        found = self.repeat.get("frequency", 1)
        if not isinstance(found, int) or not 0 < found <= MOST:
            raise unschedulable(f"frequency is {found}; it can be 1 to {MOST}.", f"{REPEAT}.frequency")
        return found

    def _period(self, *, bare: bool, daily: bool) -> tuple[Decimal, str]:
        if "period" not in self.repeat:
            if not bare:
                raise unschedulable("frequency needs period and periodUnit.", f"{REPEAT}.frequency")
            # A time alone means every day, a day of the week every such day.
            return Decimal(1), "d" if daily else "wk"
        unit = self.repeat.get("periodUnit", "")
        if unit not in CALENDAR and unit not in FIXED:
            raise unschedulable(f"{unit!r} is no periodUnit: s, min, h, d, wk, mo, a.", f"{REPEAT}.periodUnit")
        return number_of(self.repeat["period"], f"{REPEAT}.period"), unit

    def _weekdays(self) -> frozenset[int]:
        try:
            return frozenset(_WEEKDAYS.index(day) for day in self.repeat.get("dayOfWeek", ()))
        except ValueError:
            raise unschedulable(f"dayOfWeek is one of {', '.join(_WEEKDAYS)}.", f"{REPEAT}.dayOfWeek") from None

    def _times(self) -> Times:
        found: set[timedelta] = set()
        for text in self.repeat.get("timeOfDay", ()):
            try:
                found.add(since_midnight(time.fromisoformat(text)))
            except (ValueError, TypeError):
                raise unschedulable(f"{text!r} is no time of the day.", f"{REPEAT}.timeOfDay") from None
        for code in self.repeat.get("when", ()):
            try:
                found.update(times_of(code, self.repeat.get("offset"), self.clock))
            except (KeyError, OverflowError):
                raise unschedulable(f"{code!r} is no time of the day that is known here.", f"{REPEAT}.when") from None
        if any(not MIDNIGHT <= at < DAY for at in found):
            raise unschedulable("The offset leads into another day.", f"{REPEAT}.offset")
        if len(found) > MOST_OFTEN:
            raise unschedulable(f"There are more than {MOST_OFTEN} times.", REPEAT)
        return tuple(sorted(found))


def number_of(value: Any, path: str) -> Decimal:
    """Return a decimal above zero.

    Raises:
        FhirError: 422, it is none.
    """
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal(0)
    if not found.is_finite() or found <= 0:
        raise unschedulable(f"{value} is no length of time.", path)
    return found


def whole(value: Decimal, path: str) -> int:
    """Return a number that has to be whole, and can be counted with.

    Raises:
        FhirError: 422, it is not.
    """
    # Ten thousand years are as far as dates go.
    if value % 1 or value > (date.max - date.min).days:
        raise unschedulable(f"{value} is no whole number of days, weeks, months or years that dates go up to.", path)
    return int(value)


def fixed(value: Decimal, unit: str, path: str) -> timedelta:
    """Return a number of units that always have the same length.

    Raises:
        FhirError: 422, it is too long.
    """
    try:
        return timedelta(seconds=float(value) * FIXED[unit].total_seconds())
    except OverflowError:
        raise unschedulable(f"{value} {unit} are longer than dates go.", path) from None
