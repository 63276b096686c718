"""Who may see and send what: the policy holds at the product's door as at that of FHIR."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from fhir_server.config import Settings
from fhir_server.exchange import Call, utc_now
from fhir_server.extension import load
from prm_ext.notifications.api import add_routes, add_sending
from prm_ext.notifications.campaigning import Campaigning
from prm_ext.notifications.campaigns import Ledger
from prm_ext.notifications.idempotency import COLLECTION as KEYS
from prm_ext.notifications.idempotency import LEASE
from prm_ext.notifications.listing import READ
from tests.prm_ext.notifications.api_world import BASE, EXTENSIONS, PHONE
from tests.prm_ext.notifications.pipeline import Pipeline
from tests.security.authz_server import AuthServer

ADMIN = {"scope": "user/*.cruds", "roles": ["admin"], "sub": "admin"}
DESK = {"scope": "user/*.cruds", "roles": ["front_desk"], "sub": "desk", "fhirUser": "Practitioner/desk"}
READER = {"scope": "user/*.rs", "roles": ["read_only"], "sub": "reader"}
PATIENT = {"scope": "patient/*.cruds", "roles": ["patient"], "patient": "p1", "sub": "p1", "fhirUser": "Patient/p1"}
REQUESTS_ONLY = {"scope": "patient/CommunicationRequest.rs", "patient": "p1", "sub": "app"}
DESK_OF_P1 = {"scope": "patient/*.cruds", "patient": "p1", "sub": "proxy"}
ONE = {"resourceType": "CommunicationRequest", "status": "active", "payload": [{"contentString": "Hello."}]}


class Guarded:
    """A server that asks for tokens."""

    def __init__(self, settings: Settings, database: Any, pipeline: Pipeline, stack: AsyncExitStack) -> None:
        self.pipeline = pipeline
        self._stack = stack
        server = AuthServer(settings, database)
        server.contexts.extensions = replace(load(settings.model_copy(update={"extensions": EXTENSIONS})), consumers=())
        self._server = server
        self._app = FastAPI()
        self._app.state.fhir = server.app
        router = APIRouter()
        add_sending(router, pipeline.means_of)
        add_routes(router, pipeline.means_of)
        self._app.include_router(router, prefix=BASE)

    async def client(self, claims: dict[str, Any]) -> httpx.AsyncClient:
        """Return a client of the product's door, whose paths are those below it."""
        bearer = self._server.client(claims).headers["Authorization"]
        transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 50000))
        found = httpx.AsyncClient(transport=transport, base_url=f"http://test{BASE}", headers={"Authorization": bearer})
        return await self._stack.enter_async_context(found)

    async def ids(self, claims: dict[str, Any], **params: Any) -> list[str]:
        """Return the ids that somebody sees in the list, page by page."""
        client, cursor, found = await self.client(claims), "", list[str]()
        while True:
            answer = await client.get("", params={**params, "cursor": cursor})
            assert answer.status_code == 200, answer.text
            found += [one["id"] for one in answer.json()["items"]]
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return found


@pytest.fixture
async def guarded(settings: Settings, database: Any) -> AsyncIterator[Guarded]:
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(Pipeline(settings, database))
        yield Guarded(settings, database, pipeline, stack)


async def patients(pipeline: Pipeline) -> None:
    for id_ in ("p1", "p2"):
        telecom = [{"system": "phone", "value": PHONE}]
        await pipeline.write({"resourceType": "Patient", "id": id_, "name": [{"family": id_}], "telecom": telecom})


async def requests(pipeline: Pipeline) -> None:
    await patients(pipeline)
    for id_, patient in (("r1", "p1"), ("r2", "p2"), ("r3", "p1")):
        who = {"reference": f"Patient/{patient}"}
        await pipeline.write({**ONE, "id": id_, "subject": who, "recipient": [who]})
    await pipeline.run()


async def test_without_a_token_nobody_gets_in(guarded: Guarded) -> None:
    client = await guarded.client(ADMIN)
    answer = await client.get("", headers={"Authorization": ""})
    assert answer.status_code == 401


async def test_a_patient_sees_messages_to_the_patient_and_nothing_of_others(guarded: Guarded) -> None:
    await requests(guarded.pipeline)
    assert sorted(await guarded.ids(ADMIN)) == ["r1", "r2", "r3"]
    assert sorted(await guarded.ids(PATIENT)) == ["r1", "r3"]
    assert await guarded.ids(PATIENT, patient="p2") == []
    client = await guarded.client(PATIENT)
    shown = (await client.get("/r1")).json()
    assert (shown["status"], shown["body"], shown["to"]) == ("delivered", "Hello.", PHONE)
    for path in ("/r2", "/r2~20260101T000000Z~"):
        assert (await client.get(path)).status_code == 404
    for action in ("cancel", "retry"):
        assert (await client.post(f"/r2/{action}")).status_code == 404


