"""Each message that was handed to a provider is in the audit trail: docs/security/audit.md.

https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.PrivacyDisclosure.Source.html
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_server.exchange import Call
from fhir_server.fhir.outcome import unavailable
from fhir_server.security.audit.record import DISCLOSURE
from fhir_server.security.audit.trail import Trail
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.inbox import Inbox, Incoming
from tests.prm_ext.notifications.clinic import NUMBER, SMS, WHATSAPP, Clinic, opened
from tests.providers.twilio_magic import INVALID, LOST_AND_CUT
from tests.security.trail_reading import records

ADA = "Practitioner/ada"


@pytest.fixture
async def clinic(settings, database, monkeypatch):
    async with opened(settings.model_copy(update={"audit": "all"}), database, monkeypatch, {}) as found:
        yield found


async def disclosed(clinic: Clinic, **params: str) -> list[dict[str, Any]]:
    """Return the disclosures, the first one first."""
    bundle = (await clinic.ctx.dispatch(clinic.ctx, Call("search-type", "AuditEvent", params=tuple(params.items())))).resource
    found = [entry["resource"] for entry in bundle["entry"]] if bundle and "entry" in bundle else []
    return [one for one in reversed(found) if one["subtype"][0]["code"] == "disclose"]


async def sent(clinic: Clinic, patient: str, text: str = "Your results are there", channel: str = "sms", **more: Any) -> str:
    """Send a message; return the reference of its request."""
    medium = [{"coding": [{"system": "urn:prm:notification-channel", "code": channel}]}]
    request = {"resourceType": "CommunicationRequest", "status": "active", "subject": {"reference": patient}, "medium": medium}
    written = await clinic.write(request | {"recipient": [{"reference": patient}], "payload": [{"contentString": text}]} | more)
    await clinic.run()
    return f"CommunicationRequest/{written['id']}"


def said(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["outcome"], one["outcomeDesc"]) for one in events]


async def test_a_message_is_recorded_with_who_got_what_about_whom(clinic: Clinic) -> None:
    patient = await clinic.patient()
    await clinic.write({"resourceType": "Practitioner", "id": "ada"})
    request = await sent(clinic, patient, requester={"reference": ADA})
    (event,) = await disclosed(clinic, entity=request)
    (delivery,) = await clinic.deliveries()
    base = event["source"]["observer"]["display"]
    assert event["type"]["code"] == "110106"
    assert [one["code"] for one in event["subtype"]] == ["disclose", "sms"]
    assert (event["action"], event["outcome"], event["outcomeDesc"]) == ("R", "0", "try 1: accepted")
    agents = [(one["type"]["coding"][0]["code"], one["who"], one["requestor"]) for one in event["agent"]]
    assert agents == [
        ("110153", {"display": base}, False),
        ("110152", {"identifier": {"value": "twilio"}}, False),
        ("humanuser", {"reference": ADA}, True),
    ]
    references = [one["what"]["reference"] for one in event["entity"]]
    assert references == [f"Communication/{delivery['messages'][0]['id']}", patient, request]
    reply = await clinic.ctx.dispatch(clinic.ctx, Call("operation", "AuditEvent", operation="validate", resource=event))
    assert [one for one in reply.resource["issue"] if one["severity"] in ("error", "fatal")] == []


async def test_it_is_found_by_patient_provider_requester_and_message(clinic: Clinic) -> None:
    patient = await clinic.patient()
    await clinic.write({"resourceType": "Practitioner", "id": "ada"})
    await sent(clinic, patient, requester={"reference": ADA})
    await sent(clinic, await clinic.patient("Marco", "+14155550177"))
    (delivery, _) = await clinic.deliveries()
    message = f"Communication/{delivery['messages'][0]['id']}"
    assert len(await disclosed(clinic, altid="twilio")) == 2
    for params in ({"patient": patient}, {"agent": ADA}, {"entity": message}):
        assert len(await disclosed(clinic, **params)) == 1
    assert len(await disclosed(clinic, subtype="http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle|disclose")) == 2


async def test_neither_numbers_nor_texts_are_recorded(clinic: Clinic, database) -> None:
    patient = await clinic.patient(telecom=[{"system": "phone", "value": NUMBER}, {"system": "email", "value": "elena@x.org"}])
    await sent(clinic, patient)
    await sent(clinic, patient, channel="email")
    events = await disclosed(clinic)
    assert [one["agent"][1]["altId"] for one in events] == ["twilio", "sendgrid"]
    for secret in (NUMBER, NUMBER.removeprefix("+1"), "elena@x.org", "results", "Garcia", SMS):
        assert secret not in json.dumps(events)
        assert all(secret not in repr(one) for one in await records(database, clinic.tenant) if one.kind == DISCLOSURE)


async def test_a_refusal_is_recorded_with_its_code(clinic: Clinic) -> None:
    patient = await clinic.patient(number=INVALID)
    await sent(clinic, patient)
    assert said(await disclosed(clinic)) == [("4", "try 1: refused as address, 21211")]


async def test_each_try_is_recorded(clinic: Clinic) -> None:
    clinic.providers.behaviour.outage = True
    await sent(clinic, await clinic.patient())
    clinic.providers.behaviour.outage = False
    await clinic.hurry()
    await clinic.send()
    first, second = said(await disclosed(clinic))
    assert first[0] == "4"
    assert first[1].startswith("try 1: refused as transient, ")
    assert second == ("0", "try 2: accepted")


async def test_an_answer_that_was_lost_is_recorded_and_what_was_found_out_later(clinic: Clinic) -> None:
    await sent(clinic, await clinic.patient(number=LOST_AND_CUT))
    await clinic.hurry()
    await clinic.send()
    assert said(await disclosed(clinic)) == [("4", "try 1: no answer"), ("0", "try 1: accepted")]


async def died(clinic: Clinic) -> None:
    """Leave the delivery as a worker does that died while the provider was called."""
    (delivery,) = await clinic.deliveries()
    lost = {"messages.0.tries.0": {"at": delivery["messages"][0]["tries"][0]["at"], "outcome": "unknown"}}
    past = datetime.now(UTC) - timedelta(seconds=1)
    change = {"$set": {**lost, "state": "sending", "token": "dead", "lease": past, "provider_ids": []}, "$inc": {"rev": 1}}
    await clinic.means.deliveries.collection.update_one({"_id": delivery["_id"]}, change)
    await clinic.means.deliveries.expire(datetime.now(UTC))


async def test_a_worker_that_died_before_it_could_record_leaves_no_gap(clinic: Clinic) -> None:
    await sent(clinic, await clinic.patient())
    await died(clinic)
    await clinic.send()
    assert said(await disclosed(clinic)) == [("0", "try 1: accepted")] * 2


async def test_where_the_provider_can_not_be_asked_that_is_recorded(clinic: Clinic, monkeypatch) -> None:
    await sent(clinic, await clinic.patient())
    await died(clinic)
    provider, _ = clinic.means.providers.of(clinic.tenant, "sms")
    monkeypatch.setattr(type(provider), "looks_up", False)
    await clinic.send()
    expected = [("0", "try 1: accepted"), ("4", "try 1: not known whether it was taken"), ("0", "try 2: accepted")]
    assert said(await disclosed(clinic)) == expected


async def test_it_is_recorded_before_the_delivery_goes_on_and_again_until_it_is(clinic: Clinic, monkeypatch) -> None:
    original, states = Trail.record, []

    async def failing(self, tenant, found, **how) -> None:
        if found[0].kind == DISCLOSURE:
            states.append((await clinic.deliveries())[0]["messages"][0]["tries"][0]["outcome"])
            if len(states) == 1:
                raise unavailable("The trail is away.")
        await original(self, tenant, found, **how)

    monkeypatch.setattr(Trail, "record", failing)
    await sent(clinic, await clinic.patient())
    assert states == ["unknown", "unknown"]
    assert said(await disclosed(clinic)) == [("0", "try 1: accepted")]
    assert (await clinic.deliveries())[0]["messages"][0]["tries"][0]["outcome"] == "accepted"


async def test_the_console_is_nobody_outside(settings, database, monkeypatch) -> None:
    kept = settings.model_copy(update={"audit": "all"})
    async with opened(kept, database, monkeypatch, {"sms": "console"}) as clinic:
        await sent(clinic, await clinic.patient())
        assert (await clinic.deliveries())[0]["status"] == "delivered"
        assert await disclosed(clinic) == []


async def test_where_no_trail_is_kept_nothing_is_recorded(settings, database, monkeypatch) -> None:
    async with opened(settings.model_copy(update={"audit": "off"}), database, monkeypatch, {}) as clinic:
        await sent(clinic, await clinic.patient())
        assert await records(database, clinic.tenant) == []


async def test_a_message_that_is_dealt_with_later_is_recorded_as_done_by_the_server(clinic: Clinic, database) -> None:
    patient = await clinic.patient()
    box = Inbox(clinic.ctx.repo.database)
    await box.prepare()
    incoming = Incoming("twilio", "SM1", "whatsapp", NUMBER, WHATSAPP, "Hello")
    await box.keep(clinic.tenant, incoming, clinic.ctx.now() - timedelta(hours=1))
    await Inbound(clinic.means_of).sweep(clinic.contexts.of_tenant, clinic.ctx)
    (heard,) = await clinic.heard()
    found = [one for one in await records(database, clinic.tenant) if one.id == heard["id"]]
    assert [(one.principal, one.status, one.patients) for one in found] == [("system", 201, (patient.removeprefix("Patient/"),))]
