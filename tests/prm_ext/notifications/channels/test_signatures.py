"""Signatures of webhooks, made by the stand-ins as the providers make them."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from prm_ext.notifications.channels.signatures import FRESH, sendgrid_signed, twilio_signed
from prm_ext.notifications.channels.sns import Sns, SnsError, check_url
from tests.providers.ses_server import CERTIFICATE_URL, TOPIC
from tests.providers.stand_ins import StandIns

URL, TOKEN = "https://prm.example.org/api/v1/prm/notifications/webhooks/twilio/acme/c1?a=b", "12345"
FORM_TYPE = "application/x-www-form-urlencoded; charset=UTF-8"
FORM = [
    ("MessageSid", "SM1"),
    ("Body", "Ça va?  50% & more"),
    ("FromCity", ""),
    ("MediaUrl0", "https://x/1"),
    ("To", "+12025550147"),
]


def sign(url: str, params: list[tuple[str, str]], token: str = TOKEN, algorithm: str = "sha1") -> str:
    """Sign as Twilio's documentation says, not by its SDK."""
    text = url + "".join(name + value for name, value in sorted(set(params)))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), algorithm).digest()).decode()


def headers(signature: str, content_type: str = FORM_TYPE, settings: str = "") -> dict[str, str]:
    found = {"x-twilio-signature": signature, "content-type": content_type}
    return found | ({"x-twilio-webhooks-signature-settings": settings} if settings else {})


def test_a_form_of_twilio_with_empty_values_is_believed():
    assert twilio_signed(URL, urlencode(FORM).encode(), headers(sign(URL, FORM)), [TOKEN])


def test_values_that_are_repeated_are_all_signed():
    form = [*FORM, ("To", "+12025550148")]
    assert twilio_signed(URL, urlencode(form).encode(), headers(sign(URL, form)), [TOKEN])
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(sign(URL, form)), [TOKEN])


@pytest.mark.parametrize("signed", ["https://prm.example.org:443/a?x=1", "https://prm.example.org/a?x=1"])
def test_the_port_of_the_scheme_may_be_signed_or_not(signed):
    assert twilio_signed("https://prm.example.org/a?x=1", urlencode(FORM).encode(), headers(sign(signed, FORM)), [TOKEN])


@pytest.mark.parametrize(
    ("url", "body", "token"),
    [
        (URL, urlencode([*FORM, ("x", "")]).encode(), TOKEN),
        (URL, urlencode(FORM[:-1]).encode(), TOKEN),
        (URL.replace("c1", "c2"), urlencode(FORM).encode(), TOKEN),
        (URL.replace("https", "http"), urlencode(FORM).encode(), TOKEN),
        (URL, urlencode(FORM).encode(), "other"),
        (URL, b"", TOKEN),
    ],
)
def test_what_was_changed_is_not_believed(url, body, token):
    assert not twilio_signed(url, body, headers(sign(URL, FORM)), [token])


@pytest.mark.parametrize("signature", ["", "x", "ä", sign(URL, FORM)[:-1]])
def test_what_is_no_signature_is_not_believed(signature):
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(signature), [TOKEN])


def test_a_secret_that_is_not_set_signs_nothing():
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(sign(URL, FORM, "")), [""])
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(sign(URL, FORM)), [])


def test_shared_keys_sign_with_sha_256():
    settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    signature = sign(URL, FORM, "shared", "sha256")
    assert twilio_signed(URL, urlencode(FORM).encode(), headers(signature, settings=settings), [TOKEN, "shared"])
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(signature), [TOKEN, "shared"])
    assert not twilio_signed(URL, urlencode(FORM).encode(), headers(signature, settings="algorithm=MD5"), [TOKEN, "shared"])


def test_json_is_signed_by_its_hash_in_the_query():
    body = b'{"event": "x"}'
    url = f"https://prm.example.org/a?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signed = headers(sign(url, []), "application/json")
    assert twilio_signed(url, body, signed, [TOKEN])
    assert not twilio_signed(url, b'{"event": "y"}', signed, [TOKEN])
    assert not twilio_signed(url, b"\xff", signed, [TOKEN])


