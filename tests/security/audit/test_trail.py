"""The audit trail, from requests to AuditEvents: docs/security/audit.md."""

import asyncio
from typing import Any

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.security.audit.trail import partitions
from tests.conftest import client_of
from tests.security.authz_server import AuthServer, default_settings

PATIENT = {"resourceType": "Patient", "name": [{"family": "Kowalczyk"}]}


def observation(patient: str) -> dict[str, Any]:
    """Return an Observation of a patient."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{patient}"},
    }


@pytest.fixture
def server(tenant: str, mongodb_uri: str, database: Any) -> AuthServer:
    """A server that records everything."""
    return AuthServer(default_settings(tenant, mongodb_uri, audit="all"), database)


@pytest.fixture
def ada(server: AuthServer) -> httpx.AsyncClient:
    """A clinician who may do everything, and her app."""
    claims = {"sub": "ada", "client_id": "chart", "scope": "user/*.cruds", "roles": ["admin"], "fhirUser": "Practitioner/ada"}
    return server.client(claims)


async def events(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    """Return the AuditEvents of a search."""
    answer = await client.get(f"AuditEvent?{query}")
    assert answer.status_code == 200, answer.text
    return [entry["resource"] for entry in answer.json().get("entry", []) if entry["search"]["mode"] == "match"]


def subtypes(found: list[dict[str, Any]]) -> list[str]:
    """Return the codes of what happened."""
    return [event["subtype"][0]["code"] for event in found]


async def test_each_access_is_found_with_who_what_and_where_from(ada: httpx.AsyncClient) -> None:
    """A read is recorded with the person, the app, the address, the version and the request id."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    await ada.get(f"Patient/{patient}", headers={"X-Request-Id": "r-1"})
    (event,) = await events(ada, f"patient={patient}&action=R")
    assert event["subtype"] == [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read", "display": "read"}]
    assert event["outcome"] == "0"
    assert [agent["who"] for agent in event["agent"]] == [{"reference": "Practitioner/ada"}, {"identifier": {"value": "chart"}}]
    assert event["agent"][0]["network"] == {"address": "127.0.0.1", "type": "2"}
    assert event["entity"][0]["what"] == {"reference": f"Patient/{patient}/_history/1"}
    assert event["entity"][-1]["detail"] == [{"type": "X-Request-Id", "valueString": "r-1"}]


async def test_every_interaction_is_recorded(ada: httpx.AsyncClient) -> None:
    """Creates, updates, searches, histories and deletions are recorded under their patient, in the order of time."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    created = (await ada.post("Observation", json=observation(patient))).json()
    path = f"Observation/{created['id']}"
    await ada.put(path, json=created | {"status": "amended"})
    await ada.get(path)
    await ada.get(f"{path}/_history/1")
    await ada.get(f"{path}/_history")
    await ada.get("Observation?code=718-7")
    await ada.get(f"Patient/{patient}/$everything")
    await ada.delete(path)
    found = await events(ada, f"patient={patient}&_sort=date")
    assert subtypes(found) == [
        "create",
        "create",
        "update",
        "read",
        "vread",
        "history-instance",
        "search-type",
        "operation",
        "delete",
    ]
    assert [event["action"] for event in found] == ["C", "C", "U", "R", "R", "E", "E", "E", "D"]
    assert found[7]["type"]["display"] == "Export"


async def test_entries_of_bundles_are_recorded_one_by_one(ada: httpx.AsyncClient) -> None:
    """A transaction leaves a record for itself and one for each entry, with what it read and wrote."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    for kind in ("transaction", "batch"):
        entries = [
            {"resource": observation(patient), "request": {"method": "POST", "url": "Observation"}},
            {"request": {"method": "GET", "url": f"Patient/{patient}"}},
            {"request": {"method": "GET", "url": f"Observation?subject=Patient/{patient}"}},
        ]
        answer = await ada.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})
        assert answer.status_code == 200
        (newest,) = (await events(ada, "_count=1&subtype=search-type&_sort=-date"))[:1]
        assert f"Patient/{patient}" in [entity.get("what", {}).get("reference") for entity in newest["entity"]]
    assert sorted(subtypes(await events(ada, f"patient={patient}"))) == sorted(["create", *2 * ["create", "read", "search-type"]])


async def test_refusals_are_recorded(server: AuthServer, ada: httpx.AsyncClient) -> None:
    """Requests with a bad token, without any, for what is not there, and for what is not allowed are recorded."""
    await server.client(bearer="nonsense").get("Patient/1")
    await server.client().get("Patient/1")
    await ada.get("Patient/absent")
    reader = {"sub": "rob", "client_id": "chart", "scope": "user/Patient.rs", "roles": ["read_only"]}
    assert (await server.client(reader).post("Patient", json=PATIENT)).status_code == 403
    found = await events(ada, "outcome=4")
    descriptions = ["HTTP 403 forbidden", "HTTP 404 not-found", "HTTP 401", "HTTP 401 invalid_token"]
    assert [event["outcomeDesc"] for event in found] == descriptions
    assert found[0]["agent"][0]["altId"] == "rob"
    assert found[2]["type"]["code"] == "110113"


