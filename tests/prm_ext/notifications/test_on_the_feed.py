"""Appointments and rules on the real change feed, as the publisher of a server follows it."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_server.extension import load
from prm_ext.notifications.codes import RULE
from tests.conftest import client_of
from tests.publishing import publishing


@pytest.fixture
async def followed(client, settings, monkeypatch):
    """A client of a server on a database of its own, whose feed is followed."""
    monkeypatch.setattr("fhir_server.store.feed.AWAIT_MS", 50)
    rules = [{"event": "org.fhir.diagnosticreport", "status": "final", "template": "lab_results_ready"}]
    monkeypatch.setenv("PRM_NOTIFY_RULES", json.dumps(rules))
    name = f"following_{uuid.uuid4().hex[:12]}"
    own = settings.model_copy(update={"mongodb_database": name, "extensions": "prm_ext.media,prm_ext.notifications"})
    async with client_of(own, client[name]) as http, publishing(own):
        yield http
    await client.drop_database(name)


async def created(http, type_: str, **values: Any) -> dict[str, Any]:
    answer = await http.post(type_, json={"resourceType": type_, **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def requests_until(http, *rules: str) -> list[dict[str, Any]]:
    """Return the requests, once there are those that rules make."""
    async with asyncio.timeout(60):
        while True:
            bundle = (await http.get("CommunicationRequest", params={"_count": "100"})).json()
            found = [entry["resource"] for entry in bundle.get("entry", ())]
            names = [one["value"] for request in found for one in request.get("identifier", ()) if one["system"] == RULE]
            if all(any(name.startswith(rule) for name in names) for rule in rules):
                return found
            await asyncio.sleep(0.05)


async def test_what_is_booked_moved_and_reported_is_told(followed) -> None:
    patient = {"reference": f"Patient/{(await created(followed, 'Patient'))['id']}"}
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    end = start + timedelta(minutes=30)
    who = [{"actor": patient, "status": "accepted"}]
    times = {"start": start.isoformat(), "end": end.isoformat()}
    appointment = await created(followed, "Appointment", status="booked", participant=who, **times)
    await requests_until(followed, "booked/1/", "before/24h", "before/1h")
    times = {"start": (start + timedelta(days=1)).isoformat(), "end": (end + timedelta(days=1)).isoformat()}
    moved = await followed.put(f"Appointment/{appointment['id']}", json=appointment | times)
    assert moved.status_code == 200
    found = await requests_until(followed, "moved/2/")
    assert len(found) == 4
    await created(followed, "DiagnosticReport", status="final", code={"text": "Blood"}, subject=patient)
    found = await requests_until(followed, "lab_results_ready")
    assert len(found) == 5


def test_without_rules_nobody_follows_all_that_happens(settings, monkeypatch) -> None:
    chosen = settings.model_copy(update={"extensions": "prm_ext.notifications"})
    monkeypatch.setenv("PRM_NOTIFY_RULES", "")
    consumers = {one.name: one.resource_types for one in load(chosen).consumers}
    assert consumers["notifications-appointments"] == {"Appointment"}
    assert "notifications-rules" not in consumers
    monkeypatch.setenv("PRM_NOTIFY_TENANTS", json.dumps({"a": {"rules": '[{"event": "org.fhir.goal", "template": "x"}]'}}))
    consumers = {one.name: one.resource_types for one in load(chosen).consumers}
    assert consumers["notifications-rules"] == {"Goal"}
