"""What notifications need to know of an Appointment, and what settings say is sent for it.

https://hl7.org/fhir/R4/appointment-definitions.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from fhir_server.exchange import Resource
from fhir_server.fhir.dates import interval
from fhir_server.fhir.reference import parse
from prm_ext.notifications.durations import duration

TYPE: Final = "Appointment"
CANCELLED_BY: Final = "urn:prm:appointment-cancelled-by"
"""In `cancelationReason`: the code `reply` says that the patient answered a message so, and has had an answer."""
BY_REPLY: Final = "reply"
_OUT: Final = "declined"


class _Setting(msgspec.Struct, forbid_unknown_fields=True):
    booked: str = ""
    moved: str = ""
    cancelled: str = ""
    before: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Before:
    """A reminder."""

    name: str
    """As the setting has it, such as `24h`."""
    lead: timedelta
    template: str


@dataclass(frozen=True, slots=True)
class Templates:
    """The names of the templates that are sent for appointments; empty ones are not."""

    booked: str = ""
    moved: str = ""
    cancelled: str = ""
    before: Sequence[Before] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is sent."""
        return bool(self.booked or self.moved or self.cancelled or self.before)


@lru_cache(maxsize=256)
def templates_of(setting: str) -> Templates:
    """Return what the setting `reminders` says.

    Raises:
        ValueError: it is something else.
    """
    found = msgspec.json.decode(setting or "{}", type=_Setting)
    before = [Before(name, duration(name), template) for name, template in found.before.items()]
    return Templates(found.booked, found.moved or found.booked, found.cancelled, tuple(before))


@dataclass(frozen=True, slots=True)
class Booking:
    """An Appointment at one version."""

    status: str = ""
    """Empty where it has been deleted."""
    start: datetime | None = None
    patients: tuple[str, ...] = ()
    """References of the patients who take part and have not declined, such as `Patient/1`."""
    by_reply: bool = False
    """Whether it was cancelled by a reply to a message."""
    created: datetime | None = None
    security: Sequence[Mapping[str, Any]] = field(default=())

    def is_booked(self) -> bool:
        """Tell whether patients are expected."""
        return self.status == "booked"


def booking_of(resource: Resource | None, base_url: str) -> Booking:
    """Return what an Appointment says; None is one that has been deleted."""
    if resource is None:
        return Booking()
    codings = resource.get("cancelationReason", {}).get("coding", ())
    return Booking(
        resource["status"],
        _moment(resource.get("start")),
        tuple(dict.fromkeys(one for one, status in participants(resource, base_url) if status != _OUT)),
        any(one.get("system") == CANCELLED_BY and one.get("code") == BY_REPLY for one in codings),
        _moment(resource.get("created")),
        tuple(resource.get("meta", {}).get("security", ())),
    )


def participants(resource: Resource, base_url: str) -> list[tuple[str, str]]:
    """Return the patients who are asked to take part, with the status of each."""
    found = []
    for participant in resource.get("participant", ()):
        reference = participant.get("actor", {}).get("reference", "")
        target = parse(reference, base_url).target if reference else None
        if target is not None and target[0] == "Patient":
            found.append((f"Patient/{target[1]}", participant["status"]))
    return found


def _moment(text: str | None) -> datetime | None:
    return interval(text)[0] if text else None
