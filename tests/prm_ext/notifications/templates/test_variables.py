"""The values of well-known variables, from the resources that a message is about."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Call, Context
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import names
from prm_ext.notifications.templates.variables import About, values_of
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

NOTIFY = NotificationSettings(_env_file=None)
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "name": [
        {"use": "old", "text": "Maria Former"},
        {"use": "official", "given": ["María", "Elena"], "family": "García"},
        {"use": "usual", "given": ["Elena"]},
    ],
    "managingOrganization": {"reference": "Organization/o"},
}


@pytest.fixture
async def ctx(settings: Settings, database, tenant: str) -> Context:
    """The context that a worker has."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of(tenant, "http://test/fhir")


async def store(ctx: Context, *resources: dict[str, Any]) -> None:
    for one in resources:
        await ctx.dispatch(ctx, Call("update", one["resourceType"], one["id"], resource=one))


def appointment(*actors: dict[str, Any], **more: Any) -> dict[str, Any]:
    participants = [{"actor": actor, "status": "accepted"} for actor in actors]
    times = {"start": "2026-12-01T10:00:00Z", "end": "2026-12-01T10:30:00Z"}
    return {"resourceType": "Appointment", "id": "a", "status": "booked", **times, "participant": participants, **more}


async def found(ctx: Context, about: About, *wanted: str, settings: NotificationSettings = NOTIFY) -> dict[str, str]:
    return await values_of(ctx, settings, about, wanted or tuple(WELL_KNOWN))


async def test_all_that_an_appointment_leads_to_is_found(ctx: Context) -> None:
    await store(
        ctx,
        {"resourceType": "Organization", "id": "o", "name": "Bay Clinic"},
        PATIENT,
        {"resourceType": "Practitioner", "id": "d", "name": [{"prefix": ["Dr.", "med."], "given": ["Ann"], "family": "Lee"}]},
        {
            "resourceType": "Location",
            "id": "l",
            "name": "North Wing",
            "address": {"line": ["1 Main St", "Floor 2"], "city": "Springfield", "state": "CA", "postalCode": "94103"},
            "telecom": [{"system": "email", "value": "x@example.org"}, {"system": "phone", "value": "+1 415 555 0132"}],
        },
        {"resourceType": "HealthcareService", "id": "s", "name": "Physiotherapy", "providedBy": {"reference": "Organization/o"}},
        appointment(*({"reference": one} for one in ("Patient/p", "Practitioner/d", "Location/l", "HealthcareService/s"))),
    )
    values = await found(ctx, About(recipient=PATIENT, references=("Appointment/a",)))
    assert values == {
        "patient_name": "Elena",
        "patient_first_name": "Elena",
        "patient_last_name": "García",
        "recipient_name": "Elena",
        "appointment_date": "2026-12-01T10:00:00Z",
        "appointment_time": "2026-12-01T10:00:00Z",
        "appointment_datetime": "2026-12-01T10:00:00Z",
        "appointment_end_time": "2026-12-01T10:30:00Z",
        "practitioner_name": "Ann Lee",
        "location_name": "North Wing",
        "location_address": "1 Main St, Floor 2, Springfield, CA 94103",
        "location_phone": "+1 415 555 0132",
        "organisation_name": "Bay Clinic",
        "organization_name": "Bay Clinic",
        "service_type": "Physiotherapy",
    }


async def test_the_patient_is_the_subject_else_the_recipient_else_who_comes_to_the_appointment(ctx: Context) -> None:
    await store(ctx, {"resourceType": "Organization", "id": "o", "name": "Bay Clinic"}, PATIENT)
    mother = {"resourceType": "RelatedPerson", "id": "m", "name": [{"text": "Ann Lee"}]}
    for about in (
        About(recipient=mother, references=("Patient/p",)),
        About(recipient=mother, subject=PATIENT),
        About(recipient=mother, resources=(appointment({"reference": "Patient/p"}),)),
        About(references=("http://test/fhir/Patient/p",)),
    ):
        assert (await found(ctx, about, "patient_name"))["patient_name"] == "Elena"
    assert (await found(ctx, About(recipient=mother, subject=PATIENT), "recipient_name"))["recipient_name"] == "Ann Lee"


