"""Moments that repeat, in their order and without an end: by the calendar of a time zone, or by a fixed distance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from math import ceil
from typing import Final, Literal

from dateutil.relativedelta import relativedelta

from prm_ext.notifications.clock import DAY, utc_of

Unit = Literal["day", "week", "month", "year"]
Times = tuple[timedelta, ...]

BARREN: Final = 1000
"""So many cycles without a moment, and there will never be one."""
WEEK: Final = 7
SPREAD_DAYS: Final[Mapping[str, int]] = {"day": 1, "week": 7, "month": 28, "year": 364}
"""Over how many days of each unit something is spread that happens several times in it."""


@dataclass(frozen=True, slots=True)
class Series:
    """Moments with their bounds."""

    moments: Callable[[datetime], Iterator[datetime]]
    """Yields the moments in their order; none that comes after the given one is left out."""
    begin: datetime
    end: datetime | None = None
    """Excluded."""
    count: int | None = None
    """How many there are in all."""

    def after(self, since: datetime) -> datetime | None:
        """Return the first moment after another one."""
        place = 0
        # Those that are counted have to be counted from the begin.
        for moment in self.moments(since if self.count is None else self.begin):
            if moment < self.begin:
                continue
            if (self.count is not None and place >= self.count) or (self.end is not None and moment >= self.end):
                return None
            if moment > since:
                return moment
            place += 1
        return None


@dataclass(frozen=True, slots=True)
class Listed:
    """Moments that are named one by one, in their order."""

    found: Sequence[datetime]

    def __call__(self, since: datetime) -> Iterator[datetime]:
        """Yield them."""
        del since
        return iter(self.found)


@dataclass(frozen=True, slots=True)
class Distant:
    """Moments that are as far from each other, on some days of the week or on all."""

    begin: datetime
    distance: timedelta
    weekdays: frozenset[int]
    zone: tzinfo

    def __call__(self, since: datetime) -> Iterator[datetime]:
        """Yield them from about a moment on."""
        place = max(0, (since - self.begin) // self.distance)
        skipped = timedelta()
        try:
            # A week holds every day; a distance of whole weeks that misses the day once misses it always.
            while skipped <= 2 * WEEK * max(DAY, self.distance):
                moment = self.begin + place * self.distance
                place += 1
                if not self.weekdays or moment.astimezone(self.zone).weekday() in self.weekdays:
                    skipped = timedelta()
                    yield moment
                else:
                    skipped += self.distance
        except OverflowError:
            return  # Beyond the year 9999.


@dataclass(frozen=True, slots=True)
class Calendar:
    """Moments at times of the day, on days that come again every so many days, weeks, months or years."""

    first: date
    every: int
    unit: Unit
    number: int
    """How many there are in each cycle, where neither times nor days say so."""
    weekdays: frozenset[int]
    times: Times
    """Of each day; empty: what `spread` says."""
    spread: Callable[[int], Times]
    """Returns the times of a day on which there are so many."""
    zone: tzinfo

    def __call__(self, since: datetime) -> Iterator[datetime]:
        """Yield them from about a moment on."""
        last: datetime | None = None
        barren = 0
        cycle = self._cycle_before(since.astimezone(self.zone).date())
        try:
            while barren < BARREN:
                barren += 1
                for day, times in self._days(cycle):
                    # What clocks leave out moves behind what comes after it, or onto it.
                    for moment in sorted(utc_of(day, at, self.zone) for at in times):
                        if last is None or moment > last:
                            barren, last = 0, moment
                            yield moment
                cycle += 1
        except (OverflowError, ValueError):
            return  # Beyond the year 9999.

    def until(self, edge: datetime) -> Iterator[datetime]:
        """Yield the moments of the first cycle that come before one."""
        return takewhile(lambda moment: moment < edge, self(edge - WEEK * DAY))

    def beginning(self, first: date) -> "Calendar":
        """Return the same that begins with another day."""
        return replace(self, first=first)

    def _cycle_before(self, day: date) -> int:
        """Return a cycle that begins before a day, and not long before."""
        if self.unit in ("day", "week"):
            length = self.every * SPREAD_DAYS[self.unit]
            return max(0, (day - self.first).days // length - 1)
        months = (day.year - self.first.year) * 12 + day.month - self.first.month
        return max(0, months // (self.every * (12 if self.unit == "year" else 1)) - 1)

    def _days(self, cycle: int) -> Iterator[tuple[date, Times]]:
        begin = self._begin(cycle)
        if self.weekdays:
            yield from self._named_days(begin)
            return
        days = self._spread_days()
        if self.times:
            wanted = ceil(self.number / len(self.times))
            chosen = sorted({days * place // wanted for place in range(min(wanted, days))})
            yield from ((begin + place * DAY, self.times) for place in chosen)
            return
        numbers: dict[int, int] = {}
        for place in range(self.number):
            at = days * place // self.number
            numbers[at] = numbers.get(at, 0) + 1
        yield from ((begin + at * DAY, self.spread(number)) for at, number in numbers.items())

    def _named_days(self, begin: date) -> Iterator[tuple[date, Times]]:
        if self.unit == "week":
            monday = begin - begin.weekday() * DAY
            times = self.times or self.spread(ceil(self.number / len(self.weekdays)))
            yield from ((monday + weekday * DAY, times) for weekday in sorted(self.weekdays))
        elif self.unit == "day":
            times = self.times or self.spread(self.number)
            yield from ((begin, times) for _ in range(1) if begin.weekday() in self.weekdays)
        else:
            # The first such days of the month, or of the year.
            days = (begin + place * DAY for place in range(self._spread_days()))
            named = (day for day in days if day.weekday() in self.weekdays)
            yield from ((day, self.times or self.spread(1)) for day in islice(named, self.number))

    def _spread_days(self) -> int:
        return SPREAD_DAYS[self.unit] * self.every

    def _begin(self, cycle: int) -> date:
        if self.unit in ("day", "week"):
            return self.first + cycle * self.every * SPREAD_DAYS[self.unit] * DAY
        months = cycle * self.every * (12 if self.unit == "year" else 1)
        return self.first + relativedelta(months=months)
