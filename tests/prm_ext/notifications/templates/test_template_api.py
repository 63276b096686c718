"""Templates as the product sees them: `/api/v1/prm/notifications/templates`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.validate import check_invariants, validate
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import About, render, template_named, template_of_id
from prm_ext.notifications.templates.seeds import seed_named, seeds
from tests.conftest import client_of

TEMPLATES = "http://test/api/v1/prm/notifications/templates"
SID = "HX" + "0a" * 16
NOTIFY = NotificationSettings(_env_file=None)
REMINDER = {
    "name": "visit_reminder",
    "category": "appointment-reminder",
    "channel": "whatsapp",
    "subject": "Your visit",
    "body": "Hi {patient_name}, see you {appointment_date}. Pay {price}.",
    "variants": [
        {"language": "es", "body": "Hola {patient_name}, hasta el {appointment_date}. Precio: {price}."},
        {"language": "es", "channel": "sms", "body": "Hola {patient_first_name}: {price}"},
    ],
    "variables": [{"name": "price", "type": "money", "format": "EUR", "default": "10", "sample": "12.50"}],
    "content_sid": SID,
    "content_variables": {"1": "patient_name", "2": "price"},
}


@pytest.fixture
async def prm(settings: Settings, database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with templates."""
    async with client_of(settings, database) as opened:
        yield opened


