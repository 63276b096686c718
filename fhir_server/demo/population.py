"""The population: clinics and their patients, as transaction Bundles that may be loaded again and again."""

from collections.abc import Iterator
from datetime import date

from fhir_server.demo.appointments import coming_bookings, past_bookings
from fhir_server.demo.build import Resource
from fhir_server.demo.care import allergies_of, card_photo, care_plans_of, notes_of, prescriptions_of, procedures_of, vaccines_of
from fhir_server.demo.clinic import PATIENTS_PER_CLINIC, network, open_clinic
from fhir_server.demo.household import describe
from fhir_server.demo.measures import measures_of
from fhir_server.demo.messages import campaign_of, reminders_of
from fhir_server.demo.person import Person, meet
from fhir_server.demo.visits import problems_of, visits_of

DEFAULT_TODAY = date(2026, 11, 23)
"""The day on which the demonstration takes place, so that the same seed gives the same population on any day."""

BUNDLE_ENTRIES = 300


def population(patients: int = 120, seed: int = 1, *, today: date = DEFAULT_TODAY) -> Iterator[Resource]:
    """Yield transaction Bundles of PUTs with stable ids, of about `BUNDLE_ENTRIES` entries at most.

    The same arguments give the same Bundles, and a patient is the same whatever the size of the population. What is
    referred to stands in the same Bundle or in an earlier one.
    """
    waiting: list[Resource] = []
    for resources in _groups(patients, seed, today):
        if waiting and len(waiting) + len(resources) > BUNDLE_ENTRIES:
            yield _transaction(waiting)
            waiting = []
        waiting += resources
    if waiting:
        yield _transaction(waiting)


def resources_of(patients: int = 120, seed: int = 1, *, today: date = DEFAULT_TODAY) -> Iterator[Resource]:
    """Yield the resources of the population, one by one."""
    for group in _groups(patients, seed, today):
        yield from group


def _groups(patients: int, seed: int, today: date) -> Iterator[list[Resource]]:
    """Yield what belongs together: a clinic, or a patient with all records."""
    if patients > 0:
        yield network(seed)
    for first in range(0, patients, PATIENTS_PER_CLINIC):
        clinic, resources = open_clinic(seed, first // PATIENTS_PER_CLINIC, today)
        yield resources
        for number in range(first, min(first + PATIENTS_PER_CLINIC, patients)):
            yield list(_records(meet(seed, number + 1, clinic, today)))


def _records(person: Person) -> Iterator[Resource]:
    yield from describe(person)
    problems = problems_of(person)
    visits = visits_of(person, problems)
    bookings = past_bookings(person, visits)
    for problem in problems:
        yield problem.condition
    for visit in visits:
        yield visit.encounter
        yield from measures_of(person, visit)
        yield from prescriptions_of(person, visit)
    yield from vaccines_of(person, visits)
    yield from allergies_of(person)
    yield from procedures_of(person, visits)
    yield from care_plans_of(person, problems)
    yield from notes_of(person, visits)
    if person.rng.random() < 0.2:
        yield card_photo(person)
    for booking, slot in coming_bookings(person):
        yield slot
        bookings.append(booking)
    for booking in bookings:
        yield booking.appointment
    yield from reminders_of(person, bookings)
    yield from campaign_of(person)


def _transaction(resources: list[Resource]) -> Resource:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"https://demo.example.org/fhir/{resource['resourceType']}/{resource['id']}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ],
    }