@pytest.mark.parametrize("url", ["https://prm.example.org/a", "https://prm.example.org/a?bodySHA256=", "https://x/bodySHA256=1"])
def test_a_body_that_nothing_vouches_for_is_not_believed(url):
    assert not twilio_signed(url, b'{"event": "x"}', headers(sign(url, []), "application/json"), [TOKEN])


def test_a_request_without_a_body_is_signed_by_its_url():
    assert twilio_signed(URL, b"", headers(sign(URL, []), ""), [TOKEN])


@given(
    body=st.binary(max_size=80), signature=st.text(max_size=40), content_type=st.sampled_from([FORM_TYPE, "application/json", ""])
)
def test_no_body_of_strangers_is_believed_and_none_does_harm(body, signature, content_type):
    assert not twilio_signed(URL, body, headers(signature, content_type), [TOKEN])


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=10)), max_size=6))
def test_whatever_twilio_signs_is_believed(params):
    given = [(name, value) for name, value in params if "\ufffd" not in name + value]
    assert twilio_signed(URL, urlencode(given).encode(), headers(sign(URL, _as_the_sdk(given))), [TOKEN])


def _as_the_sdk(params: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Twilio sorts by name, then by value, and takes each pair once."""
    return sorted(set(params))


def test_the_sdk_signs_the_same():
    assert RequestValidator(TOKEN).compute_signature(URL, dict(FORM)) == sign(URL, FORM)


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EVENTS = b'[{"event":"delivered"},\r\n{"event":"open"}]\r\n'


def lower(found: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in found.items()}


def test_events_of_sendgrid_are_believed_to_the_last_byte(providers):
    server = providers.sendgrid
    signed = lower(server.sign(EVENTS, NOW.timestamp()))
    assert sendgrid_signed(EVENTS, signed, server.public_key, NOW)
    assert not sendgrid_signed(EVENTS.rstrip(), signed, server.public_key, NOW)
    assert not sendgrid_signed(EVENTS.replace(b"open", b"drop"), signed, server.public_key, NOW)
    assert not sendgrid_signed(b"\xff" + EVENTS, signed, server.public_key, NOW)


@pytest.mark.parametrize(
    ("age", "believed"),
    [(timedelta(0), True), (timedelta(hours=24), True), (-timedelta(minutes=4), True), (FRESH + timedelta(seconds=1), False)],
)
def test_events_are_believed_for_a_day(providers, age, believed):
    signed = lower(providers.sendgrid.sign(EVENTS, (NOW - age).timestamp()))
    assert sendgrid_signed(EVENTS, signed, providers.sendgrid.public_key, NOW) is believed


def test_events_of_the_future_are_not_believed(providers):
    signed = lower(providers.sendgrid.sign(EVENTS, NOW.timestamp() + 600))
    assert not sendgrid_signed(EVENTS, signed, providers.sendgrid.public_key, NOW)


def test_events_with_another_time_than_the_signed_one_are_not_believed(providers):
    signed = lower(providers.sendgrid.sign(EVENTS, (NOW - timedelta(days=30)).timestamp()))
    signed["x-twilio-email-event-webhook-timestamp"] = str(int(NOW.timestamp()))
    assert not sendgrid_signed(EVENTS, signed, providers.sendgrid.public_key, NOW)


@pytest.mark.parametrize(
    ("name", "value"), [("signature", "x"), ("signature", ""), ("timestamp", "soon"), ("timestamp", "²"), ("timestamp", "")]
)
def test_headers_that_are_none_are_not_believed(providers, name, value):
    signed = lower(providers.sendgrid.sign(EVENTS, NOW.timestamp()))
    signed[f"x-twilio-email-event-webhook-{name}"] = value
    assert not sendgrid_signed(EVENTS, signed, providers.sendgrid.public_key, NOW)


def test_a_key_that_is_none_is_a_fault_of_the_configuration():
    with pytest.raises(ValueError, match="PEM"):
        sendgrid_signed(EVENTS, {}, "no key", NOW)


def test_events_signed_by_another_account_are_not_believed(providers):
    signed = lower(StandIns().sendgrid.sign(EVENTS, NOW.timestamp()))
    assert not sendgrid_signed(EVENTS, signed, providers.sendgrid.public_key, NOW)


class Certificates:
    """What is at the URLs of certificates."""

    def __init__(self, certificate: bytes) -> None:
        self.certificate = certificate
        self.asked: list[str] = []

    async def __call__(self, url: str) -> bytes:
        """Fetch one."""
        self.asked.append(url)
        return self.certificate


@pytest.fixture
def certificates(providers) -> Certificates:
    return Certificates(providers.ses.certificate)


def encode(message: dict[str, str]) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize("version", ["1", "2"])
async def test_messages_of_sns_are_believed_in_both_versions(providers, certificates, version):
    sns = Sns(TOPIC, certificates)
    now = datetime.now(UTC)
    sent = providers.ses.notification({"eventType": "Send", "text": "ä"}, version=version)
    assert await sns.verify(encode(sent), now) == sent
    without = {name: value for name, value in sent.items() if name != "Subject"}
    again = providers.ses.sign({name: without[name] for name in without if not name.startswith("Sign")}, version)
    assert await sns.verify(encode(again), now) == again
    assert certificates.asked == [CERTIFICATE_URL], "a certificate is fetched once"


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_subscription_is_confirmed_where_sns_has_signed_it(providers, certificates, version):
    sent = providers.ses.confirmation(version=version)
    found = await Sns(TOPIC, certificates).verify(encode(sent), datetime.now(UTC))
    check_url(found["SubscribeURL"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Message", '{"eventType": "Bounce"}', "signature"),
        ("MessageId", "other", "signature"),
        ("Subject", "other", "signature"),
        ("TopicArn", TOPIC + "x", "topic"),
        ("Timestamp", "2020-01-01T00:00:00.000Z", "old"),
        ("Timestamp", "2999-01-01T00:00:00.000Z", "old"),
        ("Timestamp", "yesterday", "time"),
        ("Timestamp", "2026-01-01T00:00:00", "time"),
        ("Signature", "AAAA", "signature"),
        ("Signature", "no base64!", "signature"),
        ("SignatureVersion", "3", "version"),
        ("Type", "Other", "no message"),
        ("SigningCertURL", "https://sns.us-east-1.amazonaws.com.example.org/a.pem", "URL"),
        ("SigningCertURL", "https://example.org/a.pem", "URL"),
        ("SigningCertURL", "http://sns.us-east-1.amazonaws.com/a.pem", "URL"),
        ("SigningCertURL", "https://user@sns.us-east-1.amazonaws.com/a.pem", "URL"),
        ("SigningCertURL", "https://sns.us-east-1.amazonaws.com:8443/a.pem", "URL"),
        ("SigningCertURL", "https://[::1", "URL"),
        ("SigningCertURL", "", "URL"),
    ],
)
async def test_messages_that_were_changed_are_not_believed(providers, certificates, name, value, said):
    sent = providers.ses.notification({"eventType": "Send"}) | {name: value}
    with pytest.raises(SnsError, match=said):
        await Sns(TOPIC, certificates).verify(encode(sent), datetime.now(UTC))


async def test_without_a_topic_nothing_is_believed(providers, certificates):
    with pytest.raises(SnsError, match="topic"):
        await Sns("", certificates).verify(encode(providers.ses.notification({}, topic="")), datetime.now(UTC))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"\xff", b'{"Type": "Notification"}', b'{"Type": 1}'])
async def test_what_is_no_message_of_sns_is_not_believed(certificates, body):
    with pytest.raises(SnsError, match="no message"):
        await Sns(TOPIC, certificates).verify(body, datetime.now(UTC))


@pytest.mark.parametrize("certificate", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_certificate_that_is_none_is_not_believed(providers, certificate):
    with pytest.raises(SnsError, match="certificate"):
        await Sns(TOPIC, Certificates(certificate)).verify(encode(providers.ses.notification({})), datetime.now(UTC))


async def test_a_certificate_that_has_expired_is_not_believed(providers, certificates):
    later = datetime.now(UTC) + timedelta(days=3)
    with pytest.raises(SnsError, match="certificate"):
        await Sns(TOPIC, certificates).verify(encode(providers.ses.notification({}, moment=later)), later)


async def test_a_certificate_that_can_not_be_fetched_is_asked_for_again(providers):
    async def away(_url):
        raise ConnectionError

    with pytest.raises(SnsError, match="certificate"):
        await Sns(TOPIC, away).verify(encode(providers.ses.notification({})), datetime.now(UTC))
