"""When a CommunicationRequest is due: once, within a period, or again and again.

https://hl7.org/fhir/R4/communicationrequest-definitions.html#CommunicationRequest.occurrence_x_, docs/notifications/schedules.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from fhir_server.exchange import Resource
from prm_ext.notifications.clock import DAY, DEFAULT, Clock
from prm_ext.notifications.moments import begin_of, end_of, is_day, unschedulable
from prm_ext.notifications.timings import Once, series_of

_SLACK: Final = timedelta(minutes=5)
"""What repeats from now on may have begun so long ago: it has to get here, and clocks differ."""
_CHOICES: Final = ("occurrenceDateTime", "occurrencePeriod", "occurrenceTiming")
_TYPE: Final = "CommunicationRequest"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time when a request is due."""

    at: datetime
    """UTC."""
    until: datetime | None
    """When it is too late, in UTC; None where the request does not say."""
    key: str
    """Empty for what happens once, else `at` as `20261124T140500Z`."""


def next_occurrence(
    request: Resource, *, after: datetime | None, zone: tzinfo, now: datetime, clock: Clock = DEFAULT
) -> Occurrence | None:
    """Return the first occurrence after a moment; None where there is none any more.

    Without `after` it is the first of all, or, of what repeats, the first since the request came to be known. Days and
    times of the day are those of `zone`; `clock` says when it is morning.

    Raises:
        FhirError: 422, its schedule can not be understood; the text says why.
    """
    if (missing := next((name for name in _CHOICES if f"_{name}" in request and name not in request), None)) is not None:
        raise unschedulable(f"{missing} has no value.", f"{_TYPE}.{missing}")
    known = _known(request, zone, now)
    if "occurrenceTiming" in request:
        series = series_of(request["occurrenceTiming"], known, zone, clock)
        if not isinstance(series, Once):
            since = _since(request, zone, now) if after is None else after
            at = series.after(since)
            if at is None:
                return None
            # Who was not reached by then hears of the next one.
            return Occurrence(at, series.after(at) or series.end, key_of(at))
        found = Occurrence(series.at, series.until, "")
    elif "occurrencePeriod" in request:
        found = _of_period(request["occurrencePeriod"], known, zone, clock)
    elif "occurrenceDateTime" in request:
        path = f"{_TYPE}.occurrenceDateTime"
        found = Occurrence(begin_of(request["occurrenceDateTime"], path, zone, clock["MORN"][0]), None, "")
    else:
        found = Occurrence(min(known, now), None, "")
    return None if after is not None and found.at <= after else found


def key_of(at: datetime) -> str:
    """Return the key of an occurrence that is one of several."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _updated(request: Resource, zone: tzinfo, now: datetime) -> datetime:
    stored = request.get("meta", {}).get("lastUpdated")
    return begin_of(stored, f"{_TYPE}.meta.lastUpdated", zone) if stored else now


def _since(request: Resource, zone: tzinfo, now: datetime) -> datetime:
    """Return from when on what repeats is heeded: what had passed when the request came here is not made up for."""
    return min(_updated(request, zone, now), now) - _SLACK


def _known(request: Resource, zone: tzinfo, now: datetime) -> datetime:
    """Return when a request was written, as it says itself, else as the server does."""
    updated, authored = _updated(request, zone, now), request.get("authoredOn")
    if authored is None:
        return updated
    begin = begin_of(authored, f"{_TYPE}.authoredOn", zone)
    # Of a bare day nobody knows more than that it was then.
    return min(max(begin, updated), begin + DAY) if is_day(authored) else begin


def _of_period(period: Mapping[str, Any], known: datetime, zone: tzinfo, clock: Clock) -> Occurrence:
    path = f"{_TYPE}.occurrencePeriod"
    until = end_of(period["end"], f"{path}.end", zone) if "end" in period else None
    at = known
    if "start" in period:
        at = begin_of(period["start"], f"{path}.start", zone, clock["MORN"][0])
        if until is not None and at >= until:
            # The morning is too late for what has to be done before it.
            at = begin_of(period["start"], f"{path}.start", zone)
        if until is not None and at >= until:
            raise unschedulable("The period ends before it begins.", path)
    elif until is None:
        raise unschedulable("The period has neither start nor end.", path)
    return Occurrence(at, until, "")
