"""Amazon SES, API v2, as boto3 sees it, and the events that it publishes through SNS.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html,
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html,
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import email
import json
import uuid
from datetime import UTC, datetime, timedelta
from email.policy import default
from functools import cache
from typing import Any, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.providers.behaviour import Weather
from tests.providers.callbacks import Callbacks
from tests.providers.ledger import Entry, Ledger
from tests.providers.wire import CutError, HangError, Request, Response, answer

REJECTED, TOO_MANY, PAUSED, FAILING, GATEWAY, NEVER, LOST = (
    *("rejected@", "toomany@", "paused@", "failing@", "gateway@", "never@", "lost@"),
)
"""Beginnings of addresses with which SES behaves as a test needs it."""
ERRORS = {
    REJECTED: (400, "MessageRejected", "Email address is not verified: rejected@example.org"),
    TOO_MANY: (429, "TooManyRequestsException", "Maximum sending rate exceeded."),
    PAUSED: (400, "SendingPausedException", "Sending is paused for this account."),
    FAILING: (500, "InternalServiceErrorException", "An internal failure occurred."),
}
TOPIC = "arn:aws:sns:us-east-1:123456789012:ses-events"
CERTIFICATE_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
_FIELDS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


@cache
def _private_key() -> rsa.RSAPrivateKey:
    """Return the key of all accounts in this process: it takes long to make one."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class SesServer:
    """One account in one region."""

    def __init__(self, ledger: Ledger, weather: Weather, callbacks: Callbacks) -> None:
        self.ledger = ledger
        self.weather = weather
        self.callbacks = callbacks
        self.webhook = ""
        self._private = _private_key()
        self.certificate = self._certificate()
        """What is at the URL of the certificate, PEM."""

    @property
    def entries(self) -> list[Entry]:
        """What this account has accepted."""
        return [one for one in self.ledger.entries if one.provider == "ses"]

    async def handle(self, request: Request) -> Response:
        """Answer a request of the API."""
        await self.weather.wait()
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return self.error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        if self.weather.behaviour.outage:
            return self.error(503, "ServiceUnavailable", "Service is unavailable")
        if request.path != "/v2/email/outbound-emails" or request.method != "POST":
            return self.error(404, "NotFoundException", "not found")
        return self._send(request.json)

    def _send(self, body: dict[str, Any]) -> Response:
        to = body["Destination"]["ToAddresses"][0]
        beginning = to.partition("@")[0] + "@"
        if beginning == GATEWAY:
            return Response(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})
        if beginning in ERRORS:
            return self.error(*ERRORS[beginning])
        if self.weather.too_many(body["FromEmailAddress"]):
            return self.error(*ERRORS[TOO_MANY])
        fault = self.weather.fault()
        if fault == "transient":
            return self.error(*self.weather.dice.choice((ERRORS[TOO_MANY], ERRORS[FAILING])))
        if beginning == NEVER:
            raise HangError
        entry = self._accept(body, to)
        if fault == "lost" or beginning == LOST:
            entry.answered = False
            raise CutError
        if fault == "hang":
            entry.answered = False
            raise HangError
        return answer(200, {"MessageId": entry.id})

    def error(self, status: int, code: str, text: str) -> Response:
        """Return an error as the REST JSON protocol words it."""
        self.ledger.refused[code] += 1
        return answer(status, {"message": text}, {"x-amzn-ErrorType": code})

    def _accept(self, body: dict[str, Any], to: str) -> Entry:
        tags = {one["Name"]: one["Value"] for one in body.get("EmailTags", ())}
        content = body["Content"]
        entry = Entry("ses", f"0100{uuid.uuid4()}-000000", "email", to, body["FromEmailAddress"], "", tags.get("reference", ""))
        if "Simple" in content:
            entry.subject, entry.body = content["Simple"]["Subject"]["Data"], content["Simple"]["Body"]["Text"]["Data"]
        else:
            parsed = email.message_from_bytes(base64.b64decode(content["Raw"]["Data"]), policy=default)
            text = parsed.get_body(("plain",))
            entry.subject, entry.body = str(parsed["Subject"]), text.get_content().rstrip("\n") if text else ""
        entry.raw = body
        self.ledger.add(entry)
        if self.weather.behaviour.life and self.webhook:
            self.callbacks.later(self._live(entry))
        return entry

    async def _live(self, entry: Entry) -> None:
        moment = datetime.now(UTC)
        steps = [self.event(entry, "Send", {"send": {}}, moment), self.event(entry, "Delivery", _delivery(entry, moment), moment)]
        entry.status = "delivered"
        if self.weather.behaviour.order == "reversed":
            steps.reverse()
        for step in steps:
            message = self.notification(step)
            for _ in range(2 if self.weather.behaviour.order == "twice" else 1):
                await self.post(message)

    def event(self, entry: Entry, kind: str, values: dict[str, Any], moment: datetime | None = None) -> dict[str, Any]:
        """Return an event about a message."""
        moment = moment or datetime.now(UTC)
        mail = {
            "timestamp": _iso(entry.created),
            "source": entry.sender,
            "sendingAccountId": "123456789012",
            "messageId": entry.id,
            "destination": [entry.to],
            "headersTruncated": False,
            "tags": {"ses:configuration-set": ["prm"], **({"reference": [entry.reference]} if entry.reference else {})},
        }
        return {"eventType": kind, "mail": mail, **values}

    def notification(
        self, event: dict[str, Any], *, version: Literal["1", "2"] = "1", moment: datetime | None = None, topic: str = TOPIC
    ) -> dict[str, str]:
        """Return a signed message of SNS with an event."""
        message = {
            "Type": "Notification",
            "MessageId": str(uuid.uuid4()),
            "TopicArn": topic,
            "Subject": "Amazon SES Email Event Notification",
            "Message": json.dumps(event),
            "Timestamp": _iso(moment or datetime.now(UTC)),
        }
        return self.sign(message, version)

    def confirmation(self, *, version: Literal["1", "2"] = "1", topic: str = TOPIC) -> dict[str, str]:
        """Return the signed message by which SNS asks whether messages are wanted."""
        url = f"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token=abc"
        message = {"Type": "SubscriptionConfirmation", "MessageId": str(uuid.uuid4()), "Token": "abc", "TopicArn": topic}
        message |= {"Message": "You have chosen to subscribe.", "SubscribeURL": url, "Timestamp": _iso(datetime.now(UTC))}
        return self.sign(message, version)

    def sign(self, message: dict[str, str], version: Literal["1", "2"]) -> dict[str, str]:
        """Return a message with its signature."""
        fields = _FIELDS if message["Type"] == "Notification" else _CONFIRMATION
        text = "".join(f"{name}\n{message[name]}\n" for name in fields if name in message)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self._private.sign(text.encode(), padding.PKCS1v15(), algorithm)
        signed = {"SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}
        return message | signed | {"SigningCertURL": CERTIFICATE_URL}

    async def post(self, message: dict[str, str]) -> None:
        """Post a message of SNS."""
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": message["Type"]}
        await self.callbacks.post(self.webhook, msgspec.json.encode(message), headers)

    def _certificate(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(x509.random_serial_number())
        builder = builder.public_key(self._private.public_key())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        return builder.sign(self._private, hashes.SHA256()).public_bytes(Encoding.PEM)


def _delivery(entry: Entry, moment: datetime) -> dict[str, Any]:
    values = {"timestamp": _iso(moment), "recipients": [entry.to], "smtpResponse": "250 2.6.0 Message received"}
    return {"delivery": values | {"reportingMTA": "mta.example.com", "processingTimeMillis": 11893}}


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