async def test_broken_glass_is_recorded_with_its_reason(server: AuthServer, ada: httpx.AsyncClient) -> None:
    """What X-Break-Glass says is kept with each access that it opened."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    claims = {"sub": "eve", "scope": "user/*.rs", "roles": ["clinician"]}
    headers = {"X-Break-Glass": "found unconscious in the street"}
    assert (await server.client(claims).get(f"Patient/{patient}", headers=headers)).status_code == 200
    (event,) = await events(ada, f"altid=eve&patient={patient}")
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "BTG"
    assert event["purposeOfEvent"][0]["text"] == "found unconscious in the street"


async def test_names_of_parameters_are_kept_and_no_values(ada: httpx.AsyncClient) -> None:
    """A search is recorded with the names of its parameters and the patients that it found."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    await ada.get("Patient?family=Kowalczyk&birthdate=gt1900")
    (event,) = await events(ada, "subtype=search-type&_count=1&entity:missing=false&agent=Practitioner/ada&_sort=-date")
    assert "Kowalczyk" not in str(event)
    query = next(entity for entity in event["entity"] if entity.get("role", {}).get("code") == "24")
    values = [one["valueString"] for one in query["detail"] if one["type"] == "parameter"]
    assert values == ["family", "birthdate"] or values[0] == "subtype"
    del patient


async def test_auditors_page_through_the_trail_and_stored_events_in_one_order(ada: httpx.AsyncClient) -> None:
    """Pages of two hold each event once, newest first; AuditEvents that clients wrote stand among them."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    own = {
        "resourceType": "AuditEvent",
        "type": {"code": "rest"},
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"requestor": True, "who": {"reference": "Practitioner/ada"}}],
        "source": {"observer": {"display": "another system"}},
        "entity": [{"what": {"reference": f"Patient/{patient}"}}],
    }
    stored = (await ada.post("AuditEvent", json=own)).json()["id"]
    for _ in range(3):
        await ada.get(f"Patient/{patient}")
    seen: list[str] = []
    url: str | None = f"AuditEvent?patient={patient}&_count=2&_sort=-date"
    while url:
        bundle = (await ada.get(url)).json()
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    assert len(seen) == len(set(seen)) == 5
    assert seen[-1] == stored
    assert sorted(seen[:-1], reverse=True) == seen[:-1]
    for by in ("date", "_lastUpdated", "-action", "agent"):
        assert sorted(event["id"] for event in await events(ada, f"patient={patient}&_sort={by}")) == sorted(seen)
    backwards = (await ada.get(f"AuditEvent?patient={patient}&_sort=date&_total=accurate&_count=4")).json()
    assert [entry["resource"]["id"] for entry in backwards["entry"]] == seen[::-1][:4]
    assert backwards["total"] == 5


async def test_an_event_is_read_by_id_and_never_changed(ada: httpx.AsyncClient) -> None:
    """Events of the trail are read and vread; updates, patches and deletions are refused, also within Bundles."""
    await ada.post("Patient", json=PATIENT)
    event = (await events(ada))[-1]
    path = f"AuditEvent/{event['id']}"
    assert (await ada.get(path)).json() == event
    assert (await ada.get(f"{path}/_history/1")).json() == event
    assert (await ada.get(f"{path}/_history/2")).status_code == 404
    assert (await ada.get(f"{path}/_history")).json()["entry"][0]["resource"] == event
    assert (await ada.get(path[:-4] + "ffff")).status_code == 404
    assert (await ada.put(path, json=event)).status_code == 405
    assert (await ada.delete(path)).status_code == 405
    entries = [{"request": {"method": "DELETE", "url": path}}, {"resource": event, "request": {"method": "PUT", "url": path}}]
    for entry in entries:
        for kind in ("batch", "transaction"):
            answer = await ada.post("", json={"resourceType": "Bundle", "type": kind, "entry": [entry]})
            text = answer.text if answer.status_code != 200 else answer.json()["entry"][0]["response"]["status"]
            nothing = kind == "transaction" and entry["request"]["method"] == "DELETE"
            assert ("204" if nothing else "405" if answer.status_code == 200 else "audit trail") in text
    assert (await ada.get(path)).json() == event


async def test_the_trail_is_for_those_who_may_read_audit_events(server: AuthServer, ada: httpx.AsyncClient) -> None:
    """A clinician sees none of it; a patient's app with a scope for AuditEvents sees what is about the patient alone."""
    one, other = [(await ada.post("Patient", json=PATIENT)).json()["id"] for _ in range(2)]
    await ada.get(f"Patient/{one}")
    await ada.get(f"Patient/{other}")
    whole = await events(ada, f"patient={other}")
    clinician = server.client({"sub": "c", "scope": "user/*.rs", "roles": ["clinician"]})
    assert (await clinician.get("AuditEvent")).status_code == 403
    app = server.client({"sub": "p", "scope": "patient/AuditEvent.rs", "patient": one})
    found = await events(app)
    assert {entity["what"]["reference"].split("/")[1] for event in found for entity in event["entity"][:1]} == {one}
    assert (await app.get(f"AuditEvent/{whole[0]['id']}")).status_code == 404
    assert (await app.get(f"AuditEvent/{found[0]['id']}")).status_code == 200


