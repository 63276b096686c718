"""The list of notifications, the outbox and the figures."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.exchange import utc_now
from prm_ext.notifications.listing import between
from prm_ext.notifications.stats import STEP, _stats
from tests.prm_ext.notifications.api_world import World


async def bodies(world: World, **params: Any) -> list[str]:
    """Return the bodies of a list, page by page."""
    found, cursor = [], ""
    while True:
        answer = await world.get("", **params, cursor=cursor)
        assert answer.status_code == 200, answer.text
        found += [one["body"] for one in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_the_newest_comes_first_over_all_pages(world: World) -> None:
    for number in range(5):
        await world.sent(body=str(number))
    assert await bodies(world, limit=2) == ["4", "3", "2", "1", "0"]
    assert await bodies(world, limit=5) == ["4", "3", "2", "1", "0"]


async def test_pages_stay_as_they_are_while_new_messages_come(world: World) -> None:
    for number in range(3):
        await world.sent(body=str(number))
    first = (await world.get("", limit=2)).json()
    await world.sent(body="later")
    second = (await world.get("", limit=2, cursor=first["next_cursor"])).json()
    assert [one["body"] for one in first["items"] + second["items"]] == ["2", "1", "0"]


async def test_it_is_narrowed_by_what_was_asked_for(world: World) -> None:
    one, other = await world.patient(), await world.patient(telecom=[{"system": "email", "value": "o@example.org"}])
    await world.sent(patient_id=one, to=None, body="to one", channel="sms")
    await world.sent(patient_id=other, to=None, body="to the other")
    await world.sent(body="later")
    await world.pipeline.run()
    cancelled = await world.sent(body="withdrawn", channel="voice")
    await world.post(f"/{cancelled['id']}/cancel")
    assert await bodies(world, patient=one) == ["to one"]
    assert await bodies(world, channel="email") == ["to the other"]
    assert await bodies(world, channel="voice") == ["withdrawn"]
    assert await bodies(world, status="cancelled") == ["withdrawn"]
    assert await bodies(world, status="delivered") == ["later", "to the other", "to one"]
    assert await bodies(world, status="read") == []
    assert await bodies(world, patient="nobody") == []
    assert (await world.get("", status="lost")).status_code == 422


async def test_it_is_narrowed_by_template_and_time(world: World) -> None:
    patient = await world.patient()
    variables = {"appointment_time": "10:30", "practitioner_name": "Smith", "location_name": "Bay"}
    body = {"patient_id": patient, "template": "appointment_reminder_24h", "variables": variables}
    made = (await world.post("/send-template", body)).json()
    await world.sent(body="plain")
    for name in ("appointment_reminder_24h", made["template_id"], made["template"]):
        assert [one["id"] for one in (await world.get("", template=name)).json()["items"]] == [made["id"]]
    assert await bodies(world, template="no_such") == []
    today, now = utc_now().date(), utc_now()
    assert len(await bodies(world, date_from=str(today), date_to=str(today))) == 2
    assert len(await bodies(world, date_to=str(today - timedelta(days=1)))) == 0
    assert len(await bodies(world, date_from=(now - timedelta(minutes=5)).isoformat(), date_to=now.isoformat())) == 2
    assert (await world.get("", date_from="yesterday")).status_code == 422


async def test_a_message_to_a_patient_that_was_merged_is_one_to_the_survivor(world: World) -> None:
    source, target = await world.patient(), await world.patient(birthDate="1984-03-17")
    await world.sent(patient_id=source, to=None, body="before")
    parameters = [
        {"name": f"{name}-patient", "valueReference": {"reference": f"Patient/{id_}"}}
        for name, id_ in (("source", source), ("target", target))
    ]
    merged = await world.http.post("Patient/$merge", json={"resourceType": "Parameters", "parameter": parameters})
    assert merged.status_code == 200, merged.text
    assert await bodies(world, patient=target) == ["before"]


async def test_requests_of_an_ehr_are_listed_for_each_recipient(world: World) -> None:
    one, other = await world.patient(), await world.patient()
    request = {
        "resourceType": "CommunicationRequest",
        "status": "active",
        "recipient": [{"reference": f"Patient/{one}"}, {"reference": f"Patient/{other}"}],
        "payload": [{"contentString": "To both."}],
    }
    id_ = (await world.http.post("CommunicationRequest", json=request)).json()["id"]
    await world.pipeline.run()
    items = (await world.get("")).json()["items"]
    assert sorted(one["id"] for one in items) == [id_, f"{id_}~~1"]
    assert {item["patient_id"] for item in items} == {one, other}
    assert {item["request_id"] for item in items} == {id_}
    second = await world.read(f"{id_}~~1")
    assert (second["status"], second["others"]) == ("delivered", [id_])


async def test_a_request_that_was_deleted_is_shown_no_more(world: World) -> None:
    sent = await world.sent()
    assert (await world.http.delete(f"CommunicationRequest/{sent['id']}")).status_code == 204
    assert await bodies(world) == []
    assert (await world.get(f"/{sent['id']}")).status_code == 410
    await world.pipeline.run()
    assert (await world.get("/outbox")).json()["items"] == []


async def test_the_outbox_has_what_did_not_leave_this_machine(world: World) -> None:
    for number in range(3):
        await world.sent(body=str(number), channel="sms")
    await world.sent(to="a@example.org", subject="Hi", body="mail")
    await world.pipeline.run()
    first = (await world.get("/outbox", limit=2, channel="sms")).json()
    second = (await world.get("/outbox", limit=2, channel="sms", cursor=first["next_cursor"])).json()
    assert sorted(one["body"] for one in first["items"] + second["items"]) == ["0", "1", "2"]
    assert second["next_cursor"] is None
    [mail] = (await world.get("/outbox", to="a@example.org")).json()["items"]
    assert (mail["subject"], mail["channel"]) == ("Hi", "email")
    assert "mail" in mail["html"]
    assert (await world.get("/outbox", cursor="nonsense")).status_code == 400


async def test_the_figures_say_how_well_messages_arrive(world: World) -> None:
    for _ in range(3):
        await world.sent(channel="sms")
    nobody = await world.patient(telecom=[{"system": "fax", "value": "+14155550100"}])
    await world.sent(patient_id=nobody, to=None)
    await world.pipeline.run()
    await world.post(f"/{(await world.sent())['id']}/cancel")
    found = (await world.get("/stats")).json()
    assert found["total"] == 5
    assert found["counts"] == {"delivered": 3, "failed": 1, "cancelled": 1}
    assert (found["delivery_rate"], found["failures"], found["retried"]) == (0.75, {"no-address": 1}, 0)
    assert 0 < found["average_delivery_seconds"] < 60
    assert found["retry_success"] is None
    assert {one["channel"]: one["total"] for one in found["channels"]} == {"": 2, "sms": 3}
    assert [(one["day"], one["total"]) for one in found["days"]] == [(str(utc_now().date()), 5)]
    assert (await world.get("/stats", channel="sms")).json()["total"] == 3
    assert (await world.get("/stats", date_to="2020-01-01")).json()["total"] == 0


@pytest.mark.parametrize("params", [{"date_from": "2026-02-01", "date_to": "2026-01-01"}, {"date_from": "2020-01-01"}])
async def test_figures_of_no_time_or_of_years_are_refused(world: World, params: dict[str, str]) -> None:
    answer = await world.get("/stats", **params)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "date_from")


async def test_retries_that_helped_are_told_from_those_that_did_not(world: World) -> None:
    now, tenant = utc_now(), world.pipeline.tenant
    common = {"t": tenant, "rev": 1, "state": "done", "created": now, "at": now, "updated": now, "recipient": "", "request": "r"}
    message = {"id": "m", "channel": "sms", "tries": [{"at": now, "outcome": "transient"}, {"at": now, "outcome": "accepted"}]}
    times = {"sent": now + timedelta(seconds=10), "delivered": now + timedelta(seconds=20)}
    rows = [
        {"status": "delivered", "messages": [{**message, **times}]},
        {"status": "sent", "messages": [{**message, "sent": times["sent"]}]},
        {"status": "failed", "failure": "transient", "messages": [message]},
        {"status": "queued", "state": "waiting", "messages": [message]},
        {"status": "cancelled", "messages": [message]},
    ]
    documents = [{"_id": f"{tenant}/{number}", **common, **row} for number, row in enumerate(rows)]
    await world.pipeline.means.deliveries.collection.insert_many(documents)
    found = (await world.get("/stats")).json()
    assert (found["retried"], found["retry_success"]) == (5, 0.6667)
    assert (found["delivery_rate"], found["average_delivery_seconds"]) == (0.5, 20.0)
    assert found["p95_delivery_seconds"] == pytest.approx(20, rel=STEP - 1)


@given(st.lists(st.floats(0.001, 90_000), min_size=1, max_size=60))
def test_the_percentile_is_told_within_a_twentieth(seconds: list[float]) -> None:
    def row(value: float) -> dict[str, Any]:
        step = math.ceil(math.log(value, STEP))
        key = {"status": "delivered", "channel": "sms", "day": "2026-11-24", "failure": "", "retried": False, "step": step}
        return {"_id": key, "n": 1, "seconds": value}

    found = _stats(row(one) for one in seconds)["p95_delivery_seconds"]
    exact = sorted(seconds)[math.ceil(len(seconds) * 0.95) - 1]
    assert exact * 0.999 - 0.001 <= found <= exact * STEP * 1.001 + 0.001


def test_a_date_is_a_whole_day() -> None:
    day = date(2026, 11, 24)
    limits = {"$gte": datetime(2026, 11, 24, tzinfo=UTC), "$lt": datetime(2026, 11, 25, tzinfo=UTC)}
    assert between(day, day) == {"created": limits}
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert between(moment, moment) == {"created": {"$gte": moment, "$lte": moment}}
    assert between(None, None) == {}