async def test_a_practitioner_is_found_by_the_role_and_else_called_as_the_appointment_does(ctx: Context) -> None:
    role = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/d"}}
    await store(ctx, {"resourceType": "Practitioner", "id": "d", "name": [{"text": "Dr. Ann Lee"}]}, role)
    by_role = About(resources=(appointment({"reference": "PractitionerRole/r"}),))
    assert await found(ctx, by_role, "practitioner_name") == {"practitioner_name": "Ann Lee"}
    by_display = About(resources=(appointment({"reference": "Practitioner/none", "display": "Dr. Bob Ray"}),))
    assert await found(ctx, by_display, "practitioner_name") == {"practitioner_name": "Bob Ray"}
    declined = appointment({"reference": "Practitioner/d"})
    declined["participant"][0]["status"] = "declined"
    assert await found(ctx, About(resources=(declined,)), "practitioner_name") == {}


async def test_without_a_location_the_place_is_the_service_or_the_organisation(ctx: Context) -> None:
    bare = About(resources=(appointment({"display": "somebody"}, serviceType=[{"text": "Check-up"}]),))
    assert await found(ctx, bare, "location_name", "location_address", "service_type") == {"service_type": "Check-up"}
    named = await found(
        ctx, bare, "location_name", "location_address", settings=NotificationSettings(_env_file=None, organisation="Bay")
    )
    assert named == {"location_name": "Bay", "location_address": "Bay"}


async def test_orders_reports_and_plans_have_names(ctx: Context) -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": {"coding": [{"code": "1", "display": "Metformin"}]}}
    await store(ctx, medication)
    order = {"resourceType": "MedicationRequest", "id": "x", "medicationReference": {"reference": "Medication/m"}}
    report = {"resourceType": "DiagnosticReport", "id": "x", "code": {"text": "Lipid panel"}}
    plan = {"resourceType": "CarePlan", "id": "x", "title": "Recovery"}
    wanted = ("medication_name", "test_name", "care_plan_title")
    values = await found(ctx, About(resources=(order, report, plan)), *wanted)
    assert values == {"medication_name": "Metformin", "test_name": "Lipid panel", "care_plan_title": "Recovery"}


async def test_contained_resources_are_found_and_what_is_not_there_is_left_out(ctx: Context) -> None:
    request = {
        "contained": [{"resourceType": "Patient", "id": "it", "name": [{"text": "Tim"}]}],
        "subject": {"reference": "#it"},
        "about": [{"reference": "Appointment/none"}, {"display": "something"}],
    }
    values = await found(ctx, About.of_request(request, None))
    assert values == {"patient_name": "Tim", "patient_first_name": "Tim", "recipient_name": "Tim"}
    assert await found(ctx, About(), "patient_name", "tip") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dr. Ann Lee", "Ann Lee"),
        ("DR Ann Lee", "Ann Lee"),
        ("Dr. med. Ann Lee", "Ann Lee"),
        ("Dra. Ana Ruiz", "Ana Ruiz"),
        ("Doctor Who", "Who"),
        ("Drew Barry", "Drew Barry"),
        ("Dr.", "Dr."),
    ],
)
def test_the_title_of_a_doctor_is_not_said_twice(text, found):
    assert names.without_doctor(text) == found


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ({"given": ["Ana", "María"], "family": "Ruiz"}, "Ana"),
        ({"text": "Ana María Ruiz"}, "Ana"),
        ({"text": "Ruiz, Ana"}, "Ana"),
        ({"text": "Dr. Ana Ruiz"}, "Ana"),
        ({"family": "Ruiz"}, ""),
        ({}, ""),
    ],
)
def test_the_first_name_is_found_also_in_a_text(name, first):
    assert names.first(name) == first


@given(st.text(max_size=30))
def test_any_name_is_read(text):
    assert names.first({"text": text}) in text
    assert names.without_doctor(names.without_doctor(text)) == names.without_doctor(text)
