"""What error codes mean."""

from datetime import timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fhir_server.exchange import utc_now
from prm_ext.notifications.channels.channel import Message
from prm_ext.notifications.channels.errors import FAILURES, TABLE, ErrorClass, Errors, by_status, seconds
from prm_ext.notifications.settings import NotificationSettings

MESSAGE = Message("acme", "c1", "sms", "+12025550147", "+14155550100", "Bring your card")


@pytest.mark.parametrize(
    ("failure", "codes"),
    [
        ("address", (21211, 21214, 21217, 21614, 30005, 30006)),
        ("opted-out", (21610,)),
        ("content", (20003, 21408, 21606, 21612, 30004, 30007, 30034)),
        ("channel", (63016, 63024, 63003)),
        ("transient", (20429, 30001, 30003, 30008, 63018, 63038)),
    ],
)
def test_codes_of_twilio_have_their_class(failure, codes):
    assert {Errors().classify("twilio", str(code), 400).failure for code in codes} == {failure}


@pytest.mark.parametrize(
    ("status", "failure"),
    [(400, "content"), (401, "content"), (403, "content"), (408, "transient"), (413, "content"), (429, "transient")],
)
def test_without_a_code_the_status_decides(status, failure):
    assert by_status(status) == failure
    assert Errors().classify("sendgrid", str(status), status).failure == failure


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_faults_of_a_provider_are_transient(status):
    assert by_status(status) == "transient"


def test_only_what_may_be_tried_again_has_a_pause():
    for table in TABLE.values():
        assert all(one.failure in FAILURES for one in table.values())
        assert all(one.failure == "transient" for one in table.values() if one.pause)


def test_a_setting_has_the_last_word():
    errors = Errors.of('{"twilio": {"30003": "channel", "99999": "address"}}')
    assert errors.classify("twilio", "30003") == ErrorClass("channel")
    assert errors.classify("twilio", "99999").failure == "address"
    assert errors.classify("twilio", "30005").failure == "address"
    assert Errors.of("").classify("twilio", "30003").failure == "transient"


@pytest.mark.parametrize("text", ["[]", "{", '{"twilio": {"1": "never"}}', '{"twilio": []}'])
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"failures are address, opted-out|the whole"):
        Errors.of(text)
    with pytest.raises(ValidationError, match="error_classes"):
        NotificationSettings(_env_file=None, error_classes=text)


def test_a_refusal_has_a_masked_text_and_the_longer_pause():
    found = Errors().refused("twilio", "63038", 429, "No more to +1 (202) 555-0147: Bring your card", MESSAGE, 5.0)
    assert (found.failure, found.text, found.retry_after) == ("transient", "No more to …: …", 3600.0)


def test_a_permanent_refusal_names_no_pause():
    assert Errors().refused("twilio", "21211", 400, "x", MESSAGE, 5.0).retry_after is None


def test_the_time_to_come_again_is_read_in_seconds_and_as_a_date():
    assert seconds("7") == 7.0
    assert 50 < seconds(format_datetime(utc_now() + timedelta(minutes=1), usegmt=True)) <= 60
    assert seconds(format_datetime(utc_now() - timedelta(minutes=1), usegmt=True)) == 0.0
    assert [seconds(text) for text in (None, "", "soon", "-5", "1e400", "Wed, 99 Foo 2026")] == [None] * 6


@given(st.text(max_size=40))
def test_whatever_a_header_says_is_a_pause_or_none(text):
    found = seconds(text)
    assert found is None or found >= 0
