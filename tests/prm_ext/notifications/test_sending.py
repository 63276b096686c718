"""From a request to what came of it, over the real SDKs and the stand-ins of the providers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.config import Settings
from prm_ext.notifications import codes
from prm_ext.notifications.channels.channel import Receipt
from prm_ext.notifications.receipts import Receipts
from tests.prm_ext.notifications.pipeline import Pipeline
from tests.providers.behaviour import Behaviour
from tests.providers.stand_ins import StandIns, running
from tests.providers.twilio_magic import FAILING, INVALID, LOST_AND_CUT, NEVER, OPTED_OUT, OUTSIDE_WINDOW

SMS = {"coding": [{"system": codes.PARTICIPATION_MODE, "code": "SMSWRIT"}]}
WHATSAPP = {"coding": [{"system": codes.PARTICIPATION_MODE, "code": "APPWRIT"}]}
EMAIL = {"coding": [{"system": codes.PARTICIPATION_MODE, "code": "EMAILWRIT"}]}


@pytest.fixture
async def providers() -> AsyncIterator[StandIns]:
    async with running(Behaviour(life=False)) as found:
        yield found


@pytest.fixture
async def pipeline(settings: Settings, database: Any, providers: StandIns) -> AsyncIterator[Pipeline]:
    values = {**providers.settings, "sms": "twilio", "whatsapp": "twilio", "email": "sendgrid", "twilio_timeout": 1.0}
    async with Pipeline(settings, database, **values, public_url="https://prm.example.org") as found:
        yield found


def patient(phone: str = "+14155550123", email: str = "ada@example.org", **values: Any) -> dict[str, Any]:
    telecom = [{"system": "phone", "use": "mobile", "value": phone}] if phone else []
    telecom += [{"system": "email", "value": email}] if email else []
    found = {"resourceType": "Patient", "id": "ada", "name": [{"family": "Byron"}], **({"telecom": telecom} if telecom else {})}
    return found | values


def request(*media: dict[str, Any], **values: Any) -> dict[str, Any]:
    found = {
        "resourceType": "CommunicationRequest",
        "id": "r",
        "status": "active",
        "subject": {"reference": "Patient/ada"},
        "recipient": [{"reference": "Patient/ada"}],
        "payload": [{"contentString": "Your results are here."}],
    }
    return found | ({"medium": list(media)} if media else {}) | values


def repeated(timing: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"url": codes.TIMING, "valueTiming": timing}]


async def sent(pipeline: Pipeline, who: dict[str, Any], what: dict[str, Any]) -> list[dict[str, Any]]:
    """Write both, run the pipeline, and return the Communications, the first that was tried first."""
    await pipeline.write(who)
    await pipeline.write(what)
    await pipeline.run()
    return await communications(pipeline)


async def communications(pipeline: Pipeline) -> list[dict[str, Any]]:
    found = await pipeline.search("Communication", _sort="_lastUpdated")
    return sorted(found, key=lambda one: "partOf" in one)


def codings(resource: dict[str, Any]) -> dict[str, str]:
    return {one["system"]: one["code"] for one in resource["statusReason"]["coding"]}


async def test_a_request_becomes_a_message_and_a_communication_in_preparation(pipeline: Pipeline, providers: StandIns) -> None:
    (found,) = await sent(pipeline, patient(), request(SMS))
    (entry,) = providers.ledger.entries
    assert (entry.to, entry.body, entry.channel) == ("+14155550123", "Your results are here.", "sms")
    assert entry.callback == f"https://prm.example.org/api/v1/prm/notifications/webhooks/twilio/{pipeline.tenant}/{found['id']}"
    assert found["status"] == "preparation"
    assert found["basedOn"] == [{"reference": "CommunicationRequest/r"}]
    assert found["recipient"] == [{"reference": "Patient/ada"}]
    assert found["subject"] == {"reference": "Patient/ada"}
    assert found["identifier"] == [{"system": "urn:prm:provider:twilio", "value": entry.id}]
    assert found["payload"] == [{"contentString": "Your results are here."}]
    assert codes.channels_of(found["medium"]) == ("sms",)
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "active"


async def test_running_again_sends_nothing_again(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(), request(SMS))
    await pipeline.run()
    assert len(providers.ledger.entries) == 1


async def test_without_a_medium_the_order_of_the_settings_holds(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(), request())
    assert [entry.channel for entry in providers.ledger.entries] == ["whatsapp"]


async def test_a_number_that_is_wrong_for_good_ends_not_done_and_completes_the_request(pipeline: Pipeline) -> None:
    (found,) = await sent(pipeline, patient(INVALID), request(SMS))
    assert found["status"] == "not-done"
    assert codings(found) == {
        codes.NOT_DONE: "invalid-phone-number",
        codes.REASON: "address",
        "urn:prm:provider:twilio": "21211",
    }
    assert INVALID not in found["statusReason"]["text"]
    answer = await pipeline.read("CommunicationRequest", "r")
    assert answer["status"] == "completed"
    assert answer["statusReason"]["coding"][0]["code"] == "invalid-phone-number"


async def test_a_channel_that_fails_for_good_is_followed_by_the_next(pipeline: Pipeline) -> None:
    found = await sent(pipeline, patient(OUTSIDE_WINDOW), request())
    by_channel = {codes.channels_of(one["medium"])[0]: one for one in found}
    assert set(by_channel) == {"whatsapp", "sms", "email"}
    first = by_channel["whatsapp"]
    assert (first["status"], codings(first)["urn:prm:provider:twilio"]) == ("not-done", "63016")
    assert by_channel["email"]["status"] == "preparation"
    for other in ("sms", "email"):
        assert by_channel[other]["partOf"] == [{"reference": f"Communication/{first['id']}"}]


async def test_an_explicit_medium_is_the_only_one(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(INVALID), request(SMS))
    assert providers.ledger.entries == []
    assert len(await communications(pipeline)) == 1


async def test_explicit_media_are_tried_in_their_order(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(INVALID), request(SMS, EMAIL))
    assert [entry.channel for entry in providers.ledger.entries] == ["email"]


async def test_who_opted_out_at_the_provider_is_not_written_to_again(pipeline: Pipeline, providers: StandIns) -> None:
    (found,) = await sent(pipeline, patient(OPTED_OUT, email=""), request(SMS))
    assert (found["status"], codings(found)[codes.NOT_DONE]) == ("not-done", "patient-objection")
    refused = sum(providers.ledger.refused.values())
    await pipeline.write(request(SMS, id="again"))
    await pipeline.run()
    assert sum(providers.ledger.refused.values()) == refused
    later = next(one for one in await communications(pipeline) if one["basedOn"][0]["reference"].endswith("again"))
    assert (later["status"], codings(later)[codes.NOT_DONE]) == ("not-done", "patient-objection")


async def test_a_passing_failure_is_tried_again_until_it_works(pipeline: Pipeline, providers: StandIns) -> None:
    providers.behaviour.outage = True
    await sent(pipeline, patient(), request(SMS))
    (waiting,) = await pipeline.deliveries()
    assert waiting["state"] == "waiting"
    assert waiting["due"] > datetime.now(UTC)
    providers.behaviour.outage = False
    await pipeline.hurry()
    await pipeline.send()
    (found,) = await communications(pipeline)
    assert (found["status"], len(providers.ledger.entries)) == ("preparation", 1)
    assert [one["outcome"] for one in (await pipeline.deliveries())[0]["messages"][0]["tries"]] == ["transient", "accepted"]


async def test_a_failure_that_does_not_pass_ends_stopped_with_a_system_error(pipeline: Pipeline) -> None:
    await sent(pipeline, patient(FAILING, email=""), request(SMS))
    for _ in range(pipeline.means.settings.max_attempts):
        await pipeline.hurry()
        await pipeline.send()
    (found,) = await communications(pipeline)
    assert (found["status"], codings(found)[codes.NOT_DONE]) == ("stopped", "system-error")
    (delivery,) = await pipeline.deliveries()
    assert (delivery["state"], len(delivery["messages"][0]["tries"])) == ("done", pipeline.means.settings.max_attempts)


async def test_a_message_whose_answer_was_lost_is_found_at_the_provider_and_not_sent_again(
    pipeline: Pipeline, providers: StandIns
) -> None:
    await sent(pipeline, patient(LOST_AND_CUT), request(SMS))
    assert (await pipeline.deliveries())[0]["messages"][0]["tries"][-1]["outcome"] == "unknown"
    await pipeline.hurry()
    await pipeline.send()
    (entry,) = providers.ledger.entries
    (found,) = await communications(pipeline)
    assert found["identifier"] == [{"system": "urn:prm:provider:twilio", "value": entry.id}]


async def test_a_message_that_the_provider_never_had_is_sent_again(pipeline: Pipeline) -> None:
    await sent(pipeline, patient(NEVER, email=""), request(SMS))
    assert (await pipeline.deliveries())[0]["messages"][0]["tries"][-1]["outcome"] == "unknown"
    await pipeline.hurry()
    await pipeline.send()
    tries = (await pipeline.deliveries())[0]["messages"][0]["tries"]
    assert [one["outcome"] for one in tries] == ["lost", "unknown"]


async def test_a_worker_that_died_after_sending_leaves_a_message_that_is_found_again(
    pipeline: Pipeline, providers: StandIns
) -> None:
    await sent(pipeline, patient(), request(SMS))
    collection = pipeline.means.deliveries.collection
    (delivery,) = await pipeline.deliveries()
    lost = {"messages.0.tries.0": {"at": delivery["messages"][0]["tries"][0]["at"], "outcome": "unknown"}}
    past = datetime.now(UTC) - timedelta(seconds=1)
    change = {"$set": {**lost, "state": "sending", "token": "dead", "lease": past, "provider_ids": []}, "$inc": {"rev": 1}}
    await collection.update_one({"_id": delivery["_id"]}, change)
    await pipeline.means.deliveries.expire(datetime.now(UTC))
    await pipeline.send()
    assert len(providers.ledger.entries) == 1
    (found,) = await pipeline.deliveries()
    assert (found["state"], found["provider_ids"]) == ("sent", [f"twilio|{providers.ledger.entries[0].id}"])


async def test_a_withdrawn_request_is_not_sent_even_when_it_was_claimed(pipeline: Pipeline, providers: StandIns) -> None:
    await pipeline.write(patient())
    await pipeline.write(request(SMS))
    await pipeline.plan()
    await pipeline.dispatcher.round(pipeline.queue)
    await pipeline.write(request(SMS, status="revoked"))
    pieces, pipeline.queue.pieces = pipeline.queue.pieces, []
    for piece in pieces:
        await pipeline._sender.deliver(pipeline.contexts.of_tenant, *piece)
    assert providers.ledger.entries == []
    (delivery,) = await pipeline.deliveries()
    assert (delivery["state"], delivery["status"]) == ("done", "cancelled")
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "revoked"


async def test_what_must_not_be_done_is_not_done(pipeline: Pipeline, providers: StandIns) -> None:
    assert await sent(pipeline, patient(), request(SMS, doNotPerform=True)) == []
    assert providers.ledger.entries == []


@pytest.mark.parametrize("status", ["draft", "on-hold", "completed", "entered-in-error"])
async def test_only_active_requests_are_sent(pipeline: Pipeline, providers: StandIns, status: str) -> None:
    assert await sent(pipeline, patient(), request(SMS, status=status)) == []
    assert providers.ledger.entries == []


async def test_a_request_on_hold_goes_on_when_it_is_active_again(pipeline: Pipeline, providers: StandIns) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await sent(pipeline, patient(), request(SMS, occurrenceDateTime=later))
    await pipeline.write(request(SMS, status="on-hold"))
    await pipeline.run()
    assert (await pipeline.deliveries())[0]["state"] == "held"
    await pipeline.write(request(SMS))
    await pipeline.run()
    assert len(providers.ledger.entries) == 1


async def test_a_schedule_may_be_moved_until_it_is_sent(pipeline: Pipeline, providers: StandIns) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    await sent(pipeline, patient(), request(SMS, occurrenceDateTime=(now + timedelta(hours=2)).isoformat()))
    assert providers.ledger.entries == []
    await pipeline.write(request(SMS, occurrenceDateTime=(now + timedelta(hours=5)).isoformat()))
    await pipeline.run()
    (delivery,) = await pipeline.deliveries()
    assert (delivery["state"], delivery["due"]) == ("waiting", now + timedelta(hours=5))
    await pipeline.write(request(SMS, occurrenceDateTime=now.isoformat()))
    await pipeline.run()
    assert len(providers.ledger.entries) == 1


async def test_a_move_that_the_planner_has_not_seen_yet_is_seen_by_the_worker(pipeline: Pipeline, providers: StandIns) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    await pipeline.write(patient())
    await pipeline.write(request(SMS))
    await pipeline.plan()
    await pipeline.write(request(SMS, occurrenceDateTime=(now + timedelta(hours=5)).isoformat()))
    await pipeline.send()
    assert providers.ledger.entries == []
    (delivery,) = await pipeline.deliveries()
    assert (delivery["state"], delivery["due"]) == ("waiting", now + timedelta(hours=5))


async def test_what_is_too_late_is_not_sent_and_says_so(pipeline: Pipeline, providers: StandIns) -> None:
    (found,) = await sent(pipeline, patient(), request(SMS, occurrenceDateTime="2026-01-01T10:00:00Z"))
    assert (found["status"], codings(found)[codes.REASON]) == ("not-done", "expired")
    assert providers.ledger.entries == []
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "completed"


async def test_a_schedule_that_can_not_be_understood_ends_at_once(pipeline: Pipeline) -> None:
    timing = {"repeat": {"frequency": 1, "period": Decimal("0.0001"), "periodUnit": "s"}}
    (found,) = await sent(pipeline, patient(), request(SMS, extension=repeated(timing)))
    assert (found["status"], codings(found)[codes.REASON]) == ("not-done", "schedule")


async def test_what_repeats_is_sent_each_time_and_completes_after_the_last(pipeline: Pipeline, providers: StandIns) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    times = [now, now + timedelta(hours=3), now + timedelta(hours=6)]
    await sent(pipeline, patient(), request(SMS, extension=repeated({"event": [one.isoformat() for one in times]})))
    assert len(providers.ledger.entries) == 1
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "active"
    first, second = await pipeline.deliveries()
    assert (first["at"], second["at"], second["state"]) == (times[0], times[1], "waiting")


async def test_each_recipient_gets_a_message_of_their_own(pipeline: Pipeline, providers: StandIns) -> None:
    await pipeline.write(patient("+14155550124", id="bob"))
    both = [{"reference": "Patient/ada"}, {"reference": "Patient/bob"}]
    found = await sent(pipeline, patient(), request(SMS, recipient=both))
    assert sorted(entry.to for entry in providers.ledger.entries) == ["+14155550123", "+14155550124"]
    assert sorted(one["recipient"][0]["reference"] for one in found) == ["Patient/ada", "Patient/bob"]


async def test_the_members_of_a_group_get_one_each(pipeline: Pipeline, providers: StandIns) -> None:
    await pipeline.write(patient("+14155550124", id="bob"))
    members = [{"entity": {"reference": "Patient/ada"}}, {"entity": {"reference": "Patient/bob"}}]
    await pipeline.write(patient())
    await pipeline.write({"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": members})
    await pipeline.write(request(SMS, recipient=[{"reference": "Group/g"}]))
    await pipeline.run()
    assert sorted(entry.to for entry in providers.ledger.entries) == ["+14155550123", "+14155550124"]


async def test_an_address_that_the_request_gives_goes_before_the_patients_own(pipeline: Pipeline, providers: StandIns) -> None:
    given = {"reference": "Patient/ada", "extension": [{"url": codes.ADDRESS, "valueString": "+14155550177"}]}
    await sent(pipeline, patient(), request(SMS, recipient=[given]))
    assert [entry.to for entry in providers.ledger.entries] == ["+14155550177"]


async def test_without_an_address_it_ends_not_done_as_unavailable(pipeline: Pipeline) -> None:
    (found,) = await sent(pipeline, patient(phone="", email=""), request(SMS))
    assert (found["status"], codings(found)) == (
        "not-done",
        {codes.NOT_DONE: "recipient-unavailable", codes.REASON: "no-address"},
    )


async def test_without_content_it_ends_not_done_and_says_why(pipeline: Pipeline) -> None:
    what = request(SMS)
    del what["payload"]
    (found,) = await sent(pipeline, patient(), what)
    assert (found["status"], codings(found)[codes.REASON]) == ("not-done", "content")
    assert "nothing to send" in found["statusReason"]["text"]


async def test_in_quiet_hours_only_what_is_urgent_goes(settings: Settings, database: Any, providers: StandIns) -> None:
    now = datetime.now(UTC)
    quiet = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    values = {**providers.settings, "sms": "twilio", "quiet_hours": quiet}
    async with Pipeline(settings, database, **values) as pipeline:
        await sent(pipeline, patient(), request(SMS))
        assert providers.ledger.entries == []
        (waiting,) = await pipeline.deliveries()
        assert timedelta(hours=1) < waiting["due"] - now <= timedelta(hours=2)
        await pipeline.write(request(SMS, id="now", priority="urgent"))
        await pipeline.run()
        assert len(providers.ledger.entries) == 1


async def test_two_workers_with_the_same_piece_send_once(pipeline: Pipeline, providers: StandIns) -> None:
    await pipeline.write(patient())
    await pipeline.write(request(SMS))
    await pipeline.plan()
    await pipeline.dispatcher.round(pipeline.queue)
    ((id_, token),) = pipeline.queue.pieces
    pipeline.queue.pieces = []
    await asyncio.gather(*(pipeline._sender.deliver(pipeline.contexts.of_tenant, id_, token) for _ in range(4)))
    assert len(providers.ledger.entries) == 1


async def test_a_channel_that_is_off_is_said_so(settings: Settings, database: Any) -> None:
    async with Pipeline(settings, database, sms="off") as pipeline:
        (found,) = await sent(pipeline, patient(email=""), request(SMS))
        assert found["status"] == "not-done"


async def test_the_console_keeps_messages_and_completes_them(settings: Settings, database: Any) -> None:
    async with Pipeline(settings, database) as pipeline:
        (found,) = await sent(pipeline, patient(), request(SMS))
        assert found["status"] == "completed"
        assert "sent" in found
        assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "completed"


async def test_tenants_have_providers_and_messages_of_their_own(settings: Settings, database: Any, providers: StandIns) -> None:
    values = {**providers.settings, "tenants": f'{{"{settings.default_tenant}": {{"sms": "twilio"}}}}'}
    async with Pipeline(settings, database, **values) as pipeline:
        await sent(pipeline, patient(), request(SMS))
        assert len(providers.ledger.entries) == 1


async def test_no_receipt_within_the_bound_asks_the_provider(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(), request(SMS))
    (entry,) = providers.ledger.entries
    entry.status = "delivered"
    past = datetime.now(UTC) - timedelta(seconds=1)
    await pipeline.means.deliveries.collection.update_one({"t": pipeline.tenant}, {"$set": {"lease": past}, "$inc": {"rev": 1}})
    await pipeline.means.deliveries.expire(datetime.now(UTC))
    await pipeline.send()
    (found,) = await communications(pipeline)
    assert (found["status"], "received" in found) == ("completed", True)
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "completed"


async def test_nothing_that_is_ever_known_ends_as_unknown(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(), request(SMS))
    providers.ledger.clear()
    past = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(12):
        change = {"$set": {"lease": past}, "$inc": {"rev": 1}}
        await pipeline.means.deliveries.collection.update_one({"t": pipeline.tenant, "state": "sent"}, change)
        await pipeline.means.deliveries.expire(datetime.now(UTC))
        await pipeline.hurry()
        await pipeline.send()
    (found,) = await communications(pipeline)
    assert (found["status"], codings(found)) == ("unknown", {codes.NOT_DONE: "unknown"})


async def test_a_message_that_two_look_for_belongs_to_the_one_that_found_it_first(pipeline: Pipeline) -> None:
    deliveries = pipeline.means.deliveries
    one, other, id_ = f"{pipeline.tenant}/a", f"{pipeline.tenant}/b", f"SM{pipeline.tenant}"
    assert await deliveries.take("twilio", id_, one)
    assert not await deliveries.take("twilio", id_, other)
    assert await deliveries.take("twilio", id_, one)


async def test_times_that_have_all_passed_are_told(pipeline: Pipeline) -> None:
    (found,) = await sent(pipeline, patient(), request(SMS, extension=repeated({"event": ["2026-01-01T10:00:00Z"]})))
    assert (found["status"], codings(found)[codes.REASON]) == ("not-done", "expired")


async def test_a_change_of_the_order_in_a_group_sends_nobody_a_second_message(pipeline: Pipeline, providers: StandIns) -> None:
    await pipeline.write(patient())
    await pipeline.write(patient("+14155550124", id="bob"))
    members = [{"entity": {"reference": "Patient/ada"}}, {"entity": {"reference": "Patient/bob"}}]
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True}
    await pipeline.write({**group, "member": members})
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await pipeline.write(request(SMS, recipient=[{"reference": "Group/g"}], occurrenceDateTime=later))
    await pipeline.run()
    await pipeline.write({**group, "member": members[::-1]})
    await pipeline.write(request(SMS, recipient=[{"reference": "Group/g"}]))
    await pipeline.run()
    assert sorted(entry.to for entry in providers.ledger.entries) == ["+14155550123", "+14155550124"]


async def test_an_edit_does_not_drop_an_occurrence_that_waits_for_the_end_of_quiet_hours(
    settings: Settings, database: Any, providers: StandIns
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    quiet = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    timing = {"event": [one.isoformat() for one in (now, now + timedelta(hours=8))]}
    async with Pipeline(settings, database, **providers.settings, sms="twilio", quiet_hours=quiet) as pipeline:
        await sent(pipeline, patient(), request(SMS, extension=repeated(timing)))
        assert providers.ledger.entries == []
        await pipeline.write(request(SMS, extension=repeated(timing), priority="asap"))
        await pipeline.run()
        assert len(providers.ledger.entries) == 1
        first, second = await pipeline.deliveries()
        assert (first["at"], first["state"]) == (now, "sent")
        assert (second["at"], second["version"]) == (now + timedelta(hours=8), 2)


async def test_who_shows_a_delivery_late_does_not_undo_what_came_after(pipeline: Pipeline, providers: StandIns) -> None:
    await sent(pipeline, patient(), request(SMS))
    (old,) = await pipeline.deliveries()
    (entry,) = providers.ledger.entries
    receipt = Receipt("k", "delivered", datetime.now(UTC), provider_id=entry.id)
    assert await Receipts(pipeline.means, pipeline.contexts.of_tenant).take(pipeline.ctx, "twilio", [receipt]) == 1
    await pipeline.results.show(old)
    (found,) = await communications(pipeline)
    assert found["status"] == "completed"
    assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "completed"


async def test_a_failure_that_the_provider_tells_only_when_it_is_asked_ends_the_message(
    pipeline: Pipeline, providers: StandIns
) -> None:
    await sent(pipeline, patient(), request(SMS))
    (entry,) = providers.ledger.entries
    entry.status, entry.error = "undelivered", "30005"
    past = datetime.now(UTC) - timedelta(seconds=1)
    await pipeline.means.deliveries.collection.update_one({"t": pipeline.tenant}, {"$set": {"lease": past}, "$inc": {"rev": 1}})
    await pipeline.means.deliveries.expire(datetime.now(UTC))
    await pipeline.send()
    (found,) = await communications(pipeline)
    assert (found["status"], codings(found)["urn:prm:provider:twilio"]) == ("stopped", "30005")


async def test_a_recipient_that_was_corrected_a_moment_ago_is_the_one_who_gets_it(
    pipeline: Pipeline, providers: StandIns
) -> None:
    await pipeline.write(patient())
    await pipeline.write(patient("+14155550124", id="bob"))
    await pipeline.write(request(SMS))
    await pipeline.plan()
    await pipeline.write(request(SMS, recipient=[{"reference": "Patient/bob"}], subject={"reference": "Patient/bob"}))
    await pipeline.send()
    assert [entry.to for entry in providers.ledger.entries] == ["+14155550124"]


async def send_without_the_second(pipeline: Pipeline) -> None:
    """Send a request whose second recipient is taken out after it was planned."""
    await pipeline.write(patient())
    await pipeline.write(patient("+14155550124", id="bob"))
    both = [{"reference": "Patient/ada"}, {"reference": "Patient/bob"}]
    await pipeline.write(request(SMS, recipient=both))
    await pipeline.plan()
    await pipeline.write(request(SMS, recipient=both[:1]))
    await pipeline.send()


async def test_who_was_taken_out_of_a_request_a_moment_ago_gets_nothing(pipeline: Pipeline, providers: StandIns) -> None:
    await send_without_the_second(pipeline)
    assert [entry.to for entry in providers.ledger.entries] == ["+14155550123"]


async def test_a_request_is_completed_also_when_who_was_taken_out_is_the_last(settings: Settings, database: Any) -> None:
    async with Pipeline(settings, database) as pipeline:
        await send_without_the_second(pipeline)
        assert sorted(one["status"] for one in await pipeline.deliveries()) == ["cancelled", "delivered"]
        assert (await pipeline.read("CommunicationRequest", "r"))["status"] == "completed"
