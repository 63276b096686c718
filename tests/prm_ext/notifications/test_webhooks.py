"""The door for providers: signatures, receipts in whatever order, and what is refused."""

import itertools
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from prm_ext.notifications.channels.sns import check_url
from prm_ext.notifications.webhooks import sns
from tests.prm_ext.notifications.clinic import NUMBER, PUBLIC, SMS, WEBHOOKS, opened
from tests.providers.ses_server import TOPIC
from tests.providers.stand_ins import TOKEN

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LOCAL = WEBHOOKS.replace(PUBLIC, "http://test")
BARRED = 403


@pytest.fixture
async def clinic(settings, database, monkeypatch):
    async with opened(settings, database, monkeypatch, {}) as found:
        yield found


def incoming(**values: str) -> dict[str, str]:
    return {"MessageSid": "SM" + "2" * 32, "From": NUMBER, "To": SMS, "Body": "Hello there", "NumMedia": "0", **values}


async def post(clinic: Any, path: str, form: dict[str, str], *, signed: str = "", token: str = TOKEN, body: bytes = b"") -> Any:
    """Post a form to a webhook; `signed` is the URL that the signature is over, where it is another."""
    signature = RequestValidator(token).compute_signature(signed or f"{WEBHOOKS}{path}", form)
    headers = FORM | {"X-Twilio-Signature": signature}
    return await clinic.http.post(LOCAL + path, content=body or urlencode(form).encode(), headers=headers)


async def test_a_message_with_the_signature_of_twilio_is_taken(clinic) -> None:
    answer = await post(clinic, f"/twilio/{clinic.tenant}", incoming())
    assert (answer.status_code, len(await clinic.heard())) == (200, 1)


async def test_an_empty_parameter_and_one_that_is_twice_there_are_signed_too(clinic) -> None:
    answer = await post(clinic, f"/twilio/{clinic.tenant}", incoming(FromCity="", Body="a&b=c é 👋"))
    assert answer.status_code == 200
    (heard,) = await clinic.heard()
    assert heard["payload"] == [{"contentString": "a&b=c é 👋"}]


async def test_signatures_are_over_the_public_url_with_its_query(clinic) -> None:
    path = f"/twilio/{clinic.tenant}?source=a%20b&x="
    assert (await post(clinic, path, incoming())).status_code == 200
    assert (await post(clinic, path, incoming(), signed=f"{WEBHOOKS}/twilio/{clinic.tenant}")).status_code == BARRED
    assert (await post(clinic, path, incoming(), signed=LOCAL + path)).status_code == BARRED


@pytest.mark.parametrize("forged", ["body", "token", "nothing", "path", "type"])
async def test_what_is_not_twilios_is_refused_and_changes_nothing(clinic, forged: str) -> None:
    path, form = f"/twilio/{clinic.tenant}", incoming()
    match forged:
        case "body":
            answer = await post(clinic, path, form, body=urlencode(form | {"Body": "CANCEL"}).encode())
        case "token":
            answer = await post(clinic, path, form, token="another")
        case "path":
            answer = await post(clinic, path, form, signed=f"{WEBHOOKS}/twilio/other")
        case "type":
            answer = await clinic.http.post(LOCAL + path, json=form, headers={"X-Twilio-Signature": "x"})
        case _:
            answer = await clinic.http.post(LOCAL + path, content=urlencode(form).encode(), headers=FORM)
    assert answer.status_code == BARRED
    assert answer.json()["detail"] == "The request has no signature of the provider that is valid here."
    assert await clinic.heard() == []


async def test_a_tenant_that_is_not_there_looks_like_a_bad_signature(clinic) -> None:
    unknown = await post(clinic, "/twilio/nobody", incoming())
    forged = await post(clinic, f"/twilio/{clinic.tenant}", incoming(), token="another")
    assert (unknown.status_code, forged.status_code) == (BARRED, BARRED)
    members = [
        {name: value for name, value in one.json().items() if name not in ("instance", "request_id")} for one in (unknown, forged)
    ]
    assert members[0] == members[1]


