"""The events of notifications: docs/events.md."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_server.events.event import Event, event_of
from fhir_server.exchange import Call, utc_now
from fhir_server.store.changes import Change
from prm_ext.notifications import machine
from prm_ext.notifications.channels.channel import Receipt, Refused
from prm_ext.notifications.codes import READ_AT, REASON
from prm_ext.notifications.events import MESSAGES, REQUESTS
from prm_ext.notifications.machine import Rules
from prm_ext.notifications.receipts import Receipts
from tests.prm_ext.notifications.api_world import PHONE, World

NAMINGS = {"CommunicationRequest": REQUESTS, "Communication": MESSAGES}
BASED = {"basedOn": [{"reference": "CommunicationRequest/r"}]}


def event(type_: str, elements: dict[str, Any], previous: dict[str, Any] | None = None, *, deleted: bool = False) -> Event:
    version = 1 if previous is None else 2
    return event_of(Change("t", type_, "1", version, datetime.now(UTC), deleted, elements, previous), NAMINGS)


def reason(*codes: str) -> dict[str, Any]:
    return {"coding": [{"system": REASON, "code": code} for code in codes]}


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        (None, "active", "NOTIFICATION_QUEUED"),
        ("draft", "active", "NOTIFICATION_QUEUED"),
        ("completed", "active", "NOTIFICATION_QUEUED"),
        ("active", "active", "org.fhir.communicationrequest.updated"),
        (None, "draft", "org.fhir.communicationrequest.created"),
        ("active", "completed", "org.fhir.communicationrequest.updated"),
        ("active", "revoked", "NOTIFICATION_CANCELLED"),
        ("active", "entered-in-error", "NOTIFICATION_CANCELLED"),
        ("revoked", "revoked", "org.fhir.communicationrequest.updated"),
    ],
)
def test_a_request_is_queued_or_cancelled(before: str | None, now: str, name: str) -> None:
    previous = None if before is None else {"status": before}
    assert event("CommunicationRequest", {"status": now}, previous).type == name


def test_a_request_that_is_deleted_is_cancelled() -> None:
    assert event("CommunicationRequest", {}, {"status": "active"}, deleted=True).type == "NOTIFICATION_CANCELLED"


@pytest.mark.parametrize(
    ("elements", "previous", "name"),
    [
        ({"status": "in-progress", "sent": "x"}, None, "NOTIFICATION_SENT"),
        ({"status": "in-progress", "sent": "x"}, {"sent": "x"}, "org.fhir.communication.updated"),
        ({"status": "completed", "sent": "x", "received": "y"}, {"sent": "x"}, "NOTIFICATION_DELIVERED"),
        ({"sent": "x", "received": "y", "extension": [{"url": READ_AT}]}, {"sent": "x", "received": "y"}, "NOTIFICATION_READ"),
        ({"sent": "x", "received": "y", "extension": [{"url": READ_AT}]}, {"sent": "x"}, "NOTIFICATION_READ"),
        ({"status": "not-done", "statusReason": reason("address")}, None, "NOTIFICATION_FAILED"),
        ({"status": "stopped", "sent": "x", "statusReason": reason("transient")}, {"sent": "x"}, "NOTIFICATION_FAILED"),
        ({"status": "stopped", "statusReason": reason("cancelled")}, {}, "org.fhir.communication.updated"),
        ({"status": "not-done", "statusReason": reason("address", "another-channel")}, {}, "org.fhir.communication.updated"),
        (
            {"status": "not-done", "statusReason": reason("address")},
            {"status": "not-done", "statusReason": reason("address", "another-channel")},
            "NOTIFICATION_FAILED",
        ),
        ({"status": "preparation"}, None, "org.fhir.communication.created"),
    ],
)
def test_a_message_tells_how_far_it_is(elements: dict[str, Any], previous: dict[str, Any] | None, name: str) -> None:
    assert event("Communication", BASED | elements, None if previous is None else BASED | previous).type == name


def test_a_communication_that_no_request_led_to_has_no_name_of_its_own() -> None:
    assert event("Communication", {"status": "completed", "sent": "x"}).type == "org.fhir.communication.created"


def test_a_message_that_came_in_is_received_once_with_what_it_answers() -> None:
    elements = {
        "status": "completed",
        "identifier": [{"system": "urn:prm:provider:twilio", "value": "SM1"}],
        "sender": {"reference": "Patient/p"},
        "subject": {"reference": "Patient/p"},
        "inResponseTo": [{"reference": "Communication/c"}],
        "medium": [{"coding": [{"system": "urn:prm:notification-channel", "code": "sms"}]}],
        "payload": [{"contentString": "secret"}],
    }
    found = event("Communication", elements)
    own = {name: value for name, value in found.data.items() if name not in ("resourceType", "id", "versionId")}
    assert (found.type, found.patient) == ("NOTIFICATION_RECEIVED", "Patient/p")
    assert own == {"communication_id": found.change.id, "channel": "sms", "in_response_to": "Communication/c"}
    assert event("Communication", elements, elements).type == "org.fhir.communication.updated"
    copied = {**elements, "identifier": [{"system": "urn:elsewhere", "value": "1"}]}
    assert event("Communication", copied).type == "org.fhir.communication.created"


def test_it_has_ids_and_codes_and_nothing_of_what_was_said() -> None:
    elements = {
        **BASED,
        "status": "not-done",
        "subject": {"reference": "Patient/p"},
        "payload": [{"contentString": "secret"}],
        "medium": [{"coding": [{"system": "urn:prm:notification-channel", "code": "sms"}]}],
        "category": [{"coding": [{"system": "urn:prm:notification-category", "code": "lab-results"}]}],
        "statusReason": {
            "coding": [{"system": REASON, "code": "address"}, {"system": "urn:prm:provider:twilio", "code": "21211"}]
        },
    }
    found = event("Communication", elements)
    own = {name: value for name, value in found.data.items() if name not in ("resourceType", "id", "versionId")}
    assert own == {"notification_id": "r", "category": "lab-results", "channel": "sms", "reason": "address", "code": "21211"}
    assert found.patient == "Patient/p"
    campaign = {"status": "active", "groupIdentifier": {"system": "urn:prm:campaign", "value": "c"}}
    assert event("CommunicationRequest", campaign).data["campaign_id"] == "c"


async def named(world: World, type_: str, id_: str) -> list[str]:
    """Return the names of what has happened to a resource, in its order."""
    ctx = world.pipeline.ctx
    bundle = (await ctx.dispatch(ctx, Call("history-instance", type_, id_))).resource or {}
    versions = [entry["resource"] for entry in reversed(bundle["entry"])]
    return [event(type_, one, previous).type for previous, one in zip([None, *versions], versions, strict=False)]


async def test_a_fallback_fails_only_where_no_channel_is_left(world: World) -> None:
    patient = await world.patient(telecom=[{"system": "phone", "value": PHONE}, {"system": "email", "value": "a@example.org"}])
    sent = await world.sent(patient_id=patient, to=None)
    pipeline = world.pipeline
    await pipeline.plan()
    rules = Rules.at(pipeline.means.settings, utc_now())
    for count, channel in enumerate(("whatsapp", "sms", "email"), start=1):
        [found] = await pipeline.deliveries()
        record = {
            "id": f"{found['_id'].rpartition('/')[2]}-{channel}",
            "channel": channel,
            "to": "x",
            "provider": "p",
            "body": "b",
        }
        tried = machine.tried(found, record, utc_now())
        refused = machine.concluded(tried, Refused("address", "21211", "No."), rules, reports=True, others=count < 3)
        await pipeline.results.show(await pipeline.means.deliveries.advance(found, lambda _, one=refused: one))
        names = [await named(world, "Communication", f"{sent['id']}-{one}") for one in ("whatsapp", "sms", "email")[:count]]
        assert ["NOTIFICATION_FAILED" in one for one in names] == [False] * (count - 1) + [count == 3]
    assert (await world.read(sent["id"]))["status"] == "failed"


async def test_receipts_are_told_one_after_the_other(world: World) -> None:
    sent = await world.sent(channel="sms")
    pipeline = world.pipeline
    await pipeline.run()
    [found] = await pipeline.deliveries()
    message = found["messages"][0]["id"]
    assert await named(world, "CommunicationRequest", sent["id"]) == [
        "NOTIFICATION_QUEUED",
        "org.fhir.communicationrequest.updated",
    ]
    assert (await named(world, "Communication", message))[-1] == "NOTIFICATION_DELIVERED"
    receipts = Receipts(pipeline.means, pipeline.contexts.of_tenant)
    read = Receipt("r1", "read", utc_now() + timedelta(seconds=1), reference=message)
    assert await receipts.take(pipeline.ctx, "console", [read]) == 1
    assert (await named(world, "Communication", message))[-1] == "NOTIFICATION_READ"
    shown = await world.read(sent["id"])
    assert (shown["status"], shown["timeline"][-1]["event"]) == ("read", "read")
