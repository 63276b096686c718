"""What happens to patients, as events: written through the interface, read from a real Valkey."""

import asyncio
import uuid

import pytest
import redis.asyncio

from fhir_server.fhir.codec import decode
from tests.conftest import client_of
from tests.publishing import publishing

PATIENTS = "http://test/api/v1/prm/patients"


@pytest.fixture
async def followed(client, settings, redis_url, tenant, monkeypatch):
    """A client of a server on a database of its own, and a function that waits for the events of that server."""
    monkeypatch.setattr("fhir_server.store.feed.AWAIT_MS", 50)
    name = f"events_{uuid.uuid4().hex[:12]}"
    chosen = {"mongodb_database": name, "redis_url": redis_url, "events_stream": f"{tenant}:events"}
    own = settings.model_copy(update=chosen)
    async with client_of(own, client[name]) as http:
        yield http, own
    await client.drop_database(name)


async def events_until(settings, last):
    async with asyncio.timeout(60), redis.asyncio.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        while True:
            entries = [decode(fields["event"].encode()) for _, fields in await client.xrange(settings.events_stream)]
            found = list({event["id"]: event for event in entries}.values())
            if any(event["type"] == last for event in found):
                return found
            await asyncio.sleep(0.05)


async def test_every_step_of_a_patients_life_has_its_name_in_the_order_of_the_steps(followed):
    http, settings = followed
    async with publishing(settings):
        id_ = (await http.post(PATIENTS, json={"legal_name": "Ada Lovelace"})).json()["id"]
        url = f"{PATIENTS}/{id_}"
        await http.patch(url, json={"city": "London"})
        await http.delete(url)
        await http.post(f"{url}/activate")
        await http.patch(url, json={"status": "inactive"})
        await http.post(f"{url}/activate")
        await http.post(
            "Observation",
            json={
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "x"},
                "subject": {"reference": f"Patient/{id_}"},
            },
        )
        found = await events_until(settings, "org.fhir.observation.created")
    of_patient = [event for event in found if event.get("partitionkey") == f"Patient/{id_}"]
    assert [(event["type"], event["id"].rpartition("/")[2]) for event in of_patient] == [
        ("PATIENT_CREATED", "1"),
        ("PATIENT_UPDATED", "2"),
        ("PATIENT_DELETED", "3"),
        ("PATIENT_REACTIVATED", "4"),
        ("PATIENT_UPDATED", "5"),
        ("PATIENT_REACTIVATED", "6"),
        ("org.fhir.observation.created", "1"),
    ]
    assert {event["tenant"] for event in found} == {settings.default_tenant}
    assert "Lovelace" not in str(found)
    assert "London" not in str(found)


async def test_a_merge_and_its_undoing_are_one_event_each(followed):
    http, settings = followed
    one = (await http.post(PATIENTS, json={"legal_name": "Ada Lovelace"})).json()["id"]
    other = (await http.post(PATIENTS, json={"legal_name": "Augusta Byron"})).json()["id"]
    async with publishing(settings):
        assert (await http.post(f"{PATIENTS}/merge", json={"primary_id": one, "duplicate_id": other})).status_code == 200
        body = {
            "resourceType": "Parameters",
            "parameter": [
                {"name": "source-patient", "valueReference": {"reference": f"Patient/{other}"}},
                {"name": "target-patient", "valueReference": {"reference": f"Patient/{one}"}},
            ],
        }
        assert (await http.post("Patient/$undo-merge", json=body)).status_code == 200
        found = await events_until(settings, "PATIENTS_UNMERGED")
    for type_ in ("PATIENTS_MERGED", "PATIENTS_UNMERGED"):
        (event,) = [event for event in found if event["type"] == type_]
        assert (event["data"]["primary_id"], event["data"]["duplicate_id"]) == (one, other)
        assert event["partitionkey"] == f"Patient/{one}"


async def test_the_resource_is_in_the_event_where_a_setting_says_so_with_its_number_masked(followed):
    http, settings = followed
    settings = settings.model_copy(update={"events_resource": True})
    async with publishing(settings):
        await http.post(PATIENTS, json={"legal_name": "Ada Lovelace", "ssn": "219-09-9999"})
        found = await events_until(settings, "PATIENT_CREATED")
    (event,) = [event for event in found if event["type"] == "PATIENT_CREATED"]
    assert event["data"]["resource"]["name"][0]["family"] == "Lovelace"
    assert "219-09-9999" not in str(found)
    assert "9999" in str(event["data"]["resource"]["identifier"])