async def test_without_an_auth_token_nobody_is_let_in(settings, database, monkeypatch) -> None:
    async with opened(settings, database, monkeypatch, {"twilio_auth_token": ""}) as clinic:
        assert (await post(clinic, f"/twilio/{clinic.tenant}", incoming(), token="")).status_code == BARRED
        assert (await post(clinic, f"/twilio/{clinic.tenant}/1", {"MessageSid": "SM1"}, token="")).status_code == BARRED


@pytest.mark.parametrize("key", ["", "no key"])
async def test_other_providers_need_their_keys(settings, database, monkeypatch, key: str) -> None:
    async with opened(settings, database, monkeypatch, {"sendgrid_webhook_key": key, "ses_topic_arn": ""}) as clinic:
        body = b"[]"
        signed = clinic.providers.sendgrid.sign(body)
        for provider in ("sendgrid", "ses"):
            answer = await clinic.http.post(f"{LOCAL}/{provider}/{clinic.tenant}", content=body, headers=signed)
            assert answer.status_code == BARRED


async def test_a_body_that_is_too_large_is_refused(clinic) -> None:
    answer = await post(clinic, f"/twilio/{clinic.tenant}", incoming(Body="x" * 300_000))
    assert answer.status_code == 413


async def trail(clinic: Any, query: str) -> list[dict[str, Any]]:
    """Return AuditEvents."""
    answer = await clinic.http.get(f"http://test/fhir/AuditEvent?{query}", headers={"Accept": "application/fhir+json"})
    return [entry["resource"] for entry in answer.json().get("entry", ())]


async def test_refusals_are_in_the_audit_trail(settings, database, monkeypatch) -> None:
    kept = settings.model_copy(update={"audit": "all"})
    async with opened(kept, database, monkeypatch, {}) as clinic:
        await post(clinic, f"/twilio/{clinic.tenant}", incoming(), token="another")
        assert [one["outcomeDesc"] for one in await trail(clinic, "type=110113")] == ["HTTP 403 twilio"]


async def test_what_is_taken_is_in_the_audit_trail_as_the_providers(settings, database, monkeypatch) -> None:
    kept = settings.model_copy(update={"audit": "all"})
    async with opened(kept, database, monkeypatch, {}) as clinic:
        patient = await clinic.patient()
        await post(clinic, f"/twilio/{clinic.tenant}", incoming())
        await clinic.message(patient)
        await clinic.providers.twilio.report(clinic.providers.ledger.entries[0].id, "delivered")
        found = await trail(clinic, "altid=twilio")
        (delivery,) = await clinic.deliveries()
        written = {one["entity"][0]["what"].get("reference", "").partition("/_history")[0] for one in found}
        (heard,) = await clinic.heard()
        assert {f"Communication/{heard['id']}", f"Communication/{delivery['messages'][0]['id']}"} <= written


@pytest.mark.parametrize("order", list(itertools.permutations(("queued", "sent", "delivered")))[::2])
async def test_receipts_lead_to_the_same_end_in_any_order_and_twice(clinic, order: tuple[str, ...]) -> None:
    patient = await clinic.patient()
    request = await clinic.message(patient)
    (entry,) = clinic.providers.ledger.entries
    for status in (*order, *order):
        (answer,) = await clinic.providers.twilio.report(entry.id, status)
        assert answer is not None
        assert answer.status_code == 204
    (communication,) = await clinic.search("Communication", **{"based-on": f"CommunicationRequest/{request['id']}"})
    assert communication["status"] == "completed"
    assert {"sent", "received"} <= set(communication)
    (delivery,) = await clinic.deliveries()
    assert (delivery["state"], delivery["status"]) == ("done", "delivered")


