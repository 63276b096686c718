"""Sending to many: taken on at once, written in the background, whatever dies meanwhile."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context, utc_now
from fhir_server.fhir.outcome import unavailable
from prm_ext.notifications import campaigning, campaigns
from prm_ext.notifications.campaigning import Campaigning, carry_out
from prm_ext.notifications.campaigns import PIECE, Ledger, key_of
from prm_ext.notifications.idempotency import COLLECTION, LEASE
from tests.prm_ext.notifications.api_world import PHONE, World, world_of


def work_of(world: World) -> Campaigning:
    pipeline = world.pipeline
    return Campaigning(pipeline.means, Ledger(pipeline.contexts.database), pipeline.contexts.of_tenant)


async def carried_out(world: World) -> None:
    work = work_of(world)
    while await work.step(world.pipeline.tenant):
        pass
    await world.pipeline.plan()


async def begun(world: World, **body: Any) -> str:
    answer = await world.post("/bulk", {"body": "Hello.", **body})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"].endswith(f"/bulk/{answer.json()['id']}")
    return answer.json()["id"]


async def progress(world: World, id_: str) -> dict[str, Any]:
    answer = await world.get(f"/bulk/{id_}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def requests_of(world: World, id_: str) -> list[dict[str, Any]]:
    found = world.pipeline.ctx.repo.collection("CommunicationRequest").find({"t": world.pipeline.tenant})
    resources = [one["r"] async for one in found if "r" in one]
    return [one for one in resources if one.get("groupIdentifier") == {"system": "urn:prm:campaign", "value": id_}]


async def many(world: World, count: int, **members: Any) -> list[str]:
    """Make patients in one transaction; return their ids."""
    ids = [f"{world.pipeline.tenant}-{number:04}" for number in range(count)]
    entries = []
    for id_ in ids:
        telecom = [{"system": "phone", "value": PHONE}]
        resource = {"resourceType": "Patient", "id": id_, "name": [{"given": [id_]}], "telecom": telecom, **members}
        entries.append({"resource": resource, "request": {"method": "PUT", "url": f"Patient/{id_}"}})
    ctx = world.pipeline.ctx
    await ctx.dispatch(ctx, Call("transaction", resource={"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    return ids


async def test_patients_that_are_listed_get_one_message_each(world: World) -> None:
    ids = await many(world, 3)
    id_ = await begun(world, name="News", patient_ids=[*ids, ids[0]], channel="sms", metadata={"a": 1})
    first = await progress(world, id_)
    assert (first["status"], first["total"], first["accepted"], first["counts"]) == ("queued", 3, 0, {})
    await carried_out(world)
    written = await progress(world, id_)
    assert (written["status"], written["accepted"], written["counts"]) == ("completed", 3, {"queued": 3})
    await world.pipeline.run()
    assert (await progress(world, id_))["counts"] == {"delivered": 3}
    items = (await world.get("", campaign=id_)).json()["items"]
    assert {one["patient_id"] for one in items} == set(ids)
    assert {(one["campaign_id"], one["category"], str(one["metadata"])) for one in items} == {(id_, "campaign", "{'a': 1}")}


async def test_each_recipient_has_values_of_its_own(world: World) -> None:
    made = await world.post(
        "/templates",
        {"name": "offer", "body": "{patient_name}: {offer} until {day}.", "variables": [{"name": "offer"}, {"name": "day"}]},
    )
    assert made.status_code == 201, made.text
    ids = await many(world, 2)
    recipients = [{"patient_id": ids[0], "variables": {"offer": "yoga"}}, {"patient_id": ids[1]}, {"to": "(415) 555-0178"}]
    id_ = await begun(world, body=None, template="offer", variables={"offer": "tea", "day": "Friday"}, recipients=recipients)
    await carried_out(world)
    found = await progress(world, id_)
    assert (found["accepted"], found["refused"]) == (2, 1)
    assert found["refusals"][0]["to"] == "+14155550178"
    assert "patient_name" in found["refusals"][0]["reason"]
    await world.pipeline.run()
    bodies = {one["body"] for one in (await world.get("", campaign=id_)).json()["items"]}
    assert bodies == {f"{ids[0]}: yoga until Friday.", f"{ids[1]}: tea until Friday."}


async def test_the_members_of_a_group_get_it(world: World) -> None:
    ids = await many(world, 2)
    members = [{"entity": {"reference": f"Patient/{one}"}} for one in ids] + [{"entity": {"reference": "Practitioner/x"}}]
    group = await world.pipeline.write({"resourceType": "Group", "type": "person", "actual": True, "member": members})
    id_ = await begun(world, group_id=group["id"])
    await carried_out(world)
    assert (await progress(world, id_))["accepted"] == 2


async def test_the_patients_of_a_search_get_it_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigning, "PIECE", 3)
    await many(world, 8, gender="female")
    await world.patient(gender="male")
    id_ = await begun(world, patient_search="gender=female")
    assert (await progress(world, id_))["total"] is None
    await carried_out(world)
    found = await progress(world, id_)
    assert (found["status"], found["total"], found["accepted"]) == ("completed", 8, 8)
    assert len(await requests_of(world, id_)) == 8


async def test_it_is_sent_when_it_is_to_be_sent(world: World) -> None:
    id_ = await begun(world, patient_ids=await many(world, 1), send_at="2100-01-01T08:00:00Z", priority="urgent")
    await carried_out(world)
    await world.pipeline.run()
    [item] = (await world.get("", campaign=id_)).json()["items"]
    assert (item["status"], item["scheduled_at"], item["priority"]) == ("queued", "2100-01-01T08:00:00.000Z", "urgent")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"patient_ids": ["a"], "group_id": "g"}, ""),
        ({"patient_ids": ["a"], "template": "x"}, ""),
        ({"group_id": "none"}, "group_id"),
        ({"patient_search": "colour=red"}, "patient_search"),
        ({"patient_search": "_count=5"}, "patient_search"),
        ({"patient_search": "gender"}, "patient_search"),
        ({"recipients": [{"to": "12345"}]}, "recipients[0].to"),
        ({"recipients": [{}]}, "recipients[0]"),
        ({"patient_ids": ["a"], "body": None, "template": "none"}, "template"),
        ({"patient_ids": ["a"], "body": None, "template": "appointment_reminder_24h", "variables": {"x": "y"}}, "variables.x"),
        ({"patient_ids": ["a"], "send_at": "2020-01-01T00:00:00Z"}, "send_at"),
        ({"patient_ids": ["a"], "media_ids": ["none"]}, "media_ids[0]"),
    ],
)
async def test_a_campaign_that_can_not_be_is_refused_at_once(world: World, body: dict[str, Any], field: str) -> None:
    answer = await world.post("/bulk", {"body": "x", **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0].get("field", "") == field


async def test_a_group_without_patients_is_refused(world: World) -> None:
    group = await world.pipeline.write({"resourceType": "Group", "type": "person", "actual": True})
    assert (await world.post("/bulk", {"body": "x", "group_id": group["id"]})).status_code == 422


async def test_it_goes_on_where_a_process_died(world: World) -> None:
    ids = await many(world, PIECE + 20)
    id_ = await begun(world, patient_ids=ids)
    died = work_of(world)
    died._ledger.note = _lost
    with pytest.raises(TimeoutError):
        await died.step(world.pipeline.tenant)
    assert len(await requests_of(world, id_)) == PIECE
    assert (await progress(world, id_))["accepted"] == 0
    await carried_out(world)
    found = await progress(world, id_)
    assert (found["status"], found["accepted"], found["refused"], found["counts"]) == ("completed", 120, 0, {"queued": 120})
    assert len(await requests_of(world, id_)) == 120


async def _lost(*_: Any) -> bool:
    raise TimeoutError


async def test_two_processes_write_each_message_once(world: World) -> None:
    id_ = await begun(world, patient_ids=await many(world, 30))
    await asyncio.gather(*(work_of(world).step(world.pipeline.tenant) for _ in range(3)))
    await carried_out(world)
    assert len(await requests_of(world, id_)) == 30
    assert (await progress(world, id_))["status"] == "completed"


async def test_campaigns_take_turns(world: World) -> None:
    ids = await many(world, PIECE + 1)
    large, small = await begun(world, patient_ids=ids), await begun(world, patient_ids=ids[:1])
    work = work_of(world)
    for _ in range(2):
        await work.step(world.pipeline.tenant)
    assert (await progress(world, large))["status"] == "running"
    assert (await progress(world, small))["status"] == "completed"


async def test_what_can_not_be_written_together_is_written_one_by_one(world: World) -> None:
    ids = await many(world, 3)
    id_ = await begun(world, patient_ids=ids)
    # Somebody else has the key of the second one.
    key = key_of(id_, {"patient": ids[1]})
    work = work_of(world)
    original = campaigning.claimed_of

    async def late(ctx: Context, *args: Any) -> frozenset[str]:
        found = await original(ctx, *args)
        identifier = [{"system": "urn:prm:idempotency-key", "value": key}]
        request = {"resourceType": "CommunicationRequest", "status": "draft", "identifier": identifier}
        await world.pipeline.write(request)
        return found

    campaigning.claimed_of = late
    try:
        await work.step(world.pipeline.tenant)
    finally:
        campaigning.claimed_of = original
    found = await progress(world, id_)
    assert (found["accepted"], found["refused"], found["status"]) == (2, 1, "completed")


async def test_a_failure_of_the_server_is_tried_again_and_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigning, "PAUSE_SECONDS", 0)
    id_ = await begun(world, patient_ids=await many(world, 2))

    async def down(*_: Any) -> Any:
        raise unavailable("The database does not answer.")

    work = work_of(world)
    with monkeypatch.context() as broken:
        broken.setattr(campaigning, "search", down)
        broken.setattr(campaigning._Piece, "write", down)
        await work.step(world.pipeline.tenant)
        assert (await progress(world, id_))["status"] == "queued"
        for _ in range(campaigning.MOST_FAILURES - 1):
            await work.step(world.pipeline.tenant)
    found = await progress(world, id_)
    assert (found["status"], found["accepted"]) == ("failed", 0)
    assert "its log says more" in found["error"]


async def test_a_cancelled_campaign_writes_and_sends_no_more(settings: Settings, database: Any) -> None:
    async with world_of(settings, database, dispatch_window=40) as world:
        ids = await many(world, PIECE + 20)
        id_ = await begun(world, patient_ids=ids)
        work = work_of(world)
        await work.step(world.pipeline.tenant)
        await world.pipeline.plan()
        await world.pipeline.round()
        answer = await world.post(f"/bulk/{id_}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
        assert (await world.post(f"/bulk/{id_}/cancel")).status_code == 202
        await carried_out(world)
        found = await progress(world, id_)
        assert found["status"] == "cancelled"
        assert found["counts"] == {"delivered": 40, "cancelled": PIECE - 40}
        await world.pipeline.run()
        assert (await progress(world, id_))["counts"] == found["counts"]
        assert {one["status"] for one in await requests_of(world, id_)} <= {"revoked", "completed"}


async def test_a_campaign_that_is_asked_for_twice_is_one(world: World, database: Any) -> None:
    ids = await many(world, 1)
    first = await world.post("/bulk", {"body": "x", "patient_ids": ids}, Idempotency_Key="k")
    died = {"$set": {"state": "open", "lease": utc_now() - LEASE - timedelta(seconds=1)}}
    await database[COLLECTION].update_one({"t": world.pipeline.tenant}, died)
    again = await world.post("/bulk", {"body": "x", "patient_ids": ids}, Idempotency_Key="k")
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert len((await world.get("/bulk")).json()["items"]) == 1


async def test_campaigns_are_listed_the_newest_first(world: World) -> None:
    for name in ("a", "b", "c"):
        await begun(world, name=name, recipients=[{"to": PHONE}])
    await carried_out(world)
    first = (await world.get("/bulk", limit=2)).json()
    second = (await world.get("/bulk", limit=2, cursor=first["next_cursor"])).json()
    assert [one["name"] for one in first["items"] + second["items"]] == ["c", "b", "a"]
    assert [one["counts"] for one in first["items"]] == [{"queued": 1}] * 2
    assert second["next_cursor"] is None
    assert (await world.get("/bulk/none")).status_code == 404


async def test_the_background_carries_out_what_it_finds(world: World) -> None:
    id_ = await begun(world, recipients=[{"to": PHONE}])
    pipeline = world.pipeline
    task = asyncio.create_task(carry_out(pipeline.means_of, pipeline.contexts.of_tenant, pipeline.tenant))
    try:
        for _ in range(600):
            if (await progress(world, id_))["status"] == "completed":
                break
            await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await progress(world, id_))["accepted"] == 1
    assert not await pipeline.contexts.database.collection(campaigns.RECIPIENTS).find_one({"t": pipeline.tenant})
