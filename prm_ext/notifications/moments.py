"""Dates of schedules as instants, in the time zone of who is written to.

https://hl7.org/fhir/R4/datatypes.html#dateTime
"""

from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from fhir_server.fhir import dates
from fhir_server.fhir.outcome import FhirError, unprocessable
from prm_ext.notifications.clock import utc_of

DATE_LENGTH: Final = 10
MIDNIGHT: Final = timedelta()


def unschedulable(text: str, path: str) -> FhirError:
    """422: nobody can tell from the request when a message is to be sent."""
    return unprocessable(f"This can not be scheduled: {text}", path, "business-rule")


def is_day(text: Any) -> bool:
    """Tell whether a dateTime names a day, or less, and no time."""
    return isinstance(text, str) and len(text) <= DATE_LENGTH


def begin_of(text: Any, path: str, zone: tzinfo, at: timedelta = MIDNIGHT) -> datetime:
    """Return the first instant that a dateTime means; where it names no time, a time of its first day.

    Raises:
        FhirError: 422, it is none.
    """
    try:
        low, _ = dates.interval(text)
        return utc_of(low.date(), at, zone) if is_day(text) else low
    except (ValueError, TypeError, OverflowError):
        raise unschedulable(f"{text!r} is no date that a message can be sent on.", path) from None


def end_of(text: Any, path: str, zone: tzinfo) -> datetime:
    """Return the end of what a dateTime means, itself excluded.

    Raises:
        FhirError: 422, it is none.
    """
    try:
        _, high = dates.interval(text)
        return utc_of(high.date(), MIDNIGHT, zone) if is_day(text) and high != dates.LATEST else high
    except (ValueError, TypeError, OverflowError):
        raise unschedulable(f"{text!r} is no date that something can end on.", path) from None