async def test_a_failure_that_is_reported_is_shown_with_its_code(clinic) -> None:
    patient = await clinic.patient()
    request = await clinic.message(patient)
    (entry,) = clinic.providers.ledger.entries
    await clinic.providers.twilio.report(entry.id, "sent")
    await clinic.providers.twilio.report(entry.id, "undelivered", error=30005)
    (communication,) = await clinic.search("Communication", **{"based-on": f"CommunicationRequest/{request['id']}"})
    codes = [one["code"] for one in communication["statusReason"]["coding"]]
    assert (communication["status"], codes) == ("stopped", ["invalid-phone-number", "address", "30005"])
    await clinic.providers.twilio.report(entry.id, "delivered")
    assert (await clinic.read("Communication", communication["id"]))["status"] == "stopped"


async def test_a_call_that_was_answered_is_delivered(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient, channel="voice")
    (entry,) = clinic.providers.ledger.entries
    await clinic.providers.twilio.report(entry.id, "ringing", "in-progress", "completed")
    (delivery,) = await clinic.deliveries()
    assert delivery["status"] == "delivered"


async def test_a_receipt_finds_its_message_though_the_answer_with_its_id_was_lost(clinic) -> None:
    patient = await clinic.patient()
    clinic.providers.behaviour.lost = 1.0
    await clinic.message(patient)
    (entry,) = clinic.providers.ledger.entries
    (delivery,) = await clinic.deliveries()
    assert delivery["status"] == "sending"
    await clinic.providers.twilio.report(entry.id, "delivered")
    (delivery,) = await clinic.deliveries()
    assert (delivery["status"], delivery["provider_ids"]) == ("delivered", [f"twilio|{entry.id}"])


async def test_a_report_of_a_message_that_is_not_ours_does_no_harm(clinic) -> None:
    answer = await post(clinic, f"/twilio/{clinic.tenant}/unknown", {"MessageSid": "SM1", "MessageStatus": "delivered"})
    assert answer.status_code == 204
    assert await clinic.deliveries() == []


async def test_what_twilio_says_of_an_objection_is_kept(clinic) -> None:
    patient = await clinic.patient()
    await clinic.message(patient)
    (entry,) = clinic.providers.ledger.entries
    await clinic.providers.twilio.report(entry.id, "failed", error=21610)
    (consent,) = await clinic.search("Consent")
    assert consent["patient"] == {"reference": patient}


@pytest.fixture
async def mailing(clinic):
    """A clinic and what SendGrid accepted for one of its patients."""
    telecom = [{"system": "email", "value": "elena@example.org"}]
    patient = f"Patient/{(await clinic.write({'resourceType': 'Patient', 'telecom': telecom}))['id']}"
    clinic.providers.sendgrid.webhook = f"{WEBHOOKS}/sendgrid/{clinic.tenant}"
    await clinic.message(patient, channel="email")
    return clinic, clinic.providers.ledger.entries[-1]


async def test_events_of_sendgrid_are_taken_once(mailing) -> None:
    clinic, entry = mailing
    sendgrid = clinic.providers.sendgrid
    events = [sendgrid.event(entry, "delivered"), sendgrid.event(entry, "processed"), sendgrid.event(entry, "open")]
    for _ in range(2):
        answer = await sendgrid.post(events)
        assert answer.status_code == 204
    (delivery,) = await clinic.deliveries()
    assert delivery["status"] == "read"
    assert len(delivery["messages"][0]["receipts"]) == 2


async def test_events_that_were_tampered_with_or_are_old_are_refused(mailing) -> None:
    clinic, entry = mailing
    sendgrid = clinic.providers.sendgrid
    body = b'[{"event":"delivered"}]\r\n'
    url = sendgrid.webhook.replace(PUBLIC, "http://test")
    good = sendgrid.sign(body)
    assert (await clinic.http.post(url, content=body, headers=good)).status_code == 204
    assert (await clinic.http.post(url, content=body[:-2], headers=good)).status_code == BARRED
    assert (await clinic.http.post(url, content=body.replace(b"delivered", b"bounce"), headers=good)).status_code == BARRED
    assert (await sendgrid.post([sendgrid.event(entry, "delivered")], moment=1_600_000_000)).status_code == BARRED
    (delivery,) = await clinic.deliveries()
    assert delivery["status"] != "delivered"


