"""What a patient wants to hear of, over HTTP."""

from typing import Any

from prm_ext.notifications.channels.channel import CHANNELS
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.consent import opt_out
from tests.prm_ext.notifications.api_world import PHONE, World


async def change(world: World, patient: str, *items: dict[str, Any]) -> Any:
    answer = await world.http.patch(f"http://test/api/v1/prm/notifications/preferences/{patient}", json={"items": list(items)})
    assert answer.status_code == 200, answer.text
    return denied(answer.json())


def denied(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["category"], one["channel"]) for one in answer["items"] if not one["allowed"]}


async def test_a_patient_is_written_to_with_everything_until_something_is_said(world: World) -> None:
    patient = await world.patient()
    answer = (await world.get(f"/preferences/{patient}")).json()
    assert answer["patient_id"] == patient
    assert {(one["category"], one["channel"]) for one in answer["items"]} == {(k, c) for k in KINDS for c in CHANNELS}
    assert denied(answer) == set()


async def test_a_kind_that_is_turned_off_is_not_sent_and_others_are(world: World) -> None:
    patient = await world.patient()
    assert await change(world, patient, {"category": "health-tips", "allowed": False}) == {
        ("health-tips", channel) for channel in CHANNELS
    }
    tip = await world.sent(to=None, patient_id=patient, channel="sms", category="health-tips")
    reminder = await world.sent(to=None, patient_id=patient, channel="sms", category="appointment-reminder")
    await world.pipeline.run()
    assert ((await world.read(tip["id"]))["status"], (await world.read(reminder["id"]))["status"]) == ("failed", "delivered")
    assert await change(world, patient, {"category": "health-tips", "allowed": True}) == set()


async def test_a_channel_that_is_turned_off_is_off_for_every_kind(world: World) -> None:
    patient = await world.patient()
    assert await change(world, patient, {"channel": "voice", "allowed": False}) == {(kind, "voice") for kind in KINDS}


async def test_what_was_refused_from_a_phone_is_not_allowed_again_by_others(world: World) -> None:
    patient = await world.patient()
    ctx = world.pipeline.ctx
    await opt_out(ctx, [f"Patient/{patient}"], channel="sms", sender="", address=PHONE, source="test")
    found = await change(world, patient, {"allowed": True})
    assert {channel for _, channel in found} == {"sms"}


async def test_what_is_no_kind_or_nobody_is_said_so(world: World) -> None:
    patient = await world.patient()
    path = f"http://test/api/v1/prm/notifications/preferences/{patient}"
    assert (await world.http.patch(path, json={"items": [{"channel": "pigeon", "allowed": False}]})).status_code == 422
    assert (await world.http.patch(path, json={"items": []})).status_code == 422
    assert (await world.get("/preferences/nobody")).status_code == 404
