"""The recipient's time: which zone it is, and when nobody is to be disturbed.

https://hl7.org/fhir/extensions/StructureDefinition-timezone.html
"""

from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from prm_ext.notifications.clock import DAY, since_midnight, utc_of

Resource = dict[str, Any]

TIME_ZONE: Final = (
    "http://hl7.org/fhir/StructureDefinition/timezone",
    "http://hl7.org/fhir/StructureDefinition/tz-code",
)
"""Extensions, of a resource or of an address, whose `valueCode` is a name of the time zone database."""
PRESSING: Final = frozenset({"stat", "asap", "urgent"})
"""Priorities that do not wait for the end of quiet hours."""
_ENDED: Final = frozenset({"old", "billing"})


def allowed_at(moment: datetime, zone: tzinfo, quiet: str, priority: str) -> datetime:
    """Return when a message may go that is due at a moment: then, or at the end of the quiet hours that it is in, in UTC.

    `quiet` is such as `21:00-08:00`, its end excluded; empty, or with the same time twice: never.
    """
    moment = moment.astimezone(UTC)
    begin, end = _hours(quiet)
    if begin == end or priority in PRESSING:
        return moment
    local = moment.astimezone(zone)
    at = since_midnight(local.time())
    if not (begin <= at < end if begin < end else at >= begin or at < end):
        return moment
    day = local.date() + (DAY if at >= end else timedelta())
    found = utc_of(day, end, zone)
    # Clocks that are put back show the end of quiet hours twice; within the second pass it is the second one.
    return found if found > moment else max(moment, _second(day, end, zone))


def _second(day: Any, at: timedelta, zone: tzinfo) -> datetime:
    return (datetime.combine(day, time()) + at).replace(tzinfo=zone, fold=1).astimezone(UTC)


@lru_cache(maxsize=256)
def _hours(quiet: str) -> tuple[timedelta, timedelta]:
    begin, _, end = (quiet or "00:00-00:00").partition("-")
    return since_midnight(time.fromisoformat(begin)), since_midnight(time.fromisoformat(end))


def zone_of(recipient: Resource | None, default: str) -> ZoneInfo:
    """Return the zone of a recipient: its own, that of its home or another present address, else the default.

    Names that nobody knows are passed over; a default that nobody knows is UTC.
    """
    for name in (*_named(recipient or {}), default):
        found = _zone(name)
        if found is not None:
            return found
    return ZoneInfo("UTC")


def is_zone(name: str) -> bool:
    """Tell whether the time zone database has a zone of this name."""
    return _zone(name) is not None


def _named(recipient: Resource) -> list[str]:
    addresses = recipient.get("address", ())
    # That of an Organization or a Patient is a list, that of a Location one.
    listed = [one for one in (addresses if isinstance(addresses, list) else [addresses]) if isinstance(one, dict)]
    present = [one for one in listed if one.get("use") not in _ENDED and one.get("type") != "postal"]
    present.sort(key=lambda one: one.get("use") != "home")
    return [
        extension["valueCode"]
        for owner in (recipient, *present)
        for extension in owner.get("extension", ())
        if extension.get("url") in TIME_ZONE and isinstance(extension.get("valueCode"), str)
    ]


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    # A name that is a directory of the database, or no path at all.
    except (KeyError, ValueError, OSError):
        return None
