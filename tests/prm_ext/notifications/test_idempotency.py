"""Idempotency-Key: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.exchange import utc_now
from fhir_server.fhir.codec import encode
from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.idempotency import COLLECTION, KEPT, LEASE, Begun, Done, Keys, fingerprint_of
from tests.prm_ext.notifications.api_world import PHONE, World

BODY = {"to": PHONE, "body": "Hello."}
NONCE = "urn:prm:idempotency-key"


async def test_a_request_that_is_sent_again_is_done_once_and_answered_the_same(world: World) -> None:
    first = await world.post("/send", BODY, Idempotency_Key="k1")
    again = await world.post("/send", {"body": "Hello.", "to": PHONE}, Idempotency_Key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len((await world.get("")).json()["items"]) == 1


async def test_a_template_that_is_sent_again_is_made_once(world: World) -> None:
    body = {"name": "news", "body": "News for {patient_name}.", "category": "health-tips"}
    first, again = [await world.post("/templates", body, Idempotency_Key="k") for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["ETag"]) == (first.json(), first.headers["ETag"])


async def test_another_key_is_another_message(world: World) -> None:
    ids = [(await world.post("/send", BODY, Idempotency_Key=key)).json()["id"] for key in ("a", "b")]
    ids.append((await world.post("/send", BODY)).json()["id"])
    assert len(set(ids)) == 3


async def test_a_key_with_another_body_or_path_is_refused(world: World) -> None:
    assert (await world.post("/send", BODY, Idempotency_Key="k")).status_code == 201
    for path, body in (("/send", {**BODY, "body": "Bye."}), ("/schedule", {**BODY, "send_at": "2100-01-01T00:00:00Z"})):
        answer = await world.post(path, body, Idempotency_Key="k")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert len((await world.get("")).json()["items"]) == 1


async def test_a_refused_request_leaves_its_key_free(world: World) -> None:
    assert (await world.post("/send", {"to": "12345", "body": "x"}, Idempotency_Key="k")).status_code == 422
    assert (await world.post("/send", BODY, Idempotency_Key="k")).status_code == 201


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    assert (await world.post("/send", BODY, Idempotency_Key=key)).status_code == 400


async def test_of_many_at_the_same_time_one_is_done(world: World) -> None:
    answers = await asyncio.gather(*(world.post("/send", BODY, Idempotency_Key="k") for _ in range(8)))
    assert {one.status_code for one in answers} <= {201, 409}
    assert all(one.headers["Retry-After"] == "1" for one in answers if one.status_code == 409)
    assert len({one.json()["id"] for one in answers if one.status_code == 201}) == 1
    assert len((await world.get("")).json()["items"]) == 1


async def test_an_attempt_that_died_after_it_had_written_is_found_again(world: World, database: Any) -> None:
    first = (await world.post("/send", BODY, Idempotency_Key="k")).json()
    died = {"$set": {"state": "open", "lease": utc_now() - LEASE}, "$unset": {"body": "", "status": ""}}
    await database[COLLECTION].update_one({"t": world.pipeline.tenant}, died)
    again = await world.post("/send", BODY, Idempotency_Key="k")
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    assert len((await world.get("")).json()["items"]) == 1


async def test_an_attempt_that_is_under_way_is_not_begun_again(world: World, database: Any) -> None:
    await world.post("/send", BODY, Idempotency_Key="k")
    await database[COLLECTION].update_one({"t": world.pipeline.tenant}, {"$set": {"state": "open"}})
    answer = await world.post("/send", BODY, Idempotency_Key="k")
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")


async def test_a_retry_that_died_is_not_made_twice(world: World, database: Any) -> None:
    patient = await world.patient(telecom=[{"system": "fax", "value": "+14155550100"}])
    sent = await world.sent(patient_id=patient, to=None)
    await world.pipeline.run()
    assert (await world.post(f"/{sent['id']}/retry", Idempotency_Key="k")).status_code == 200
    died = {"$set": {"state": "open", "lease": utc_now() - LEASE}}
    await database[COLLECTION].update_one({"t": world.pipeline.tenant}, died)
    assert (await world.post(f"/{sent['id']}/retry", Idempotency_Key="k")).status_code == 200
    assert (await world.post(f"/{sent['id']}/retry", Idempotency_Key="other")).status_code == 409


async def test_a_key_is_free_again_after_a_day(world: World, database: Any) -> None:
    first = (await world.post("/send", BODY, Idempotency_Key="k")).json()
    old = utc_now() - KEPT - timedelta(seconds=1)
    await database[COLLECTION].update_one({"t": world.pipeline.tenant}, {"$set": {"created": old}})
    answer = await world.post("/send", BODY, Idempotency_Key="k")
    while answer.status_code == 409:
        answer = await world.post("/send", BODY, Idempotency_Key="k")
    assert (answer.status_code, answer.json()["id"] == first["id"]) == (201, False)


async def test_the_database_removes_keys_after_a_day(world: World, database: Any) -> None:
    await world.post("/send", BODY, Idempotency_Key="k")
    indexes = await database[COLLECTION].index_information()
    assert indexes["created_1"]["expireAfterSeconds"] == 86_400


async def test_what_failed_on_our_side_can_be_tried_again_at_once_under_the_same_nonce(world: World) -> None:
    keys, ctx = Keys(world.pipeline.contexts.database), world.pipeline.ctx
    first = await keys.begin(ctx, "k", "print")
    assert isinstance(first, Begun)
    await keys.give_up(first, refused=False)
    second = await keys.begin(ctx, "k", "print")
    assert isinstance(second, Begun)
    assert second.nonce == first.nonce
    # Of the first attempt something may be there; so a refusal of the second does not free the key.
    await keys.give_up(second, refused=True)
    third = await keys.begin(ctx, "k", "print")
    assert isinstance(third, Begun)
    assert third.nonce == first.nonce
    await keys.finish(third, Done(201, {}, b"x"))
    assert await keys.begin(ctx, "k", "print") == Done(201, {}, b"x")
    with pytest.raises(FhirError) as error:
        await keys.begin(ctx, "k", "another")
    assert error.value.status == 422


async def test_fhir_writers_are_told_who_has_their_key(world: World) -> None:
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "identifier": [{"system": NONCE, "value": "from the EHR"}],
        "payload": [{"contentString": "Hello."}],
    }
    first = await world.http.post("CommunicationRequest", content=encode(request))
    second = await world.http.post("CommunicationRequest", content=encode(request))
    assert (first.status_code, second.status_code) == (201, 409)
    issue = second.json()["issue"][0]
    assert issue["code"] == "duplicate"
    assert f"CommunicationRequest/{first.json()['id']}" in issue["diagnostics"]
    wanted = f"identifier={NONCE}|from the EHR"
    third = await world.http.post("CommunicationRequest", content=encode(request), headers={"If-None-Exist": wanted})
    assert third.status_code == 200
    changed = {**first.json(), "priority": "urgent"}
    assert (await world.http.put(f"CommunicationRequest/{first.json()['id']}", content=encode(changed))).status_code == 200


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.booleans()), max_size=5))
def test_the_same_json_has_the_same_fingerprint_however_it_is_written(value: dict[str, Any]) -> None:
    one = json.dumps(value, indent=2).encode()
    other = json.dumps(dict(reversed(value.items())), ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert fingerprint_of("/send", "", one) == fingerprint_of("/send/", "", other)
    assert fingerprint_of("/send", "", one) != fingerprint_of("/schedule", "", one)


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_request_is_done_once_where_the_shortest_ways_do_not_tell(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_written: bool
) -> None:
    database = world.pipeline.contexts.database
    short = {name: getattr(database, name) for name in ("insert", "update")}

    def untold(name: str) -> Any:
        async def write(collection: str, documents: Any) -> bool:
            if is_written:
                await short[name](collection, documents)
            return False

        return write

    for name in short:
        monkeypatch.setattr(database, name, untold(name))
    first, again = [await world.post("/send", BODY, Idempotency_Key="k") for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert [one["id"] for one in (await world.get("")).json()["items"]] == [first.json()["id"]]
