"""Reports of providers in our words."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.channels.channel import Receipt
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.reports import (
    Objection,
    sendgrid_events,
    sendgrid_objections,
    ses_event,
    ses_objection,
    twilio_call,
    twilio_message,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
AT = datetime(2026, 3, 1, 11, 59, 0, tzinfo=UTC)
ERRORS = Errors()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("accepted", "queued"),
        ("queued", "queued"),
        ("sending", "sending"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("partially_delivered", "delivered"),
        ("read", "read"),
        ("READ", "read"),
    ],
)
def test_a_message_of_twilio_gets_on(said, status):
    form = {"MessageSid": "SM1", "MessageStatus": said, "To": "+12025550147"}
    assert twilio_message(form, "c1", NOW, ERRORS) == Receipt(f"twilio:SM1:{said.lower()}", status, NOW, "c1", "SM1")


@pytest.mark.parametrize(
    ("said", "code", "failure"),
    [
        ("undelivered", "30003", "transient"),
        ("undelivered", "30005", "address"),
        ("failed", "21610", "opted-out"),
        ("failed", "63016", "channel"),
        ("failed", "30007", "content"),
        ("undelivered", "", "transient"),
        ("canceled", "", "content"),
    ],
)
def test_a_message_of_twilio_fails_for_a_reason(said, code, failure):
    form = {"MessageSid": "SM1", "MessageStatus": said, "ErrorCode": code, "ErrorMessage": "No +12025550147"}
    expected = Receipt(f"twilio:SM1:{said}", "failed", NOW, "c1", "SM1", failure, code or said, "No …")
    assert twilio_message(form, "c1", NOW, ERRORS) == expected


@pytest.mark.parametrize(
    "form", [{}, {"MessageSid": "SM1"}, {"MessageSid": "SM1", "MessageStatus": "received"}, {"MessageStatus": "sent"}]
)
def test_what_is_no_report_of_a_message_is_nothing(form):
    assert twilio_message(form, "c1", NOW, ERRORS) is None


@pytest.mark.parametrize(
    ("said", "status"),
    [("initiated", "sending"), ("ringing", "sending"), ("in-progress", "sent"), ("completed", "delivered")],
)
def test_a_call_gets_on(said, status):
    form = {"CallSid": "CA1", "CallStatus": said, "Timestamp": "Sun, 01 Mar 2026 11:59:00 +0000"}
    assert twilio_call(form, "c1", NOW, ERRORS) == Receipt(f"twilio:CA1:{said}", status, AT, "c1", "CA1")


@pytest.mark.parametrize(
    ("form", "failure", "code"),
    [
        ({"CallStatus": "busy"}, "transient", "busy"),
        ({"CallStatus": "no-answer"}, "transient", "no-answer"),
        ({"CallStatus": "canceled"}, "content", "canceled"),
        ({"CallStatus": "failed", "SipResponseCode": "404"}, "address", "sip-404"),
        ({"CallStatus": "failed", "SipResponseCode": "503"}, "transient", "sip-503"),
        ({"CallStatus": "failed", "ErrorCode": "13224"}, "address", "13224"),
        ({"CallStatus": "failed"}, "transient", "failed"),
    ],
)
def test_a_call_fails_for_a_reason(form, failure, code):
    found = twilio_call({"CallSid": "CA1", **form}, "c1", NOW, ERRORS)
    assert (found.status, found.failure, found.code, found.at) == ("failed", failure, code, NOW)


def event(kind: str, **values) -> dict:
    given = {"event": kind, "email": "ana@example.org", "timestamp": int(AT.timestamp()), "sg_event_id": "e1", "reference": "c1"}
    return given | {"sg_message_id": "m1.filterdrecv-5645d9c87f-abcde-0"} | values


@pytest.mark.parametrize(
    ("kind", "status"),
    [("processed", "sending"), ("deferred", "sending"), ("delivered", "delivered"), ("open", "read"), ("click", "read")],
)
def test_an_email_of_sendgrid_gets_on(kind, status):
    assert list(sendgrid_events([event(kind)], NOW, ERRORS)) == [Receipt("sendgrid:e1", status, AT, "c1", "m1")]


@pytest.mark.parametrize(
    ("given", "failure", "code"),
    [
        (event("bounce", type="bounce"), "address", "bounce"),
        (event("bounce", type="blocked"), "transient", "blocked"),
        (event("bounce"), "address", "bounce"),
        (event("dropped", reason="Bounced Address"), "address", "Bounced Address"),
        (event("dropped", reason="Unsubscribed Address"), "opted-out", "Unsubscribed Address"),
        (event("dropped", reason="Spam Content"), "content", "Spam Content"),
        (event("dropped", reason="Something new"), "opted-out", "dropped"),
    ],
)
def test_an_email_of_sendgrid_fails_for_a_reason(given, failure, code):
    (found,) = sendgrid_events([given], NOW, ERRORS)
    assert (found.status, found.failure, found.code) == ("failed", failure, code)


def test_the_reason_of_a_bounce_names_nobody():
    (found,) = sendgrid_events([event("bounce", reason="550 no ana@example.org here")], NOW, ERRORS)
    assert found.text == "550 no … here"


def test_an_event_without_our_reference_is_told_by_the_id_of_the_provider():
    given = event("delivered")
    del given["reference"]
    (found,) = sendgrid_events([given], NOW, ERRORS)
    assert (found.reference, found.provider_id) == ("", "m1")


def test_an_event_without_an_id_has_a_key_all_the_same():
    given = event("delivered")
    del given["sg_event_id"]
    (one,), (two,) = sendgrid_events([given], NOW, ERRORS), sendgrid_events([given], NOW, ERRORS)
    assert one.key == two.key != next(sendgrid_events([event("open") | {"sg_event_id": ""}], NOW, ERRORS)).key


@pytest.mark.parametrize("kind", ["spamreport", "unsubscribe", "group_unsubscribe"])
def test_who_objects_to_emails_is_no_matter_of_their_delivery(kind):
    given = [event(kind), event("delivered")]
    assert list(sendgrid_objections(given, NOW)) == [Objection("sendgrid:e1", AT, kind, "c1", "m1")]
    assert [one.status for one in sendgrid_events(given, NOW, ERRORS)] == ["delivered"]


@pytest.mark.parametrize(
    "events", [None, {}, [], [1, None, "x", {}], [{"event": "delivered"}], [{"event": ["x"], "reference": "c1"}]]
)
def test_what_are_no_events_is_nothing(events):
    assert list(sendgrid_events(events, NOW, ERRORS)) == []
    assert list(sendgrid_objections(events, NOW)) == []


def sns(kind: str, **values) -> dict[str, str]:
    mail = {
        "timestamp": "2026-03-01T11:00:00.000Z",
        "messageId": "m1",
        "tags": {"reference": ["c1"]},
        "destination": ["ana@example.org"],
    }
    return {"Type": "Notification", "Message": json.dumps({"eventType": kind, "mail": mail, **values})}


TIME = "2026-03-01T11:59:00.000Z"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (sns("DeliveryDelay", deliveryDelay={"timestamp": TIME}), "sending"),
        (sns("Delivery", delivery={"timestamp": TIME}), "delivered"),
        (sns("Open", open={"timestamp": TIME}), "read"),
        (sns("Click", click={"timestamp": TIME}), "read"),
    ],
)
def test_an_email_of_ses_gets_on(given, status):
    found = ses_event(given, NOW, ERRORS)
    assert (found.status, found.at, found.reference, found.provider_id) == (status, AT, "c1", "m1")
    assert found.key.startswith("ses:m1:")
    assert found.key == ses_event(given, datetime.now(UTC), ERRORS).key


def test_what_ses_begins_to_send_has_the_time_of_the_email():
    found = ses_event(sns("Send", send={}), NOW, ERRORS)
    assert (found.status, found.at) == ("sending", datetime(2026, 3, 1, 11, 0, 0, tzinfo=UTC))


def bounce(type_: str, subtype: str) -> dict[str, str]:
    about = {"bounceType": type_, "bounceSubType": subtype, "timestamp": TIME, "feedbackId": "f1"}
    recipients = [{"emailAddress": "ana@example.org", "diagnosticCode": "smtp; 550 5.1.1 ana@example.org unknown"}]
    return sns("Bounce", bounce=about | {"bouncedRecipients": recipients})


@pytest.mark.parametrize(
    ("given", "failure", "code", "text"),
    [
        (bounce("Permanent", "General"), "address", "Permanent.General", "smtp; 550 5.1.1 … unknown"),
        (bounce("Permanent", "Suppressed"), "opted-out", "Permanent.Suppressed", "smtp; 550 5.1.1 … unknown"),
        (bounce("Permanent", "Newer"), "address", "Permanent.Newer", "smtp; 550 5.1.1 … unknown"),
        (bounce("Transient", "MailboxFull"), "transient", "Transient.MailboxFull", "smtp; 550 5.1.1 … unknown"),
        (bounce("Transient", "Newer"), "transient", "Transient.Newer", "smtp; 550 5.1.1 … unknown"),
        (sns("Reject", reject={"reason": "Bad content"}), "content", "Reject", "Bad content"),
        (sns("Rendering Failure", failure={"errorMessage": "no"}), "content", "RenderingFailure", "no"),
    ],
)
def test_an_email_of_ses_fails_for_a_reason(given, failure, code, text):
    found = ses_event(given, NOW, ERRORS)
    assert (found.status, found.failure, found.code, found.text) == ("failed", failure, code, text)


def test_a_complaint_is_no_matter_of_the_delivery():
    given = sns("Complaint", complaint={"timestamp": TIME, "feedbackId": "f1"})
    assert ses_objection(given, NOW) == Objection("ses:m1:Complaint:f1", AT, "Complaint", "c1", "m1")
    assert ses_event(given, NOW, ERRORS) is None
    assert ses_objection(sns("Delivery", delivery={}), NOW) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["event", "mail", "tags", "reference", "bounce", "timestamp", "sg_message_id", "messageId", "reason", "eventType"]
            ),
            inner | st.sampled_from(["bounce", "Bounce", "delivered", "dropped", "Complaint", "Delivery"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_comes_becomes_receipts_or_nothing(value):
    for found in sendgrid_events([value], NOW, ERRORS):
        assert found.key
        assert (found.failure is not None) == (found.status == "failed")
    list(sendgrid_objections(value, NOW))
    found = ses_event({"Message": json.dumps(value)}, NOW, ERRORS)
    assert found is None or (found.failure is not None) == (found.status == "failed")
    ses_objection({"Message": json.dumps(value)}, NOW)


@given(
    st.dictionaries(
        st.sampled_from(["MessageSid", "MessageStatus", "CallSid", "CallStatus", "Timestamp", "ErrorCode"]), st.text(max_size=9)
    )
)
def test_whatever_twilio_posts_becomes_a_receipt_or_nothing(form):
    for found in (twilio_message(form, "c1", NOW, ERRORS), twilio_call(form, "c1", NOW, ERRORS)):
        assert found is None or found.at.tzinfo is not None


@given(
    st.permutations([event("processed", sg_event_id="1"), event("delivered", sg_event_id="2"), event("open", sg_event_id="3")])
)
def test_the_order_of_reports_changes_none_of_them(events):
    found = {one.key: one.status for one in sendgrid_events(events * 2, NOW, ERRORS)}
    assert found == {"sendgrid:1": "sending", "sendgrid:2": "delivered", "sendgrid:3": "read"}
