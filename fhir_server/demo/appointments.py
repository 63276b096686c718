"""Appointments: those that led to visits, the missed and cancelled, and the coming ones with their slots."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fhir_server.demo.build import SNOMED, THO, Element, Resource, concept, later_workdays, moment, reference
from fhir_server.demo.clinic import PATIENTS_PER_CLINIC, SLOT_MINUTES, Staff, slot
from fhir_server.demo.person import Person
from fhir_server.demo.visits import Visit

_MORNING = tuple((hour, minute) for hour in (9, 10, 11, 12) for minute in (0, 30))
_DOCTORS = 3
COMING = frozenset({"booked", "pending"})


@dataclass(frozen=True, slots=True)
class Booking:
    """An appointment, and what messages need to know of it."""

    key: str
    start: datetime
    staff: Staff
    appointment: Resource

    @property
    def reference(self) -> Element:
        """A Reference to the Appointment."""
        return reference(self.appointment)

    @property
    def status(self) -> str:
        """Its status."""
        return str(self.appointment["status"])


def past_bookings(person: Person, visits: list[Visit]) -> list[Booking]:
    """Return the appointments of the last two visits, each linked from its Encounter, and perhaps one that failed."""
    rng = person.rng
    bookings = []
    for visit in visits[-2:]:
        booking = _book(person, f"visit{visit.number}", visit.start, visit.staff, "fulfilled")
        visit.encounter["appointment"] = [booking.reference]
        bookings.append(booking)
    if rng.random() < 0.2:
        day = next(iter(later_workdays(visits[-1].start.date() - timedelta(days=rng.randint(20, 60)), 1)))
        start = moment(person.clinic.city, day, rng.randint(9, 16), 45)
        booking = _book(person, "missed", start, person.doctor, rng.choice(("noshow", "cancelled")))
        if booking.status == "cancelled":
            reason = concept(THO + "appointment-cancellation-reason", "pat", "Patient")
            booking.appointment["cancelationReason"] = reason
        bookings.append(booking)
    return bookings


def coming_bookings(person: Person) -> Iterator[tuple[Booking, Resource]]:
    """Return the coming appointment of about three in five living patients, with the Slot that it takes.

    Each patient has a morning half-hour of the clinic that is no other patient's.
    """
    if person.deceased or person.rng.random() > 0.62:
        return
    place = person.number % PATIENTS_PER_CLINIC
    doctor, nth = (2, place) if person.age < 18 else (person.number % 2, place)
    day = list(later_workdays(person.today, nth // len(_MORNING) * 3 + person.rng.randint(1, 3)))[-1]
    hour, minute = _MORNING[nth % len(_MORNING)]
    staff = person.clinic.staff[doctor % _DOCTORS]
    status = person.rng.choices(("booked", "pending", "cancelled"), (80, 12, 8))[0]
    booking = _book(person, "next", moment(person.clinic.city, day, hour, minute), staff, status)
    taken = "free" if status == "cancelled" else "busy-tentative" if status == "pending" else "busy"
    place_taken = _slot(person, staff, (day, hour, minute), taken)
    booking.appointment["slot"] = [reference(place_taken)]
    if status == "cancelled":
        booking.appointment["cancelationReason"] = concept(THO + "appointment-cancellation-reason", "pat", "Patient")
    yield booking, place_taken


def _slot(person: Person, staff: Staff, when: tuple[date, int, int], status: str) -> Resource:
    return slot(person.clinic, staff, f"{person.number}-next", when, status)


def _book(person: Person, key: str, start: datetime, staff: Staff, status: str) -> Booking:
    accepted = {"booked": "accepted", "fulfilled": "accepted", "noshow": "accepted", "cancelled": "declined"}.get(
        status, "needs-action"
    )
    kind = (
        ("FOLLOWUP", "A follow up visit from a previous appointment") if key != "missed" else ("ROUTINE", "Routine appointment")
    )
    created = moment(person.clinic.city, start.date() - timedelta(days=person.rng.randint(15, 40)), 11, 30)
    appointment: Resource = {
        "resourceType": "Appointment",
        "id": person.new_id("appointment", key),
        "identifier": [{"system": "https://demo.example.org/appointment", "value": f"APT{person.number:07d}-{key}"}],
        "status": status,
        "serviceCategory": [concept(THO + "service-category", "17", "General Practice")],
        "serviceType": [concept(THO + "service-type", "124", "General Practice")],
        "specialty": [staff.specialty],
        "appointmentType": concept(THO + "v2-0276", *kind),
        "reasonCode": [concept(SNOMED, "185349003", "Encounter for check up")],
        "priority": 0,
        "description": f"Visit with {staff.name}",
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=SLOT_MINUTES)).isoformat(),
        "minutesDuration": SLOT_MINUTES,
        "created": created.isoformat(),
        "participant": [
            {"actor": person.reference, "required": "required", "status": accepted},
            {
                "type": [concept(THO + "v3-ParticipationType", "PPRF", "primary performer")],
                "actor": staff.reference,
                "required": "required",
                "status": "accepted",
            },
            {"actor": person.clinic.site, "required": "information-only", "status": "accepted"},
        ],
    }
    return Booking(key, start, staff, appointment)
