"""SendGrid as its SDK and its webhooks show it.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send,
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event,
https://www.twilio.com/docs/sendgrid/api-reference/email-activity/filter-all-messages
"""

import asyncio
import base64
import re
import secrets
import time
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.providers.behaviour import Weather
from tests.providers.callbacks import Callbacks
from tests.providers.ledger import Entry, Ledger
from tests.providers.sendgrid_parse import form_of
from tests.providers.wire import CutError, HangError, Request, Response, answer

INVALID = "invalid@"
TOO_MANY = "toomany@"
FAILING = "failing@"
GATEWAY = "gateway@"
NEVER = "never@"
LOST = "lost@"
BOUNCE, BLOCKED, DROPPED, UNSUBSCRIBED = "bounce@", "blocked@", "dropped@", "unsubscribed@"
"""Beginnings of addresses with which SendGrid behaves as a test needs it."""

_QUERY = re.compile(r"\(?unique_args\['(?P<name>\w+)'\]=\"(?P<value>[^\"]*)\"\)?")
_ACTIVITY = {"queued": "processed", "delivered": "delivered", "bounce": "not_delivered", "dropped": "not_delivered"}


class SendGridServer:
    """One account, with the Email Activity add-on or without."""

    def __init__(self, ledger: Ledger, weather: Weather, callbacks: Callbacks, key: str) -> None:
        self.ledger = ledger
        self.weather = weather
        self.callbacks = callbacks
        self.key = key
        self.activity = True
        self.webhook = ""
        """Where events go; nowhere where it is empty."""
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._events: list[dict[str, Any]] = []

    @property
    def public_key(self) -> str:
        """The key of signed event webhooks, as SendGrid shows it."""
        shown = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(shown).decode()

    @property
    def entries(self) -> list[Entry]:
        """What this account has accepted."""
        return [one for one in self.ledger.entries if one.provider == "sendgrid"]

    async def handle(self, request: Request) -> Response:
        """Answer a request of the API."""
        await self.weather.wait()
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return self.error(401, "The provided authorization grant is invalid, expired, or revoked")
        if self.weather.behaviour.outage:
            return self.error(503, "Service Unavailable")
        if request.path == "/v3/mail/send" and request.method == "POST":
            return self._send(request)
        if request.path == "/v3/messages" and request.method == "GET":
            return self._filter(request)
        return self.error(404, "not found")

    def error(self, status: int, text: str, field: str | None = None, headers: dict[str, str] | None = None) -> Response:
        """Return errors as SendGrid words them."""
        self.ledger.refused[str(status)] += 1
        return answer(status, {"errors": [{"message": text, "field": field, "help": None}]}, headers)

    def event(self, entry: Entry, kind: str, **values: Any) -> dict[str, Any]:
        """Return an event about a message."""
        return {
            "email": entry.to,
            "timestamp": int(time.time()),
            "smtp-id": f"<{entry.id}@geopod-ismtpd-1>",
            "event": kind,
            "sg_event_id": secrets.token_urlsafe(24),
            "sg_message_id": f"{entry.id}.filterdrecv-5645d9c87f-abcde-0",
            **entry.raw.get("custom_args", {}),
            **values,
        }

    async def post(self, events: list[dict[str, Any]], url: str = "", moment: float | None = None) -> httpx.Response | None:
        """Post events in one webhook, signed."""
        # SendGrid ends each event with CRLF, and signs that too.
        body = b"[" + b",\r\n".join(msgspec.json.encode(one) for one in events) + b"]\r\n"
        return await self.callbacks.post(url or self.webhook, body, self.sign(body, moment))

    async def receive(
        self,
        url: str,
        message: EmailMessage,
        *,
        to: str = "",
        returns_to: str | None = None,
        spf: str = "pass",
        dkim: str = "",
        spam: str = "0.1",
        raw: bool = False,
        moment: float | None = None,
    ) -> httpx.Response | None:
        """Let an email come in, for the recipient of an envelope; `returns_to` is the sender of that."""
        sender, recipient = (parseaddr(str(message[name]))[1] for name in ("From", "To"))
        returns_to = sender if returns_to is None else returns_to
        kind, body = form_of(message, to=to or recipient, returns_to=returns_to, spf=spf, dkim=dkim, spam=spam, raw=raw)
        return await self.callbacks.post(url, body, self.sign(body, moment) | {"Content-Type": kind})

    def sign(self, body: bytes, moment: float | None = None) -> dict[str, str]:
        """Return the headers of a webhook."""
        timestamp = str(int(time.time() if moment is None else moment))
        signature = self._private.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }

    def _send(self, request: Request) -> Response:
        body = request.json
        to = body["personalizations"][0]["to"][0]["email"]
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", to) or to.startswith(INVALID):
            return self.error(400, f"Does not contain a valid address. {to}", "personalizations.0.to.0.email")
        if to.startswith(GATEWAY):
            return Response(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"})
        if to.startswith(FAILING):
            return self.error(500, "Internal server error")
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 30)}
        if to.startswith(TOO_MANY) or self.weather.too_many(body["from"]["email"]):
            return self.error(429, "too many requests", headers=reset)
        fault = self.weather.fault()
        if fault == "transient":
            status = self.weather.dice.choice((429, 500, 503))
            return self.error(status, "try again", headers=reset if status == 429 else None)
        if to.startswith(NEVER):
            raise HangError
        entry = self._accept(body, to)
        if fault == "lost" or to.startswith(LOST):
            entry.answered = False
            raise CutError
        if fault == "hang":
            entry.answered = False
            raise HangError
        return Response(202, b"", {"X-Message-Id": entry.id, "Content-Type": "text/plain"})

    def _accept(self, body: dict[str, Any], to: str) -> Entry:
        args = {**body.get("custom_args", {}), **body["personalizations"][0].get("custom_args", {})}
        text = next((one["value"] for one in body["content"] if one["type"] == "text/plain"), "")
        entry = Entry("sendgrid", secrets.token_urlsafe(16), "email", to, body["from"]["email"], text)
        entry.reference, entry.subject, entry.raw = (
            args.get("reference", ""),
            body.get("subject", ""),
            body | {"custom_args": args},
        )
        self.ledger.add(entry)
        if self.weather.behaviour.life:
            self.callbacks.later(self._live(entry))
        return entry

    async def _live(self, entry: Entry) -> None:
        behaviour = self.weather.behaviour
        await asyncio.sleep(behaviour.step)
        events = [self.event(entry, "processed"), *self._end(entry)]
        entry.status = events[-1]["event"] if events[-1]["event"] in _ACTIVITY else "delivered"
        if behaviour.order == "reversed":
            events.reverse()
        if not self.webhook:
            return
        self._events += events * (2 if behaviour.order == "twice" else 1)
        # What comes together within a moment goes in one webhook.
        await asyncio.sleep(max(behaviour.step, 0.01))
        while self._events:
            batch, self._events = self._events[: behaviour.batch], self._events[behaviour.batch :]
            await self.post(batch)

    def _end(self, entry: Entry) -> list[dict[str, Any]]:
        reason = "550 5.1.1 The email account that you tried to reach does not exist"
        if entry.to.startswith(BOUNCE):
            return [
                self.event(entry, "bounce", type="bounce", reason=reason, status="5.1.1", bounce_classification="Invalid Address")
            ]
        if entry.to.startswith(BLOCKED) or self.weather.undelivered():
            return [self.event(entry, "bounce", type="blocked", reason="421 4.7.0 try again later", status="4.7.0")]
        if entry.to.startswith(DROPPED):
            return [self.event(entry, "dropped", reason="Bounced Address", status="5.0.0")]
        if entry.to.startswith(UNSUBSCRIBED):
            return [self.event(entry, "dropped", reason="Unsubscribed Address", status="5.0.0")]
        return [self.event(entry, "delivered", response="250 2.0.0 OK")]

    def _filter(self, request: Request) -> Response:
        if not self.activity:
            return self.error(403, "access forbidden")
        asked = _QUERY.fullmatch(request.param("query"))
        if asked is None:
            return self.error(400, "invalid query")
        found = [one for one in self.entries if one.raw["custom_args"].get(asked["name"]) == asked["value"]]
        messages = [
            {
                "from_email": one.sender,
                "msg_id": f"{one.id}.filterdrecv-5645d9c87f-abcde-0",
                "subject": one.subject,
                "to_email": one.to,
                "status": _ACTIVITY.get(one.status, "processed"),
                "opens_count": 0,
                "clicks_count": 0,
                "last_event_time": one.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for one in found
        ]
        return answer(200, {"messages": messages[: int(request.param("limit") or 10)]})