async def test_pages_are_filled_where_most_is_not_to_be_seen(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    entries = []
    for number in range(READ + 30):
        who = {"reference": "Patient/p1" if number % 40 == 0 else "Patient/p2"}
        resource = {**ONE, "id": f"n{number:03}", "subject": who, "recipient": [who]}
        entries.append({"resource": resource, "request": {"method": "PUT", "url": f"CommunicationRequest/n{number:03}"}})
    ctx = guarded.pipeline.ctx
    await ctx.dispatch(ctx, Call("transaction", resource={"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    await guarded.pipeline.plan()
    client = await guarded.client(PATIENT)
    first = (await client.get("", params={"limit": 3})).json()
    assert [one["id"] for one in first["items"]] == ["n120", "n080", "n040"]
    second = (await client.get("", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in second["items"]] == ["n000"]
    assert second["next_cursor"] is None


async def test_a_cursor_is_only_for_whom_it_was_made_and_for_its_list(guarded: Guarded) -> None:
    await requests(guarded.pipeline)
    cursor = (await (await guarded.client(ADMIN)).get("", params={"limit": 1})).json()["next_cursor"]
    assert (await (await guarded.client(PATIENT)).get("", params={"cursor": cursor})).status_code == 400
    assert (await (await guarded.client(ADMIN)).get("", params={"cursor": cursor, "status": "queued"})).status_code == 400


async def test_what_was_said_and_where_it_went_takes_more_than_the_request(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    who = {"reference": "Patient/p1"}
    await guarded.pipeline.write({**ONE, "id": "r1", "subject": who, "recipient": [who]})
    await guarded.pipeline.run()
    client = await guarded.client(REQUESTS_ONLY)
    shown = (await client.get("/r1")).json()
    assert (shown["body"], shown["to"], shown["status"]) == ("Hello.", None, "delivered")
    assert (await client.get("/outbox")).status_code == 403


async def test_the_outbox_shows_what_may_be_read_of_it(guarded: Guarded) -> None:
    await requests(guarded.pipeline)
    for claims, count in ((ADMIN, 3), (PATIENT, 2)):
        found = (await (await guarded.client(claims)).get("/outbox", params={"limit": 10})).json()
        assert (len(found["items"]), found["next_cursor"]) == (count, None)


async def test_who_may_read_no_requests_is_told_so(guarded: Guarded) -> None:
    client = await guarded.client({"scope": "user/Patient.rs", "roles": ["clinician"]})
    for path in ("", "/r1", "/stats"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


async def test_who_may_only_read_sends_nothing(guarded: Guarded) -> None:
    await requests(guarded.pipeline)
    client = await guarded.client(READER)
    assert (await client.post("/send", json={"to": PHONE, "body": "x"})).status_code == 403
    assert (await client.post("/bulk", json={"patient_ids": ["p1"], "body": "x"})).status_code == 403
    await guarded.pipeline.write({**ONE, "id": "r9"})
    assert (await client.post("/r9/cancel")).status_code == 403
    assert (await guarded.pipeline.read("CommunicationRequest", "r9"))["status"] == "active"


async def test_the_front_desk_sends_by_templates_as_itself_and_without_documents(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    attachment = {"contentType": "text/plain", "data": "aGVsbG8="}
    document = {"resourceType": "DocumentReference", "id": "d1", "status": "current", "content": [{"attachment": attachment}]}
    await guarded.pipeline.write(document)
    client = await guarded.client(DESK)
    variables = {"appointment_time": "10:30", "practitioner_name": "Smith", "location_name": "Bay"}
    body = {"patient_id": "p1", "template": "appointment_reminder_24h", "variables": variables}
    answer = await client.post("/send-template", json=body)
    assert answer.status_code == 201, answer.text
    request = await guarded.pipeline.read("CommunicationRequest", answer.json()["id"])
    assert request["requester"] == {"reference": "Practitioner/desk"}
    assert (await client.post("/send", json={"to": PHONE, "body": "x", "media_ids": ["d1"]})).status_code == 403


async def test_a_request_may_not_name_what_its_writer_may_not_read(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    await guarded.pipeline.write({"resourceType": "DiagnosticReport", "id": "x1", "status": "final", "code": {"text": "x"}})
    async with guarded._server.client(DESK) as http:
        allowed = {**ONE, "recipient": [{"reference": "Patient/p1"}]}
        assert (await http.post("CommunicationRequest", json=allowed)).status_code == 201
        for more in (
            {"about": [{"reference": "DiagnosticReport/x1"}]},
            {"payload": [{"contentReference": {"reference": "DiagnosticReport/x1"}}]},
            {"payload": [{"contentAttachment": {"url": "DiagnosticReport/x1"}}]},
        ):
            answer = await http.post("CommunicationRequest", json={**allowed, **more})
            assert (answer.status_code, answer.json()["issue"][0]["code"]) == (403, "forbidden")
        absent = {**allowed, "about": [{"reference": "DiagnosticReport/none"}]}
        assert (await http.post("CommunicationRequest", json=absent)).status_code == 201


async def test_the_holder_of_a_key_is_named_only_to_those_who_may_read_it(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    key = [{"system": "urn:prm:idempotency-key", "value": "k"}]
    other = {"reference": "Patient/p2"}
    await guarded.pipeline.write({**ONE, "id": "theirs", "identifier": key, "subject": other})
    confined = {"scope": "patient/CommunicationRequest.cruds", "patient": "p1"}
    mine = {**ONE, "identifier": key, "subject": {"reference": "Patient/p1"}}
    for claims, named in ((ADMIN, True), (confined, False)):
        async with guarded._server.client(claims) as http:
            answer = await http.post("CommunicationRequest", json=mine)
        assert answer.status_code == 409, answer.text
        assert ("theirs" in answer.text) is named


async def test_who_may_not_read_a_patient_can_have_the_patient_written_to_but_nobody_told_about(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    requester = {"scope": "system/CommunicationRequest.cruds", "sub": "reminders"}
    who = {"reference": "Patient/p1"}
    elsewhere = {**who, "extension": [{"url": "urn:prm:StructureDefinition:notification-address", "valueString": PHONE}]}
    async with guarded._server.client(requester) as http:
        for recipients, status in (([who], 201), ([elsewhere], 403), ([{"reference": "Patient/p2"}], 403)):
            answer = await http.post("CommunicationRequest", json={**ONE, "subject": who, "recipient": recipients})
            assert answer.status_code == status, answer.text


async def test_keys_of_different_people_do_not_meet(guarded: Guarded) -> None:
    ids = set()
    for claims in (ADMIN, DESK):
        client = await guarded.client(claims)
        answer = await client.post("/send", json={"to": PHONE, "body": "x"}, headers={"Idempotency-Key": "same"})
        ids.add(answer.json()["id"])
    assert len(ids) == 2


@pytest.mark.parametrize("claims", [ADMIN, DESK_OF_P1], ids=["whoever may choose ids", "who may not"])
async def test_an_attempt_that_died_is_found_again(guarded: Guarded, database: Any, claims: dict[str, Any]) -> None:
    await patients(guarded.pipeline)
    client, ids = await guarded.client(claims), set()
    for _ in range(2):
        body = {"patient_id": "p1", "body": "x"}
        answer = await client.post("/send", json=body, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 201, answer.text
        ids.add(answer.json()["id"])
        died = {"$set": {"state": "open", "lease": utc_now() - LEASE}}
        await database[KEYS].update_one({"t": guarded.pipeline.tenant}, died)
    assert len(ids) == 1
    assert len(await guarded.pipeline.search("CommunicationRequest")) == 1


async def test_a_campaign_is_written_under_what_who_began_it_may_do(guarded: Guarded) -> None:
    await patients(guarded.pipeline)
    own = {
        "scope": "user/Patient.rs user/CommunicationRequest.cruds",
        "roles": ["front_desk"],
        "sub": "d",
        "fhirUser": "Practitioner/d",
    }
    client = await guarded.client(own)
    body = {"patient_ids": ["p1", "p2", "p3"], "body": "x", "name": "Mine"}
    answer = await client.post("/bulk", json=body)
    assert answer.status_code == 202, answer.text
    id_ = answer.json()["id"]
    work = Campaigning(guarded.pipeline.means, Ledger(guarded.pipeline.contexts.database), guarded._server.contexts.of_tenant)
    while await work.step(guarded.pipeline.tenant):
        pass
    found = (await client.get(f"/bulk/{id_}")).json()
    assert (found["status"], found["accepted"], found["refused"]) == ("completed", 2, 1)
    assert found["refusals"][0]["patient_id"] == "p3"
    written = await guarded.pipeline.search("CommunicationRequest", **{"group-identifier": f"urn:prm:campaign|{id_}"})
    assert {one["requester"]["reference"] for one in written} == {"Practitioner/d"}
    assert (await (await guarded.client(ADMIN)).get(f"/bulk/{id_}")).status_code == 200
    assert (await (await guarded.client(PATIENT)).get(f"/bulk/{id_}")).status_code == 404
    assert (await (await guarded.client(PATIENT)).get("/bulk")).json()["items"] == []
    assert [one["name"] for one in (await client.get("/bulk")).json()["items"]] == ["Mine"]