async def test_tenants_have_trails_of_their_own(tenant: str, mongodb_uri: str, database: Any) -> None:
    """What is done in one tenant is not found in another."""
    one = AuthServer(default_settings(tenant, mongodb_uri, audit="all"), database)
    other = AuthServer(default_settings(f"{tenant}-2", mongodb_uri, audit="all"), database)
    claims = {"sub": "ada", "scope": "user/*.cruds", "roles": ["admin"]}
    await one.client(claims).post("Patient", json=PATIENT)
    assert await events(other.client(claims)) == []
    (event,) = await events(one.client(claims))
    assert (await other.client(claims).get(f"AuditEvent/{event['id']}")).status_code == 404


async def test_writes_alone_are_kept_where_that_is_asked_for(tenant: str, mongodb_uri: str, database: Any) -> None:
    """FHIR_AUDIT=writes keeps changes, refusals and what is done by breaking the glass, no other reads."""
    server = AuthServer(default_settings(tenant, mongodb_uri, audit="writes"), database)
    client = server.client({"sub": "ada", "scope": "user/*.cruds", "roles": ["admin"]})
    patient = (await client.post("Patient", json=PATIENT)).json()["id"]
    await client.get(f"Patient/{patient}")
    await client.get("Patient/absent")
    clinician = server.client({"sub": "eve", "scope": "user/*.rs", "roles": ["clinician"]})
    await clinician.get(f"Patient/{patient}", headers={"X-Break-Glass": "found unconscious"})
    found = await events(client)
    assert [(event["subtype"][0]["code"], event["outcome"]) for event in found] == [("read", "0"), ("read", "4"), ("create", "0")]


async def test_the_patient_api_and_its_reads_are_recorded(settings: Settings, database: Any) -> None:
    """What is asked by /api is recorded as what it asks of the engine."""
    async with client_of(settings.model_copy(update={"audit": "all"}), database) as client:
        patient = (await client.post("Patient", json=PATIENT)).json()["id"]
        answer = await client.get(f"http://test/api/v1/prm/patients/{patient}", headers={"X-Request-Id": "api-1"})
        assert answer.status_code == 200
        (event,) = [
            one for one in await events(client, f"patient={patient}") if one["entity"][-1]["detail"][0]["valueString"] == "api-1"
        ]
        assert event["subtype"][0]["code"] == "read"
        assert event["agent"][0]["altId"] == "anonymous"
        assert (await client.get("http://test/api/v1/prm/patients?search=Kowalczyk")).status_code == 200
        assert (await events(client, f"patient={patient}"))[0]["subtype"][0]["code"] == "search-type"


async def test_nothing_is_kept_where_nobody_is_asked_for_a_token(http: httpx.AsyncClient, tenant: str, database: Any) -> None:
    """Without authentication there is no trail."""
    await http.post("Patient", json=PATIENT)
    assert (await http.get("AuditEvent")).json()["total"] == 0
    for name in await database.list_collection_names():
        if name.startswith("_audit_"):
            assert await database[name].count_documents({"t": tenant}) == 0


async def test_the_answer_waits_for_the_record(
    server: AuthServer, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a record can not be kept, the answer is none of data but 503; what was pending is kept once it can be."""
    from pymongo.errors import AutoReconnect  # noqa: PLC0415

    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    recorder = server.contexts.recorder
    assert recorder is not None
    insert = type(recorder.trail)._insert

    async def fail(*_: Any) -> None:
        raise AutoReconnect("away")

    monkeypatch.setattr(type(recorder.trail), "_insert", fail)
    answer = await ada.get(f"Patient/{patient}")
    assert answer.status_code == 503
    assert "Kowalczyk" not in answer.text
    monkeypatch.setattr(type(recorder.trail), "_insert", insert)
    assert (await ada.get(f"Patient/{patient}")).status_code == 200
    assert subtypes(await events(ada, f"patient={patient}")) == ["read", "read", "create"]
    assert await partitions(server.database)


async def test_concurrent_requests_share_a_write_and_none_is_lost(server: AuthServer, ada: httpx.AsyncClient) -> None:
    """Forty reads at a time leave forty events in fewer batches."""
    patient = (await ada.post("Patient", json=PATIENT)).json()["id"]
    await asyncio.gather(*(ada.get(f"Patient/{patient}") for _ in range(40)))
    assert len(await events(ada, f"patient={patient}&action=R&_count=100")) == 40
    name = (await partitions(server.database))[-1]
    batches = await server.database.collection(name).count_documents({"t": server.settings.default_tenant})
    assert batches < 30
