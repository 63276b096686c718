"""What a message says: made from its template, or as its request has it."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications import codes
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.content import Content, content_of, needs_template, rendered_mark
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.seeds import seed_named
from tests.conftest import client_of
from tests.media_files import image, pdf

NOTIFY = NotificationSettings(_env_file=None, organisation="Bay Clinic", public_url="https://prm.example.org")
REMINDER = seed_named("appointment_reminder_24h").canonical
RESULTS = seed_named("lab_results_ready").canonical
TIP = seed_named("health_tip").canonical
ELENA = {
    "resourceType": "Patient",
    "name": [{"use": "official", "given": ["María"], "family": "García"}, {"use": "usual", "text": "Elena"}],
}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TEXT = {"contentString": "Please call us."}


@pytest.fixture
async def app(settings: Settings, database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application."""
    async with client_of(settings, database) as opened:
        yield opened


@pytest.fixture
async def ctx(settings: Settings, database, tenant: str) -> Context:
    """The context that a worker has."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of(tenant, "http://test/fhir")


async def stored(app: httpx.AsyncClient, resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await app.post(resource["resourceType"], json=resource | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def booked(app: httpx.AsyncClient, *actors: str) -> dict[str, Any]:
    return await stored(
        app,
        {
            "resourceType": "Appointment",
            "status": "booked",
            "start": "2026-11-25T17:30:00Z",
            "end": "2026-11-25T18:00:00Z",
            "participant": [{"actor": {"reference": one}, "status": "accepted"} for one in actors],
        },
    )


def request_of(template: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"resourceType": "CommunicationRequest", "status": "active"}
    if template:
        found["extension"] = [{"url": codes.INSTANTIATES, "valueCanonical": template}]
    return found | more


def given(**values: str) -> dict[str, Any]:
    return {"url": codes.VARIABLES, "extension": [{"url": name, "valueString": value} for name, value in values.items()]}


async def said(
    ctx: Context, request: dict[str, Any], recipient: Any = ELENA, channel: Channel = "sms", language: str = "en"
) -> Content:
    return await content_of(ctx, NOTIFY, request, recipient, channel, language)


async def refused(ctx: Context, request: dict[str, Any], **more: Any) -> FhirError:
    with pytest.raises(FhirError) as raised:
        await said(ctx, request, **more)
    return raised.value


async def test_a_template_is_rendered_from_the_appointment_in_the_language_and_the_time_zone_of_the_recipient(app, ctx):
    zone = {"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "America/Los_Angeles"}
    patient = await stored(app, ELENA, extension=[zone])
    doctor = await stored(app, {"resourceType": "Practitioner", "name": [{"prefix": ["Dr."], "given": ["Ann"], "family": "Lee"}]})
    place = await stored(app, {"resourceType": "Location", "name": "North Wing", "address": {"text": "1 Main St"}})
    actors = [f"{one['resourceType']}/{one['id']}" for one in (patient, doctor, place)]
    appointment = await booked(app, *actors)
    request = request_of(REMINDER, about=[{"reference": f"Appointment/{appointment['id']}"}])
    english = await said(ctx, request, patient, "whatsapp")
    assert english.body == (
        "Hi Elena! Reminder: You have an appointment tomorrow at 9:30 AM with Dr. Ann Lee at North Wing."
        " Reply CONFIRM to confirm or CANCEL to cancel."
    )
    assert (english.template, english.language, english.html) == (REMINDER, "en", "")
    spanish = await said(ctx, request, patient, "email", "es-MX")
    assert spanish.body.startswith("¡Hola, Elena! Recordatorio: tiene una cita mañana a las 9:30 a.m. con Dr. Ann Lee en North")
    assert spanish.subject == "Recordatorio: su cita de mañana a las 9:30 a.m."
    assert '<html lang="es">' in spanish.html


async def test_an_appointment_of_which_only_the_time_is_known_is_told_by_its_time(app, ctx):
    patient = await stored(app, ELENA)
    appointment = await booked(app, f"Patient/{patient['id']}")
    found = await said(ctx, request_of(REMINDER, about=[{"reference": f"Appointment/{appointment['id']}"}]), patient)
    assert found.body == (
        "Hi Elena! Reminder: You have an appointment tomorrow at 5:30 PM. Reply CONFIRM to confirm or CANCEL to cancel."
    )


async def test_the_subject_of_the_request_is_the_patient_where_somebody_else_gets_the_message(app, ctx):
    child = await stored(app, {"resourceType": "Patient", "name": [{"text": "Tim Lee"}]})
    mother = {"resourceType": "RelatedPerson", "id": "m", "name": [{"text": "Ann Lee"}]}
    request = request_of(RESULTS, subject={"reference": f"Patient/{child['id']}"})
    assert (await said(ctx, request, mother)).body.startswith("Hi Tim Lee, your test results are ready.")


async def test_values_of_the_request_go_before_those_of_resources(ctx):
    request = request_of(RESULTS)
    request["extension"].append(given(patient_name="Mrs García"))
    assert (await said(ctx, request)).body.startswith("Hi Mrs García, ")


async def test_a_value_that_nobody_has_is_an_error_that_names_it(ctx):
    error = await refused(ctx, request_of(TIP))
    assert error.status == 422
    assert [(issue.code, issue.expression) for issue in error.issues] == [("required", ("tip",))]


async def test_a_template_that_is_not_there_is_an_error(ctx):
    error = await refused(ctx, request_of("urn:prm:template:none|1"))
    assert (error.status, error.issues[0].code) == (422, "not-found")


async def test_a_request_without_template_says_its_payload(ctx):
    subject = {"url": codes.SUBJECT, "valueString": "Hello\r\nBcc: all@example.org"}
    request = request_of(payload=[TEXT, {"contentString": "We are open until 5 & later <b>."}], extension=[subject])
    found = await said(ctx, request, channel="email", language="de")
    assert found.body == "Please call us.\nWe are open until 5 & later <b>."
    assert found.subject == "Hello Bcc: all@example.org"
    assert "Please call us.<br>\nWe are open until 5 &amp; later &lt;b&gt;." in found.html
    assert (found.template, found.language) == ("", "de")


async def test_a_request_with_neither_is_an_error(ctx):
    error = await refused(ctx, request_of())
    assert (error.status, error.issues[0].code) == (422, "required")


async def test_a_text_that_apply_made_is_made_again_and_one_that_somebody_changed_is_sent_as_it_is(ctx):
    made = {"extension": [rendered_mark("Hi Maria")], "contentString": "Hi Maria"}
    assert (await said(ctx, request_of(RESULTS, payload=[made]))).body.startswith("Hi Elena, ")
    changed = request_of(RESULTS, payload=[made | {"contentString": "Dear Maria"}])
    assert (await said(ctx, changed)).body == "Dear Maria"


async def test_a_document_goes_with_the_channels_that_carry_it_and_as_a_link_over_the_others(app, ctx):
    binary = await app.post("Binary", content=pdf(), headers={"Content-Type": "application/pdf"})
    url = f"Binary/{binary.json()['id']}"
    attachment = {"url": url, "contentType": "application/pdf", "title": "plan.pdf"}
    document = await stored(
        app, {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": attachment}]}
    )
    payload = [TEXT, {"contentReference": {"reference": f"DocumentReference/{document['id']}"}}]
    for channel in ("whatsapp", "email"):
        found = await said(ctx, request_of(payload=payload), channel=channel)
        assert found.body == "Please call us."
        assert [(one.mime, one.name) for one in found.media] == [("application/pdf", "plan.pdf")]
        assert found.media[0].url.startswith("https://prm.example.org/blobs/")
        fetched = await app.get(found.media[0].url.replace("https://prm.example.org", "http://test"))
        assert fetched.content == pdf()
    sms = await said(ctx, request_of(payload=payload))
    text, _, link = sms.body.partition("\nplan.pdf: ")
    assert (text, sms.media) == ("Please call us.", ())
    assert (await app.get(link.replace("https://prm.example.org", "http://test"))).content == pdf()


async def test_data_in_the_request_itself_gets_an_address(app, ctx):
    data = base64.b64encode(image()).decode()
    payload = [{"contentAttachment": {"contentType": "image/png", "data": data, "title": "map.png"}}]
    found = await said(ctx, request_of(payload=payload), channel="whatsapp")
    assert found.body == ""
    assert (await app.get(found.media[0].url.replace("https://prm.example.org", "http://test"))).content == image()


async def test_what_whatsapp_does_not_show_becomes_a_link(app, ctx):
    binary = await app.post("Binary", content=image("TIFF"), headers={"Content-Type": "image/tiff"})
    payload = [TEXT, {"contentReference": {"reference": f"Binary/{binary.json()['id']}"}}]
    found = await said(ctx, request_of(payload=payload), channel="whatsapp")
    assert found.media == ()
    assert found.body.startswith("Please call us.\nhttps://prm.example.org/blobs/")


async def test_a_file_elsewhere_is_fetched_by_whatsapp_and_linked_in_email_since_this_server_fetches_nothing(ctx):
    payload = [TEXT, {"contentAttachment": {"url": "https://files.example.org/a.pdf", "contentType": "application/pdf"}}]
    assert (await said(ctx, request_of(payload=payload), channel="whatsapp")).media[0].url == "https://files.example.org/a.pdf"
    mail = await said(ctx, request_of(payload=payload), channel="email")
    assert mail.media == ()
    assert '<a href="https://files.example.org/a.pdf"' in mail.html


async def test_files_go_with_a_template_too(ctx):
    payload = [{"contentAttachment": {"url": "https://files.example.org/a.pdf", "title": "Plan"}}]
    mail = await said(ctx, request_of(RESULTS, payload=payload), channel="email")
    assert mail.body.endswith("\nPlan: https://files.example.org/a.pdf")
    assert mail.html.count("</body>") == 1
    assert mail.html.index("Hi Elena") < mail.html.index('<a href="https://files.example.org/a.pdf"')


@pytest.mark.parametrize("reference", ["DocumentReference/none", "Observation/1"])
async def test_a_file_that_is_not_there_is_an_error(ctx, reference):
    error = await refused(ctx, request_of(payload=[TEXT, {"contentReference": {"reference": reference}}]))
    assert (error.status, error.issues[0].code) == (404, "not-found")


async def test_a_resource_that_is_no_file_is_refused(app, ctx):
    group = await stored(app, {"resourceType": "Group", "type": "person", "actual": True})
    error = await refused(ctx, request_of(payload=[{"contentReference": {"reference": f"Group/{group['id']}"}}]))
    assert (error.status, error.issues[0].code) == (422, "not-supported")


def test_whatsapp_needs_a_template_outside_of_its_window_and_the_other_channels_never():
    assert needs_template("whatsapp", None, NOW)
    assert needs_template("whatsapp", NOW - timedelta(hours=24), NOW)
    assert not needs_template("whatsapp", NOW - timedelta(hours=23, minutes=59), NOW)
    assert not needs_template("sms", None, NOW)
