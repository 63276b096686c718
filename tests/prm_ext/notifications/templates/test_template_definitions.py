"""Templates at the FHIR door: what is asked of an ActivityDefinition, and what $apply makes of one."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.exchange import Context
from fhir_server.fhir.validate import validate
from fhir_server.search.index import index_models
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database
from prm_ext.notifications import codes
from prm_ext.notifications.content import content_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.resource import to_resource
from prm_ext.notifications.templates.seeds import seed_named
from prm_ext.notifications.templates.values import Variable
from tests.conftest import client_of

NOTIFY = NotificationSettings(_env_file=None)
URL = "urn:prm:template:t"


@pytest.fixture
async def fhir(settings: Settings, database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with templates, in which there are a patient and an appointment."""
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "name": [{"given": ["Elena"], "family": "García"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es"}]}}],
    }
    appointment = {"resourceType": "Appointment", "id": "a1", "status": "booked", "start": "2026-12-01T10:00:00Z"}
    appointment |= {"end": "2026-12-01T10:15:00Z", "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}]}
    async with client_of(settings, database) as opened:
        for resource in (patient, appointment):
            assert (await opened.put(f"{resource['resourceType']}/{resource['id']}", json=resource)).status_code == 201
        yield opened


@pytest.fixture
async def ctx(settings: Settings, database, tenant: str) -> Context:
    """The context that a worker has."""
    return await Contexts(Database(database, settings, index_models, WORDS), settings).of(tenant, "http://test/fhir")


def definition(body: str = "Hi {patient_name}", version: str = "1", **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"name": "hello", "language": "en", "url": URL, "version": version, "category": "journey"}
    return to_resource(Template(**values | {"bodies": {("en", ""): body, ("es", ""): f"¡{body}!"}} | more))


def issue(answer: httpx.Response) -> tuple[int, str, str]:
    found = answer.json()["issue"][0]
    return answer.status_code, found["code"], found.get("expression", [""])[0]


async def test_a_template_that_could_not_be_sent_is_refused(fhir: httpx.AsyncClient) -> None:
    unknown = definition()
    unknown["dynamicValue"][0]["expression"]["expression"] = "'Hi ' & %who"
    assert issue(await fhir.post("ActivityDefinition", json=unknown)) == (422, "not-found", "ActivityDefinition.dynamicValue")
    code = definition()
    code["dynamicValue"][0]["expression"]["expression"] = "%patient_name.upper()"
    assert issue(await fhir.post("ActivityDefinition", json=code)) == (422, "value", "ActivityDefinition.dynamicValue")
    for name in ("url", "version", "name"):
        lacking = definition()
        del lacking[name]
        found = issue(await fhir.post("ActivityDefinition", json=lacking))
        assert found == (422, "required", f"ActivityDefinition.{name}")


async def test_definitions_of_other_things_are_none_of_our_business(fhir: httpx.AsyncClient) -> None:
    other = {"resourceType": "ActivityDefinition", "status": "active", "kind": "CommunicationRequest"}
    assert (await fhir.post("ActivityDefinition", json=other)).status_code == 201
    value = {"path": "payload.content", "expression": {"language": "text/cql", "expression": "Anything"}}
    assert (await fhir.post("ActivityDefinition", json=other | {"dynamicValue": [value]})).status_code == 201


async def test_a_version_that_was_in_use_stays_what_it_is(fhir: httpx.AsyncClient) -> None:
    def put(resource: dict[str, Any]) -> Any:
        return fhir.put("ActivityDefinition/t", json=resource | {"id": "t"})

    assert (await put(definition("One", status="draft"))).status_code == 201
    assert (await put(definition("Two"))).status_code == 200
    assert issue(await put(definition("Three"))) == (422, "business-rule", "ActivityDefinition.version")
    assert (await put(definition("Two", status="retired", description="Old"))).status_code == 200
    assert (await put(definition("Three", "2"))).status_code == 200
    assert issue(await put(definition("Four", "1"))) == (422, "business-rule", "ActivityDefinition.version")
    assert (await put(definition("Two", "1"))).status_code == 200
    assert (await fhir.delete("ActivityDefinition/t")).status_code in (200, 204)
    assert issue(await put(definition("Five", "2"))) == (422, "business-rule", "ActivityDefinition.version")
    assert (await put(definition("Five", "3"))).status_code == 201


async def test_apply_makes_a_draft_in_the_language_of_the_patient_that_says_what_it_was_made_from(fhir) -> None:
    resource = definition("{patient_name}: {appointment_time}", subjects={("en", ""): "News"}, channel="sms", title="T")
    await fhir.put("ActivityDefinition/t", json=resource | {"id": "t"})
    answer = await fhir.get("ActivityDefinition/t/$apply?subject=Patient/p1&about=Appointment/a1")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert validate(found) == []
    assert found["payload"][0]["contentString"] == "¡Elena García: 10:00!"
    assert (found["status"], found["language"]) == ("draft", "es")
    assert found["recipient"] == [{"reference": "Patient/p1"}]
    assert found["about"] == [{"reference": "Appointment/a1"}]
    assert codes.channels_of(found["medium"]) == ("sms",)
    assert codes.kind_of(found["category"]) == "journey"
    extensions = {one["url"]: one for one in found["extension"]}
    assert extensions[codes.INSTANTIATES]["valueCanonical"] == f"{URL}|1"
    assert extensions[codes.SUBJECT]["valueString"] == "News"
    english = await fhir.get(
        "ActivityDefinition/t/$apply?subject=Patient/p1&about=Appointment/a1&userLanguage=urn:ietf:bcp:47|en-US"
    )
    assert english.json()["payload"][0]["contentString"] == "Elena García: 10:00 AM"


async def test_what_apply_made_can_be_sent_and_what_it_was_given_is_kept(fhir: httpx.AsyncClient, ctx: Context) -> None:
    resource = definition("{patient_name} {tip}", variables={"tip": Variable("tip")})
    await fhir.put("ActivityDefinition/t", json=resource | {"id": "t"})
    draft = (await fhir.get("ActivityDefinition/t/$apply?subject=Patient/p1&variable=tip=Drink%20water")).json()
    stored = await fhir.post("CommunicationRequest", json=draft | {"status": "active"})
    assert stored.status_code == 201
    patient = (await fhir.get("Patient/p1")).json()
    assert (await content_of(ctx, NOTIFY, stored.json(), patient, "sms", "en")).body == "Elena García Drink water"
    patient["name"] = [{"text": "Lena"}]
    await fhir.put("Patient/p1", json=patient)
    assert (await content_of(ctx, NOTIFY, stored.json(), patient, "sms", "es")).body == "¡Lena Drink water!"
    edited = stored.json()
    edited["payload"][0]["contentString"] = "Dear Elena"
    assert (await content_of(ctx, NOTIFY, edited, patient, "sms", "es")).body == "Dear Elena"


async def test_a_value_that_is_missing_is_named(fhir: httpx.AsyncClient) -> None:
    resource = definition("{appointment_time}")
    await fhir.put("ActivityDefinition/t", json=resource | {"id": "t"})
    answer = await fhir.get("ActivityDefinition/t/$apply?subject=Patient/p1")
    assert issue(answer) == (422, "required", "appointment_time")


async def test_a_definition_with_expressions_of_its_own_is_applied_as_any(fhir: httpx.AsyncClient) -> None:
    value = {"path": "payload.content", "expression": {"language": "text/fhirpath", "expression": "'Hi ' & %subject.name.family"}}
    other = {"resourceType": "ActivityDefinition", "status": "active", "kind": "CommunicationRequest", "dynamicValue": [value]}
    answer = await fhir.post("ActivityDefinition/$apply?subject=Patient/p1", json=other)
    assert answer.json()["payload"] == [{"contentString": "Hi García"}]
    value["expression"]["expression"] = "'Hi ' & %gender"
    assert issue(await fhir.post("ActivityDefinition/$apply?subject=Patient/p1", json=other))[:2] == (422, "invalid")


async def test_a_template_is_an_action_of_a_plan(fhir: httpx.AsyncClient) -> None:
    await fhir.put("ActivityDefinition/t", json=definition() | {"id": "t"})
    plan = {"resourceType": "PlanDefinition", "status": "active", "action": [{"definitionCanonical": f"{URL}|1"}]}
    found = (await fhir.post("PlanDefinition/$apply?subject=Patient/p1", json=plan)).json()
    assert found["contained"][1]["payload"][0]["contentString"] == "¡Hi Elena García!"


async def test_built_in_templates_are_definitions_too_when_they_are_stored(fhir: httpx.AsyncClient) -> None:
    stored = await fhir.post("ActivityDefinition", json=to_resource(seed_named("lab_results_ready")))
    assert stored.status_code == 201
    answer = await fhir.get(f"ActivityDefinition/{stored.json()['id']}/$apply?subject=Patient/p1")
    assert answer.json()["payload"][0]["contentString"].startswith("Hola, Elena García: los resultados")