@pytest.fixture
async def ctx(settings: Settings, database, tenant: str) -> Context:
    """The context that a worker has."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of(tenant, "http://test/fhir")


async def created(prm: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await prm.post(TEMPLATES, json={"name": "hello", "body": "Hi {patient_name}!"} | more)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/v1/prm/notifications/templates/{answer.json()['id']}"
    return answer.json()


async def patched(prm: httpx.AsyncClient, id_: str, **more: Any) -> dict[str, Any]:
    answer = await prm.patch(f"{TEMPLATES}/{id_}", json=more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(prm: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await prm.get(TEMPLATES, params=params)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["items"]]


def errors(answer: httpx.Response) -> list[tuple[str | None, str]]:
    return [(one.get("field"), one["code"]) for one in answer.json()["errors"]]


async def text_of(ctx: Context, canonical: str, **variables: str) -> str:
    return (await render(ctx, NOTIFY, canonical, channel="sms", language="en", variables=variables, about=About())).body


async def test_a_template_comes_back_as_it_was_sent_and_is_a_valid_activity_definition(prm: httpx.AsyncClient, tenant) -> None:
    found = await created(prm, **REMINDER)
    read = await prm.get(f"{TEMPLATES}/{found['id']}")
    assert read.json() == found
    assert read.headers["ETag"] == 'W/"1"'
    for name in ("name", "category", "channel", "subject", "body", "content_sid", "content_variables"):
        assert found[name] == REMINDER[name]
    assert [{k: v for k, v in one.items() if v is not None} for one in found["variants"]] == REMINDER["variants"]
    assert found["variables"] == [REMINDER["variables"][0] | {"description": ""}]
    assert found["uses"] == ["patient_name", "appointment_date", "price", "patient_first_name"]
    assert (found["version"], found["status"], found["org_id"]) == ("1", "active", tenant)
    assert (found["language"], found["languages"], found["title"]) == ("en", ["en", "es"], "Visit reminder")
    assert found["canonical"].endswith("|1")
    assert found["built_in"] is False
    resource = (await prm.get(f"ActivityDefinition/{found['id']}")).json()
    assert validate(resource) == []
    assert [issue for issue in check_invariants(resource) if issue.severity == "error"] == []
    assert resource["dynamicValue"][0]["expression"]["expression"] == (
        "'Hi ' & %patient_name & ', see you ' & %appointment_date & '. Pay ' & %price & '.'"
    )


@pytest.mark.parametrize(
    ("more", "field", "code"),
    [
        ({"body": "Hi {who}!"}, "body", "not-found"),
        ({"body": "Hi {patient_name.__class__}!"}, "body", "value"),
        ({"body": "Hi {patient_name!r}!"}, "body", "value"),
        ({"body": "Hi {patient_name:>10}!"}, "body", "value"),
        ({"body": "Hi {!"}, "body", "value"),
        ({"body": "Hi }!"}, "body", "value"),
        ({"body": " "}, "body", "required"),
        ({"body": "Hi \u202eevil"}, "body", "value"),
        ({"subject": "{who}"}, "subject", "not-found"),
        (
            {"variants": [{"language": "es", "body": "Hola"}, {"channel": "sms", "body": "{who}"}]},
            "variants[1].body",
            "not-found",
        ),
        ({"variants": [{"language": "es", "subject": "Hola"}]}, "subject", "required"),
        ({"variants": [{"language": "es", "content_sid": SID}]}, "variants[0].content_sid", "required"),
        ({"content_sid": SID, "content_variables": {"1": "who"}}, "content_variables", "not-found"),
        ({"variables": [{"name": "x", "type": "money", "default": "much"}]}, "variables[0].default", "value"),
        ({"variables": [{"name": "x", "type": "money", "format": "euro"}]}, "variables[0].format", "value"),
        ({"variables": [{"name": "x", "type": "date", "format": "yyyy"}]}, "variables[0].format", "value"),
        ({"variables": [{"name": "x", "type": "number", "sample": "1e999999"}]}, "variables[0].sample", "value"),
    ],
)
async def test_what_could_not_be_sent_is_refused_with_its_field(prm, more, field, code) -> None:
    answer = await prm.post(TEMPLATES, json={"name": "hello", "body": "Hi!"} | more)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (field, code) in errors(answer)


@pytest.mark.parametrize(
    "more",
    [
        {"name": "Hello World"},
        {"category": "spam"},
        {"channel": "fax"},
        {"language": "english please"},
        {"content_sid": "MG1"},
        {"nonsense": 1},
        {"body": "x" * 10_001},
        {"variables": ["not a name"]},
    ],
)
async def test_what_does_not_fit_the_schema_is_refused(prm: httpx.AsyncClient, more: dict[str, Any]) -> None:
    answer = await prm.post(TEMPLATES, json={"name": "hello", "body": "Hi!"} | more)
    assert answer.status_code == 422
    assert errors(answer)[0][0].split("[")[0] == next(iter(more))


async def test_a_variable_named_alone_is_the_well_known_one_or_a_text(prm: httpx.AsyncClient) -> None:
    found = await created(prm, body="{patient_name} {appointment_date} {tip}", variables=["appointment_date", "tip"])
    assert [(one["name"], one["type"]) for one in found["variables"]] == [("appointment_date", "date"), ("tip", "text")]


async def test_a_name_is_taken_once_also_by_drafts_but_not_by_what_is_retired(prm: httpx.AsyncClient) -> None:
    first = await created(prm, status="draft")
    answer = await prm.post(TEMPLATES, json={"name": "hello", "body": "Again"})
    assert (answer.status_code, errors(answer)) == (409, [("name", "duplicate")])
    await patched(prm, first["id"], status="retired")
    second = await created(prm)
    assert second["canonical"].partition("|")[0] != first["canonical"].partition("|")[0]
    answer = await prm.patch(f"{TEMPLATES}/{first['id']}", json={"status": "active"})
    assert (answer.status_code, errors(answer)) == (409, [("name", "duplicate")])
    other = await created(prm, name="other")
    answer = await prm.patch(f"{TEMPLATES}/{other['id']}", json={"name": "hello"})
    assert (answer.status_code, errors(answer)) == (409, [("name", "duplicate")])


async def test_a_change_of_content_makes_a_version_and_another_does_not(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm))["id"]
    assert (await patched(prm, id_, status="draft", description="For all"))["version"] == "1"
    found = await patched(prm, id_, body="Hello {patient_name}!")
    assert (found["version"], found["body"], found["description"], found["status"]) == (
        "2",
        "Hello {patient_name}!",
        "For all",
        "draft",
    )
    assert (await patched(prm, id_, body="Hello {patient_name}!"))["version"] == "2"
    assert (await patched(prm, id_, channel="sms"))["version"] == "3"
    assert (await patched(prm, id_, variants=[{"language": "de", "body": "Hallo"}]))["languages"] == ["en", "de"]
    assert (await patched(prm, id_, channel=None))["channel"] is None
    answer = await prm.get(f"{TEMPLATES}/{id_}/versions")
    assert [one["version"] for one in answer.json()["items"]] == ["5", "4", "3", "2", "1"]
    assert [one["body"] for one in answer.json()["items"]][-1] == "Hi {patient_name}!"


async def test_a_change_is_made_to_the_version_that_was_read(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm))["id"]
    await patched(prm, id_, body="Two")
    answer = await prm.patch(f"{TEMPLATES}/{id_}", json={"body": "Three"}, headers={"If-Match": 'W/"1"'})
    assert answer.status_code == 412
    answer = await prm.patch(f"{TEMPLATES}/{id_}", json={"body": "Three"}, headers={"If-Match": 'W/"2"'})
    assert (answer.status_code, answer.json()["version"], answer.headers["ETag"]) == (200, "3", 'W/"3"')


async def test_a_version_says_what_it_said_after_later_edits_and_retirement(prm: httpx.AsyncClient, ctx: Context) -> None:
    first = await created(prm, body="One {patient_name}")
    second = await patched(prm, first["id"], body="Two {patient_name}")
    assert await text_of(ctx, second["canonical"], patient_name="A") == "Two A"
    await patched(prm, first["id"], status="retired")
    assert await text_of(ctx, first["canonical"], patient_name="A") == "One A"
    assert await text_of(ctx, second["canonical"], patient_name="A") == "Two A"
    with pytest.raises(FhirError, match="not-found"):
        await text_of(ctx, first["canonical"].replace("|1", "|9"))


async def test_what_only_an_ehr_knows_stays_through_a_change(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm))["id"]
    resource = (await prm.get(f"ActivityDefinition/{id_}")).json()
    resource |= {"publisher": "EHR", "extension": [{"url": "urn:x", "valueString": "y"}]}
    resource["topic"].append({"text": "Greetings"})
    value = {"path": "priority", "expression": {"language": "text/fhirpath", "expression": "'urgent'"}}
    resource["dynamicValue"].append(value)
    assert (await prm.put(f"ActivityDefinition/{id_}", json=resource)).status_code == 200
    await patched(prm, id_, body="Hello", channel="sms")
    found = (await prm.get(f"ActivityDefinition/{id_}")).json()
    assert (found["publisher"], found["extension"]) == ("EHR", [{"url": "urn:x", "valueString": "y"}])
    assert found["topic"][-1] == {"text": "Greetings"}
    assert found["dynamicValue"][-1] == value


async def test_a_draft_that_was_never_active_is_deleted_and_another_is_retired(prm: httpx.AsyncClient) -> None:
    draft = await created(prm, name="draft", status="draft")
    assert (await prm.delete(f"{TEMPLATES}/{draft['id']}")).status_code == 204
    assert (await prm.get(f"{TEMPLATES}/{draft['id']}")).status_code == 410
    used = await created(prm, name="used")
    await patched(prm, used["id"], status="draft")
    assert (await prm.delete(f"{TEMPLATES}/{used['id']}")).status_code == 204
    assert (await prm.get(f"{TEMPLATES}/{used['id']}")).json()["status"] == "retired"
    assert (await prm.delete(f"{TEMPLATES}/none")).status_code == 404
    answer = await prm.delete(f"{TEMPLATES}/built-in.health-tip")
    assert (answer.status_code, errors(answer)) == (409, [(None, "business-rule")])


async def test_templates_are_listed_and_narrowed_with_those_that_are_built_in_behind(prm: httpx.AsyncClient) -> None:
    await created(prm, **REMINDER)
    await created(prm, name="draft_one", status="draft", channel="sms", category="journey")
    assert await listed(prm) == ["draft_one", "visit_reminder", *seeds()]
    assert await listed(prm, status="draft") == ["draft_one"]
    assert await listed(prm, category="journey") == ["draft_one", "journey_milestone"]
    assert await listed(prm, channel="sms") == ["draft_one"]
    assert await listed(prm, name="visit") == ["visit_reminder"]
    assert (await listed(prm, channel="whatsapp"))[:2] == ["visit_reminder", "appointment_confirmed"]


async def test_pages_follow_each_other_across_both_kinds(prm: httpx.AsyncClient) -> None:
    for number in range(3):
        await created(prm, name=f"own_{number}")
    found, cursor = [], ""
    for _ in range(20):
        page = (await prm.get(TEMPLATES, params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == ["own_2", "own_1", "own_0", *seeds()]
    answer = await prm.get(TEMPLATES, params={"cursor": "built-in:x"})
    assert (answer.status_code, errors(answer)) == (422, [("cursor", "value")])


async def test_a_built_in_template_is_read_shown_and_replaced_by_changing_it(prm: httpx.AsyncClient, ctx: Context) -> None:
    found = (await prm.get(f"{TEMPLATES}/built-in.appointment-confirmed")).json()
    assert (found["name"], found["built_in"], found["version"]) == ("appointment_confirmed", True, "1")
    assert found["body"] == (
        "✅ Your appointment is confirmed for {appointment_date} at {appointment_time} with Dr. {practitioner_name}."
        " Location: {location_address}. See you then!"
    )
    versions = (await prm.get(f"{TEMPLATES}/built-in.appointment-confirmed/versions")).json()["items"]
    assert [one["version"] for one in versions] == ["1"]
    own = await patched(prm, found["id"], body="See you {appointment_date}")
    assert (own["built_in"], own["name"], own["languages"]) == (False, "appointment_confirmed", found["languages"])
    assert (await listed(prm)).count("appointment_confirmed") == 1
    assert await template_named(ctx, "appointment_confirmed") == own["canonical"]
    assert found["canonical"] == seed_named("appointment_confirmed").canonical
    assert "✅ Your" in await text_of(
        ctx,
        found["canonical"],
        appointment_date="2026-11-25",
        appointment_time="10:00",
        practitioner_name="A",
        location_address="B",
    )


async def test_a_name_stands_for_what_is_in_use(prm: httpx.AsyncClient, ctx: Context) -> None:
    assert await template_named(ctx, "health_tip") == seed_named("health_tip").canonical
    draft = await created(prm, name="health_tip", status="draft")
    assert await template_named(ctx, "health_tip") == seed_named("health_tip").canonical
    with pytest.raises(FhirError, match="is draft"):
        await template_of_id(ctx, draft["id"])
    await patched(prm, draft["id"], status="active")
    assert await template_named(ctx, "health_tip") == draft["canonical"]
    assert await template_of_id(ctx, draft["id"]) == draft["canonical"]
    await patched(prm, draft["id"], status="retired")
    with pytest.raises(FhirError, match="retired"):
        await template_named(ctx, "health_tip")
    with pytest.raises(FhirError, match="not known"):
        await template_named(ctx, "nonsense")
    await created(prm, name="only_a_draft", status="draft")
    with pytest.raises(FhirError, match="draft only"):
        await template_named(ctx, "only_a_draft")
    assert await template_of_id(ctx, "built-in.health-tip") == seed_named("health_tip").canonical


async def test_a_definition_that_an_ehr_wrote_is_a_template_too(prm: httpx.AsyncClient, ctx: Context) -> None:
    value = {
        "path": "payload[0].contentString",
        "expression": {"language": "text/fhirpath", "expression": "'Hi ' + %who"},
    }
    resource = {"resourceType": "ActivityDefinition", "status": "active", "name": "ehr", "kind": "CommunicationRequest"}
    answer = await prm.post("ActivityDefinition", json=resource | {"url": "http://ehr.example.org/hi", "dynamicValue": [value]})
    assert answer.status_code == 201
    canonical = await template_named(ctx, "ehr")
    assert canonical == "http://ehr.example.org/hi"
    assert await text_of(ctx, canonical, who="A") == "Hi A"
    assert await text_of(ctx, f"ActivityDefinition/{answer.json()['id']}", who="A") == "Hi A"
    with pytest.raises(FhirError, match=r"no value for \{who\}"):
        await text_of(ctx, canonical)


async def preview(prm: httpx.AsyncClient, id_: str, **body: Any) -> list[dict[str, Any]]:
    answer = await prm.post(f"{TEMPLATES}/{id_}/preview", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_a_preview_shows_each_channel_and_language_with_samples(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm, **REMINDER))["id"]
    found = {(one["channel"], one["language"]): one for one in await preview(prm, id_)}
    assert set(found) == {("whatsapp", "en"), ("whatsapp", "es"), ("sms", "en"), ("sms", "es")}
    whatsapp = found["whatsapp", "en"]
    assert whatsapp["body"] == "Hi Elena García, see you November 25, 2026. Pay €12.50."
    assert (whatsapp["content_sid"], whatsapp["content_variables"]) == (SID, {"1": "Elena García", "2": "€12.50"})
    assert (whatsapp["segments"], whatsapp["html"]) == (None, None)
    sms = found["sms", "es"]
    assert (sms["body"], sms["encoding"], sms["segments"], sms["characters"]) == ("Hola Elena: 12,50 €", "GSM-7", 1, 19)


async def test_a_preview_counts_segments_and_escapes_html(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm, body="{patient_name} ✅ <b> " + "x" * 70, subject="About {patient_name}"))["id"]
    (sms,) = await preview(prm, id_, channel="sms")
    assert (sms["encoding"], sms["segments"]) == ("UCS-2", 2)
    (mail,) = await preview(prm, id_, channel="email", variables={"patient_name": "<i>Eve</i>\r\nBcc: x"})
    assert mail["subject"] == "About <i>Eve</i> Bcc: x"
    assert "&lt;i&gt;Eve&lt;/i&gt; Bcc: x ✅ &lt;b&gt; xxx" in mail["html"]
    assert "<i>" not in mail["html"]


async def test_a_preview_is_shown_for_a_patient_and_an_appointment(prm: httpx.AsyncClient) -> None:
    patient = (await prm.post("Patient", json={"resourceType": "Patient", "name": [{"text": "Tim Lee"}]})).json()["id"]
    actor = {"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}
    appointment = {
        "resourceType": "Appointment",
        "status": "booked",
        "start": "2026-12-01T23:30:00Z",
        "end": "2026-12-01T23:45:00Z",
    }
    id_ = (await prm.post("Appointment", json=appointment | {"participant": [actor]})).json()["id"]
    template = (await created(prm, body="{patient_name} {appointment_date} {appointment_time}"))["id"]
    asked = {"channel": "sms", "language": "en", "patient_id": patient, "appointment_id": id_}
    assert (await preview(prm, template, **asked))[0]["body"] == "Tim Lee December 1, 2026 11:30 PM"
    assert (await preview(prm, template, **asked, time_zone="Europe/Berlin"))[0]["body"] == "Tim Lee December 2, 2026 12:30 AM"


async def test_a_preview_without_a_value_says_which_is_missing(prm: httpx.AsyncClient) -> None:
    id_ = (await created(prm, body="{tip} {price}", variables=["tip", {"name": "price", "type": "number"}]))["id"]
    answer = await prm.post(f"{TEMPLATES}/{id_}/preview", json={"variables": {"price": "free"}})
    assert answer.status_code == 422
    assert errors(answer) == [("variables.tip", "required"), ("variables.price", "value")]
    assert "free" not in answer.json()["errors"][1]["message"]
    assert (await preview(prm, id_, channel="sms", variables={"tip": "Drink", "price": 1234.5}))[0]["body"] == "Drink 1,234.5"
    answer = await prm.post(f"{TEMPLATES}/{id_}/preview", json={"time_zone": "../etc/passwd"})
    assert (answer.status_code, errors(answer)) == (422, [(None, "value")])


async def test_templates_of_other_tenants_are_not_there(prm: httpx.AsyncClient, settings: Settings, database) -> None:
    id_ = (await created(prm))["id"]
    other = settings.model_copy(update={"default_tenant": "other" + settings.default_tenant})
    async with client_of(other, database) as stranger:
        assert (await stranger.get(f"{TEMPLATES}/{id_}")).status_code == 404
        assert await listed(stranger, name="hello") == []
