"""docs/prm/notifications.md: sending, over HTTP and to its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prm_ext.notifications.codes import TIMING
from tests.prm_ext.notifications.api_world import BASE, PHONE, World

NOBODY = {"telecom": [{"system": "fax", "value": "+14155550100"}]}


def problem(answer: Any) -> tuple[int, str, str]:
    """Return status, field and code of an error."""
    first = answer.json()["errors"][0]
    return answer.status_code, first.get("field", ""), first["code"]


async def test_a_message_is_accepted_queued_and_sent(world: World) -> None:
    patient = await world.patient()
    answer = await world.post(
        "/send", {"patient_id": patient, "channel": "sms", "body": "Please call us.", "metadata": {"a": [1]}}
    )
    assert answer.status_code == 201, answer.text
    queued = answer.json()
    assert answer.headers["Location"] == f"{BASE}/{queued['id']}"
    shown = [queued[name] for name in ("status", "channel", "patient_id", "org_id", "body")]
    assert shown == ["queued", "sms", patient, world.pipeline.tenant, "Please call us."]
    await world.pipeline.run()
    found = await world.read(queued["id"])
    assert (found["status"], found["to"], found["body"]) == ("delivered", PHONE, "Please call us.")
    assert found["created_at"] == queued["created_at"]
    assert (found["metadata"], found["provider"], found["attempts"]) == ({"a": [1]}, "console", 1)
    assert [one["event"] for one in found["timeline"]][:2] == ["created", "attempt"]
    assert found["provider_message_id"] == found["communication_id"]


async def test_it_is_a_communication_request_that_an_ehr_can_read(world: World) -> None:
    patient = await world.patient()
    sent = await world.sent(
        patient_id=patient,
        to=PHONE,
        channel="sms",
        subject="Results",
        category="lab-results",
        priority="urgent",
        metadata={"a": 1},
    )
    request = await world.pipeline.read("CommunicationRequest", sent["id"])
    assert request["status"] == "active"
    assert request["priority"] == "urgent"
    assert request["subject"] == {"reference": f"Patient/{patient}"}
    assert request["recipient"][0]["reference"] == f"Patient/{patient}"
    assert request["recipient"][0]["extension"][0]["valueString"] == PHONE
    assert request["payload"] == [{"contentString": "Hello."}]
    assert [one["code"] for one in request["medium"][0]["coding"]] == ["SMSWRIT", "sms"]
    assert [one["code"] for one in request["category"][0]["coding"]] == ["notification", "lab-results"]
    extensions = {one["url"].rpartition(":")[2]: one["valueString"] for one in request["extension"]}
    assert extensions == {"notification-subject": "Results", "notification-metadata": '{"a": 1}'}


async def test_an_address_is_written_as_providers_want_it(world: World) -> None:
    assert (await world.sent(to="(415) 555-0178"))["to"] == "+14155550178"
    assert (await world.sent(to=" Elena@Example.org", channel="email"))["to"] == "elena@example.org"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"body": "x"}, (422, "", "value_error")),
        ({"to": PHONE}, (422, "body", "missing")),
        ({"to": PHONE, "body": "x", "colour": 1}, (422, "colour", "extra_forbidden")),
        ({"to": "12", "body": "x"}, (422, "to", "string_too_short")),
        ({"to": "12345", "body": "x"}, (422, "to", "value")),
        ({"to": "a@b", "body": "x"}, (422, "to", "value")),
        ({"to": "a@example.org", "channel": "sms", "body": "x"}, (422, "to", "value")),
        ({"to": PHONE, "channel": "email", "body": "x"}, (422, "to", "value")),
        ({"to": PHONE, "channel": "pigeon", "body": "x"}, (422, "channel", "literal_error")),
        ({"patient_id": "nobody", "body": "x"}, (422, "patient_id", "not-found")),
        ({"to": PHONE, "body": "x", "media_ids": ["nothing"]}, (422, "media_ids[0]", "not-found")),
        ({"to": PHONE, "body": "x", "metadata": {"a": "b" * 20_000}}, (422, "metadata", "value_error")),
    ],
)
async def test_what_can_not_be_sent_is_refused_with_its_field(
    world: World, body: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert problem(await world.post("/send", body)) == expected


async def test_a_template_is_filled_from_the_patient_and_the_values_given(world: World) -> None:
    patient = await world.patient(communication=[{"language": {"coding": [{"code": "es"}]}, "preferred": True}])
    body = {
        "patient_id": patient,
        "template": "appointment_reminder_24h",
        "variables": {"appointment_time": "10:30", "practitioner_name": "Smith", "location_name": "Bay Clinic"},
    }
    answer = await world.post("/send-template", body)
    assert answer.status_code == 201, answer.text
    queued = answer.json()
    assert (queued["body"], queued["template_id"]) == (None, "built-in.appointment-reminder-24h")
    assert queued["category"] == "appointment-reminder"
    await world.pipeline.run()
    found = await world.read(queued["id"])
    assert found["body"].startswith("¡Hola, Elena García! Recordatorio: tiene una cita mañana a las 10:30 con Dr. Smith")
    assert found["template"].startswith("urn:prm:template:built-in:appointment_reminder_24h|")
    by_id = await world.post("/send-template", {**body, "template": None, "template_id": queued["template_id"]})
    assert by_id.json()["template"] == queued["template"]


async def test_a_template_is_filled_from_the_appointment(world: World) -> None:
    patient = await world.patient()
    appointment = await world.pipeline.write(
        {
            "resourceType": "Appointment",
            "status": "booked",
            "start": "2026-12-01T10:30:00Z",
            "end": "2026-12-01T11:00:00Z",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]},
            "participant": [
                {"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"},
                {"actor": {"display": "Dr. Smith", "type": "Practitioner"}, "status": "accepted"},
                {"actor": {"display": "Bay Clinic", "type": "Location"}, "status": "accepted"},
            ],
        }
    )
    body = {"patient_id": patient, "template": "appointment_reminder_24h", "appointment_id": appointment["id"]}
    answer = await world.post("/send-template", body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["appointment_id"] == appointment["id"]
    await world.pipeline.run()
    assert "at 10:30" in (await world.read(answer.json()["id"]))["body"]
    request = await world.pipeline.read("CommunicationRequest", answer.json()["id"])
    assert [one["code"] for one in request["meta"]["security"]] == ["R"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"template": "no_such"}, (422, "template", "not-found")),
        ({"template_id": "no-such"}, (422, "template_id", "not-found")),
        ({}, (422, "", "value_error")),
        ({"template": "appointment_reminder_24h", "template_id": "x"}, (422, "", "value_error")),
        ({"template": "appointment_reminder_24h"}, (422, "variables.appointment_time", "required")),
        ({"template": "appointment_reminder_24h", "variables": {"colour": "red"}}, (422, "variables.colour", "not-found")),
        (
            {"template": "appointment_reminder_24h", "variables": {"patient_name": True}},
            (422, "variables.patient_name", "string_type"),
        ),
        ({"template": "appointment_reminder_24h", "appointment_id": "none"}, (422, "appointment_id", "not-found")),
        ({"template": "appointment_reminder_24h", "about": ["Encounter/none"]}, (422, "about[0]", "not-found")),
        ({"template": "appointment_reminder_24h", "about": ["nothing"]}, (422, "about[0]", "string_pattern_mismatch")),
    ],
)
async def test_a_template_that_can_not_be_filled_is_refused(
    world: World, body: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    patient = await world.patient()
    assert problem(await world.post("/send-template", {"patient_id": patient, **body})) == expected


async def test_a_retired_template_is_not_sent(world: World) -> None:
    made = await world.post("/templates", {"name": "news", "body": "News for {patient_name}.", "category": "health-tips"})
    assert made.status_code == 201, made.text
    template, patient = made.json()["id"], await world.patient()
    sent = await world.post("/send-template", {"patient_id": patient, "template_id": template})
    assert (sent.status_code, sent.json()["template_id"]) == (201, template)
    assert (await world.http.delete(f"http://test{BASE}/templates/{template}")).status_code in (200, 204)
    assert problem(await world.post("/send-template", {"patient_id": patient, "template_id": template}))[:2] == (
        422,
        "template_id",
    )
    assert problem(await world.post("/send-template", {"patient_id": patient, "template": "news"}))[:2] == (422, "template")
    listed = await world.get("", template="news")
    assert listed.status_code == 200


async def test_media_go_with_a_message(world: World) -> None:
    document = await world.pipeline.write(
        {
            "resourceType": "DocumentReference",
            "status": "current",
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVsbG8=", "title": "hello.txt"}}],
        }
    )
    sent = await world.sent(to="elena@example.org", subject="A file", media_ids=[document["id"]])
    await world.pipeline.run()
    found = await world.read(sent["id"])
    assert (found["status"], found["channel"], found["subject"]) == ("delivered", "email", "A file")
    outbox = (await world.get("/outbox")).json()["items"]
    assert outbox[0]["media"][0]["mime"] == "text/plain"


async def test_a_message_for_later_waits_until_then(world: World) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    body = {"to": PHONE, "body": "Later.", "send_at": at.isoformat()}
    answer = await world.post("/schedule", body)
    assert answer.status_code == 201, answer.text
    await world.pipeline.run()
    found = await world.read(answer.json()["id"])
    assert (found["status"], found["attempts"]) == ("queued", 0)
    assert datetime.fromisoformat(found["scheduled_at"]) - at < timedelta(milliseconds=1)
    assert [one["event"] for one in found["timeline"]] == ["created", "scheduled"]


async def test_it_may_be_sent_within_a_period(world: World) -> None:
    now = datetime.now(UTC)
    period = {"start": (now - timedelta(minutes=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    answer = await world.post("/schedule", {"to": PHONE, "body": "Now or never.", "period": period})
    assert answer.status_code == 201, answer.text
    await world.pipeline.run()
    assert (await world.read(answer.json()["id"]))["status"] == "delivered"


async def test_what_repeats_is_one_message_for_each_time(world: World) -> None:
    repeat = {"every": 1, "unit": "day", "times": ["08:00", "20:00"], "count": 3}
    answer = await world.post("/schedule", {"to": PHONE, "body": "Take your pill.", "repeat": repeat})
    assert answer.status_code == 201, answer.text
    id_ = answer.json()["id"]
    request = await world.pipeline.read("CommunicationRequest", id_)
    timing = {"period": 1, "periodUnit": "d", "timeOfDay": ["08:00:00", "20:00:00"], "count": 3}
    assert request["extension"] == [{"url": TIMING, "valueTiming": {"repeat": timing}}]
    first = (await world.get("")).json()["items"]
    assert len(first) == 1
    assert first[0]["id"].startswith(f"{id_}~")
    assert first[0]["request_id"] == id_
    await world.pipeline.hurry()
    await world.pipeline.send()
    listed = (await world.get("")).json()["items"]
    assert sorted(one["status"] for one in listed) == ["delivered", "queued"]
    whole = await world.read(id_)
    assert (whole["id"], whole["status"], len(whole["others"])) == (id_, "queued", 1)
    one = await world.read(whole["others"][0])
    assert (one["id"], one["status"]) == (whole["others"][0], "delivered")
    part = await world.post(f"/{whole['others'][0]}/cancel")
    assert (part.status_code, part.json()["detail"]) == (409, "It is delivered already, and can not be cancelled.")
    moved = await world.post(f"/{whole['others'][0]}/reschedule", {"send_at": "2030-01-01T08:00:00Z"})
    assert moved.status_code == 409
    cancelled = await world.post(f"/{id_}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    await world.pipeline.hurry()
    await world.pipeline.send()
    assert len((await world.get("")).json()["items"]) == 2


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, (422, "", "value_error")),
        ({"send_at": "2026-01-01T08:00:00"}, (422, "send_at.datetime", "timezone_aware")),
        ({"send_at": "2020-01-01T08:00:00Z"}, (422, "send_at", "value")),
        ({"period": {"end": "2020-01-01T08:00:00Z"}}, (422, "period", "value")),
        ({"period": {"start": "2030-01-02T08:00:00Z", "end": "2030-01-01T08:00:00Z"}}, (422, "period", "value_error")),
        ({"repeat": {"unit": "day", "end": "2020-01-01"}}, (422, "repeat", "value")),
        ({"repeat": {"unit": "minute", "frequency": 90}}, (422, "repeat", "value")),
        ({"send_at": "2030-01-01T08:00:00Z", "repeat": {}}, (422, "", "value_error")),
    ],
)
async def test_a_time_that_can_not_be_kept_is_refused(world: World, when: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = problem(await world.post("/schedule", {"to": PHONE, "body": "x", **when}))
    assert (found[0], found[1]) == expected[:2]


async def test_what_waits_can_be_moved(world: World) -> None:
    first = (await world.post("/schedule", {"to": PHONE, "body": "x", "send_at": "2100-01-01T08:00:00Z"})).json()
    moved = await world.post(f"/{first['id']}/reschedule", {"send_at": "2100-02-01T08:00:00Z"})
    assert (moved.status_code, moved.json()["scheduled_at"]) == (200, "2100-02-01T08:00:00.000Z")
    assert (await world.pipeline.read("CommunicationRequest", first["id"]))["meta"]["versionId"] == "2"
    sooner = await world.post(f"/{first['id']}/reschedule", {"send_at": datetime.now(UTC).isoformat()})
    assert sooner.status_code == 200
    await world.pipeline.send()
    assert (await world.read(first["id"]))["status"] == "delivered"
    assert (await world.post(f"/{first['id']}/reschedule", {"send_at": "2100-02-01T08:00:00Z"})).status_code == 409


async def test_what_is_moved_to_the_past_stays_where_it_was(world: World) -> None:
    first = (await world.post("/schedule", {"to": PHONE, "body": "x", "send_at": "2100-01-01T08:00:00Z"})).json()
    assert problem(await world.post(f"/{first['id']}/reschedule", {"send_at": "2020-02-01T08:00:00Z"})) == (
        422,
        "send_at",
        "value",
    )
    assert (await world.read(first["id"]))["scheduled_at"] == "2100-01-01T08:00:00.000Z"


async def test_what_waits_can_be_cancelled_once_and_twice(world: World) -> None:
    sent = await world.sent()
    for _ in range(2):
        answer = await world.post(f"/{sent['id']}/cancel")
        assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "cancelled", None)
    await world.pipeline.run()
    assert (await world.read(sent["id"]))["attempts"] == 0
    request = await world.pipeline.read("CommunicationRequest", sent["id"])
    assert (request["status"], request["statusReason"]["coding"][0]["code"]) == ("revoked", "cancelled")
    assert (await world.post(f"/{sent['id']}/reschedule", {"send_at": "2100-02-01T08:00:00Z"})).status_code == 409


async def test_what_is_sent_can_not_be_cancelled(world: World) -> None:
    sent = await world.sent()
    await world.pipeline.run()
    assert problem(await world.post(f"/{sent['id']}/cancel")) == (409, "", "conflict")


async def test_what_has_failed_lives_again_under_its_id(world: World) -> None:
    patient = await world.patient(**NOBODY)
    sent = await world.sent(patient_id=patient, to=None)
    await world.pipeline.run()
    failed = await world.read(sent["id"])
    assert (failed["status"], failed["error_reason"]) == ("failed", "no-address")
    assert "no number or address" in failed["error"]
    assert failed["timeline"][-1]["event"] == "failed"
    resource = await world.pipeline.read("Patient", patient)
    await world.pipeline.write({**resource, "telecom": [{"system": "sms", "value": PHONE}]})
    again = await world.post(f"/{sent['id']}/retry")
    assert (again.status_code, again.json()["status"], again.json()["error"]) == (200, "queued", None)
    await world.pipeline.run()
    found = await world.read(sent["id"])
    assert (found["status"], found["to"], found["id"]) == ("delivered", PHONE, sent["id"])
    request = await world.pipeline.read("CommunicationRequest", sent["id"])
    assert request["status"] == "completed"
    assert "statusReason" not in request
    made = await world.pipeline.search("Communication", based_on=f"CommunicationRequest/{sent['id']}")
    assert sorted(one["status"] for one in made) == ["completed", "not-done"]


async def test_what_was_too_late_is_sent_all_the_same_where_somebody_wants_it(world: World) -> None:
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "recipient": [{"reference": f"Patient/{await world.patient()}"}],
        "payload": [{"contentString": "Late."}],
        "occurrencePeriod": {"start": "2026-01-01T08:00:00Z", "end": "2026-01-01T09:00:00Z"},
    }
    id_ = (await world.http.post("CommunicationRequest", json=request)).json()["id"]
    await world.pipeline.run()
    found = await world.read(id_)
    assert (found["status"], found["error_reason"], found["attempts"]) == ("failed", "expired", 0)
    again = await world.post(f"/{id_}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "queued")
    await world.pipeline.run()
    assert (await world.read(id_))["status"] == "delivered"
    assert (await world.pipeline.read("CommunicationRequest", id_))["status"] == "completed"


async def test_only_what_has_failed_is_sent_again(world: World) -> None:
    sent = await world.sent()
    assert problem(await world.post(f"/{sent['id']}/retry")) == (409, "", "conflict")
    await world.pipeline.run()
    assert problem(await world.post(f"/{sent['id']}/retry")) == (409, "", "conflict")


@pytest.mark.parametrize("path", ["/nothing", "/nothing~20260101T000000Z~"])
async def test_what_is_not_there_is_not_found(world: World, path: str) -> None:
    assert (await world.get(path)).status_code == 404
    for action in ("cancel", "retry"):
        assert (await world.post(f"{path}/{action}")).status_code == 404


async def test_a_request_that_is_not_planned_yet_is_queued(world: World, database: Any) -> None:
    sent = await world.sent(to=PHONE, channel="sms")
    await database["_deliveries"].delete_many({"t": world.pipeline.tenant})
    found = await world.read(sent["id"])
    assert (found["status"], found["channel"], found["to"]) == ("queued", "sms", PHONE)
    assert [one["event"] for one in found["timeline"]] == ["created"]
    assert (await world.post(f"/{sent['id']}/cancel")).json()["status"] == "cancelled"
