"""One message of several is withdrawn: to one recipient, or at one time (docs/notifications/README.md)."""

from typing import Any

import pytest

from prm_ext.notifications.codes import REASON, WITHDRAWN
from tests.prm_ext.notifications.api_world import PHONE, World

OTHER = "+14155550177"


async def repeated(world: World) -> str:
    """Return the id of a notification that goes three times."""
    repeat = {"every": 1, "unit": "day", "times": ["08:00"], "count": 3}
    answer = await world.post("/schedule", {"to": PHONE, "body": "Take your pill.", "repeat": repeat})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def to_two(world: World, **when: str) -> tuple[str, list[str]]:
    """Return the id of a request with two recipients, and these."""
    people = [await world.patient(), await world.patient(telecom=[{"system": "phone", "value": OTHER}])]
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        **(when or {"occurrenceDateTime": "2090-01-01T08:00:00Z"}),
        "recipient": [{"reference": f"Patient/{one}"} for one in people],
        "payload": [{"contentString": "Hello."}],
    }
    id_ = (await world.pipeline.write(request))["id"]
    await world.pipeline.plan()
    return id_, people


async def items(world: World) -> dict[str, str]:
    return {one["id"]: one["status"] for one in (await world.get("")).json()["items"]}


async def outbox(world: World) -> list[str]:
    return [one["to"] for one in (await world.get("/outbox")).json()["items"]]


async def communications(world: World) -> list[dict[str, Any]]:
    cursor = world.pipeline.ctx.repo.collection("Communication").find({"t": world.pipeline.tenant}, {"i": 1})
    return [await world.pipeline.read("Communication", one["i"]) async for one in cursor]


async def test_one_time_of_several_is_cancelled_and_the_others_go(world: World) -> None:
    id_ = await repeated(world)
    (first,) = await items(world)
    answer = await world.post(f"/{first}/cancel")
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (200, first, "cancelled")
    found = await items(world)
    assert sorted(found.values()) == ["cancelled", "queued"]
    request = await world.pipeline.read("CommunicationRequest", id_)
    said = [one["valueString"] for one in request["extension"] if one["url"] == WITHDRAWN]
    assert (request["status"], said) == ("active", [first.partition("~")[2]])
    for _ in range(3):
        await world.pipeline.hurry()
        await world.pipeline.send()
    assert sorted((await items(world)).values()) == ["cancelled", "delivered", "delivered"]
    assert len(await outbox(world)) == 2
    assert (await world.pipeline.read("CommunicationRequest", id_))["status"] == "completed"


async def test_the_last_time_of_several_is_cancelled_and_completes_the_request(world: World) -> None:
    id_ = await repeated(world)
    for _ in range(3):
        (waiting,) = [one for one, status in (await items(world)).items() if status == "queued"]
        assert (await world.post(f"/{waiting}/cancel")).status_code == 200
    await world.pipeline.send()
    assert (await outbox(world), set((await items(world)).values())) == ([], {"cancelled"})
    assert (await world.pipeline.read("CommunicationRequest", id_))["status"] == "completed"


@pytest.mark.parametrize(("place", "left"), [("~~", OTHER), ("~~1", PHONE)])
async def test_one_recipient_of_several_is_cancelled_and_the_others_get_it(world: World, place: str, left: str) -> None:
    id_, people = await to_two(world)
    answer = await world.post(f"/{id_}{place}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    await world.pipeline.hurry()
    await world.pipeline.send()
    assert await outbox(world) == [left]
    found = {one["recipient"][0]["reference"]: one for one in await communications(world)}
    gone = found[f"Patient/{people[place == '~~1']}"]
    codings = [(one["system"], one["code"]) for one in gone["statusReason"]["coding"]]
    assert (gone["status"], codings) == ("not-done", [(REASON, "cancelled")])
    assert gone["basedOn"] == [{"reference": f"CommunicationRequest/{id_}"}]
    assert found[f"Patient/{people[place == '~~']}"]["status"] == "completed"


async def test_done_twice_it_is_the_same_and_what_was_sent_is_not_cancelled(world: World) -> None:
    id_, _ = await to_two(world)
    first, again = [await world.post(f"/{id_}~~1/cancel") for _ in range(2)]
    assert (first.status_code, again.status_code) == (200, 200)
    request = await world.pipeline.read("CommunicationRequest", id_)
    assert request["meta"]["versionId"] == "2"
    await world.pipeline.hurry()
    await world.pipeline.send()
    late = await world.post(f"/{id_}~~/cancel")
    assert (late.status_code, late.json()["detail"]) == (409, "It is delivered already, and can not be cancelled.")


async def test_the_only_message_of_a_request_is_the_request(world: World) -> None:
    answer = await world.post("/schedule", {"to": PHONE, "body": "x", "send_at": "2090-01-01T08:00:00Z"})
    id_ = answer.json()["id"]
    assert (await world.post(f"/{id_}~~/cancel")).status_code == 200
    assert (await world.pipeline.read("CommunicationRequest", id_))["status"] == "revoked"


async def test_an_ehr_withdraws_by_the_extension_and_what_a_worker_has_claimed_is_not_sent(world: World) -> None:
    id_, _ = await to_two(world, priority="routine")
    await world.pipeline.dispatcher.round(world.pipeline.queue)
    request = await world.pipeline.read("CommunicationRequest", id_)
    await world.pipeline.write({**request, "extension": [{"url": WITHDRAWN, "valueString": "~1"}]})
    pieces, world.pipeline.queue.pieces = world.pipeline.queue.pieces, []
    for piece in pieces:
        await world.pipeline._sender.deliver(world.pipeline.contexts.of_tenant, *piece)
    assert await outbox(world) == [PHONE]
    assert await items(world) == {id_: "delivered", f"{id_}~~1": "cancelled"}


async def test_what_was_withdrawn_stays_so_when_the_request_is_edited(world: World) -> None:
    id_, _ = await to_two(world)
    await world.post(f"/{id_}~~1/cancel")
    request = await world.pipeline.read("CommunicationRequest", id_)
    without = {name: value for name, value in request.items() if name != "extension"}
    await world.pipeline.write({**without, "payload": [{"contentString": "Other words."}]})
    await world.pipeline.plan()
    await world.pipeline.hurry()
    await world.pipeline.send()
    assert await outbox(world) == [PHONE]


async def test_a_request_that_withdraws_from_the_beginning_is_sent_to_the_others_only(world: World) -> None:
    people = [await world.patient(), await world.patient(telecom=[{"system": "phone", "value": OTHER}])]
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "extension": [{"url": WITHDRAWN, "valueString": "~"}],
        "recipient": [{"reference": f"Patient/{one}"} for one in people],
        "payload": [{"contentString": "Hello."}],
    }
    await world.pipeline.write(request)
    await world.pipeline.run()
    assert await outbox(world) == [OTHER]
    assert sorted(one["status"] for one in await communications(world)) == ["completed", "not-done"]