async def test_who_calls_an_email_spam_gets_no_more(mailing) -> None:
    clinic, entry = mailing
    await clinic.providers.sendgrid.post([clinic.providers.sendgrid.event(entry, "spamreport")])
    (consent,) = await clinic.search("Consent")
    assert consent["provision"]["type"] == "deny"


async def test_a_signed_body_that_is_no_json_is_not_asked_for_again(mailing) -> None:
    clinic, _ = mailing
    sendgrid = clinic.providers.sendgrid
    url, body = sendgrid.webhook.replace(PUBLIC, "http://test"), b"not json"
    assert (await clinic.http.post(url, content=body, headers=sendgrid.sign(body))).status_code == 204


@pytest.fixture
async def aws(settings, database, monkeypatch):
    """A clinic that sends by SES, what SES has accepted, and what this server has fetched from SNS."""
    values = {"email": "ses", "ses_topic_arn": TOPIC, "ses_configuration_set": "prm"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    fetched: list[str] = []
    async with opened(settings, database, monkeypatch, values) as clinic:

        async def fetch(url: str) -> bytes:
            check_url(url)
            fetched.append(url)
            return clinic.providers.ses.certificate

        monkeypatch.setattr(sns, "fetched", fetch)
        clinic.providers.ses.webhook = f"{WEBHOOKS}/ses/{clinic.tenant}"
        telecom = [{"system": "email", "value": "elena@example.org"}]
        patient = f"Patient/{(await clinic.write({'resourceType': 'Patient', 'telecom': telecom}))['id']}"
        await clinic.message(patient, channel="email")
        yield clinic, clinic.providers.ledger.entries[-1], fetched


async def answered(clinic: Any, message: dict[str, str]) -> int:
    """Return the status that a message of SNS is answered with."""
    await clinic.providers.ses.post(message)
    found: int = clinic.providers.callbacks.answers[-1]
    return found


async def test_events_of_ses_are_taken(aws) -> None:
    clinic, entry, _ = aws
    ses = clinic.providers.ses
    delivery = {"delivery": {"timestamp": "2026-11-24T12:00:00.000Z", "recipients": [entry.to]}}
    for _ in range(2):
        assert await answered(clinic, ses.notification(ses.event(entry, "Delivery", delivery), version="2")) == 204
    (found,) = await clinic.deliveries()
    assert found["status"] == "delivered"
    complaint = {"complaint": {"timestamp": "2026-11-24T12:00:00.000Z", "feedbackId": "1"}}
    assert await answered(clinic, ses.notification(ses.event(entry, "Complaint", complaint))) == 204
    assert len(await clinic.search("Consent")) == 1


async def test_a_subscription_is_confirmed_for_the_topic_of_the_settings_alone(aws) -> None:
    clinic, _, fetched = aws
    confirmation = clinic.providers.ses.confirmation()
    assert await answered(clinic, confirmation) == 204
    assert fetched[-1] == confirmation["SubscribeURL"]
    fetched.clear()
    assert await answered(clinic, clinic.providers.ses.confirmation(topic=TOPIC + "-other")) == BARRED
    assert await answered(clinic, confirmation | {"SubscribeURL": "https://169.254.169.254/"}) == BARRED
    assert fetched == []


async def test_messages_of_sns_that_were_tampered_with_are_refused(aws) -> None:
    clinic, entry, _ = aws
    ses = clinic.providers.ses
    message = ses.notification(ses.event(entry, "Delivery", {"delivery": {}}))
    assert await answered(clinic, message | {"Message": message["Message"].replace("Delivery", "Bounce")}) == BARRED
    assert await answered(clinic, message | {"SigningCertURL": "https://example.org/cert.pem"}) == BARRED
