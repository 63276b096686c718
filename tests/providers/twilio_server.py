"""Twilio as its SDK sees it: messages, calls and media of one account, with status callbacks.

https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/voice/api/call-resource,
https://www.twilio.com/docs/iam/test-credentials (the magic numbers; those beyond it are our own, see `twilio_magic`).
"""

import asyncio
import base64
import re
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from twilio.request_validator import RequestValidator

from tests.providers.behaviour import Weather
from tests.providers.callbacks import Callbacks
from tests.providers.ledger import Entry, Ledger
from tests.providers.twilio_magic import (
    CALLS,
    CALLS_FAIL,
    LATER,
    LOST_AND_CUT,
    LOST_AND_HANG,
    MESSAGES,
    NEVER,
    SENDERS,
    TEXTS,
)
from tests.providers.twilio_resources import call_json, message_json, page_json
from tests.providers.wire import CutError, HangError, Request, Response, answer

PATH = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[^/]+)/(?P<kind>Messages|Calls)(?:/(?P<sid>\w+))?(?P<rest>/Media(?:/\w+)?)?(?:\.json)?"
)
TRANSIENT = (20429, 20500, 20503)
STATUS = {20003: 401, 20404: 404, 20429: 429, 20500: 500, 20503: 503}


class TwilioServer:
    """One account."""

    def __init__(self, ledger: Ledger, weather: Weather, callbacks: Callbacks, sid: str, token: str) -> None:
        self.ledger = ledger
        self.weather = weather
        self.callbacks = callbacks
        self.sid = sid
        self.token = token
        self.media: dict[str, tuple[str, bytes]] = {}
        self.origin = ""

    @property
    def entries(self) -> list[Entry]:
        """What this account has accepted."""
        return [one for one in self.ledger.entries if one.provider == "twilio"]

    async def handle(self, request: Request) -> Response:
        """Answer a request of the API."""
        await self.weather.wait()
        if request.path.startswith("/media-cdn/"):
            return self._file(request.path.rpartition("/")[2])
        found = PATH.fullmatch(request.path)
        if found is None or found["account"] != self.sid:
            return self.error(20404)
        if not self._authentic(request):
            return self.error(20003)
        if self.weather.behaviour.outage:
            return self.error(20503)
        if found["rest"]:
            return self._media(found["sid"], found["rest"])
        if request.method == "POST" and not found["sid"]:
            return await self._create(request, found["kind"])
        if request.method == "GET":
            return self._fetch(found["sid"]) if found["sid"] else self._list(request, found["kind"])
        return self.error(20404)

    def error(self, code: int, status: int = 0, headers: dict[str, str] | None = None) -> Response:
        """Return an error as Twilio words it."""
        status = status or STATUS.get(code, 400)
        self.ledger.refused[str(code)] += 1
        more = f"https://www.twilio.com/docs/errors/{code}"
        return answer(
            status, {"code": code, "message": TEXTS.get(code, "Bad request"), "more_info": more, "status": status}, headers
        )

    async def report(self, sid: str, *statuses: str, error: int = 0) -> list[httpx.Response | None]:
        """Let a message or call have statuses, and report each."""
        entry = self.ledger.find(sid)
        assert entry is not None
        for status in statuses:
            self._move(entry, status, error)
        if not entry.callback:
            return []
        return [await self._call_back(entry, status, error) for status in statuses]

    async def receive(
        self, url: str, from_: str, to: str, body: str = "", media: tuple[tuple[str, bytes], ...] = (), **fields: str
    ) -> httpx.Response | None:
        """Let a message come in: https://www.twilio.com/docs/messaging/guides/webhook-request."""
        sid = ("MM" if media else "SM") + uuid.uuid4().hex
        form = {"MessageSid": sid, "SmsSid": sid, "SmsMessageSid": sid, "AccountSid": self.sid, "ApiVersion": "2010-04-01"}
        form |= {"From": from_, "To": to, "Body": body, "NumMedia": str(len(media)), "NumSegments": "1", "SmsStatus": "received"}
        form |= {
            "FromCity": "",
            "FromState": "",
            "FromZip": "",
            "FromCountry": "",
            "ToCity": "",
            "ToState": "",
            "ToZip": "",
            "ToCountry": "",
        }
        if from_.startswith("whatsapp:"):
            form |= {"WaId": from_.removeprefix("whatsapp:+"), "ProfileName": "Ana", "ChannelMetadata": "{}"}
        for place, (mime, data) in enumerate(media):
            media_sid = "ME" + uuid.uuid4().hex
            self.media[media_sid] = (mime, data)
            form[f"MediaUrl{place}"] = f"{self.origin}/2010-04-01/Accounts/{self.sid}/Messages/{sid}/Media/{media_sid}"
            form[f"MediaContentType{place}"] = mime
        return await self.post(url, form | fields)

    async def post(self, url: str, form: dict[str, str]) -> httpx.Response | None:
        """Post a form with its signature."""
        signature = RequestValidator(self.token).compute_signature(url, form)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        headers |= {"I-Twilio-Idempotency-Token": str(uuid.uuid4()), "User-Agent": "TwilioProxy/1.1"}
        return await self.callbacks.post(url, urlencode(form).encode(), headers)

    def _authentic(self, request: Request) -> bool:
        expected = base64.b64encode(f"{self.sid}:{self.token}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"

    async def _create(self, request: Request, kind: str) -> Response:
        form = request.form
        one = {name: values[0] for name, values in form.items()}
        to, sender = one.get("To", ""), one.get("From") or one.get("MessagingServiceSid", "")
        plain = to.removeprefix("whatsapp:")
        code = _wrong(one, kind) or SENDERS.get(sender, 0) or (CALLS if kind == "Calls" else MESSAGES).get(plain, 0)
        if code:
            return self.error(code, headers={"Retry-After": "7"} if code == 20429 else None)
        if self.weather.too_many(sender):
            return self.error(20429, headers={"Retry-After": "1"})
        fault = self.weather.fault()
        if fault == "transient":
            return self.error(self.weather.dice.choice(TRANSIENT))
        if plain == NEVER:
            raise HangError
        entry = self._accept(form, one, kind, to, sender)
        if fault == "lost" or plain == LOST_AND_CUT:
            entry.answered = False
            raise CutError
        if fault == "hang" or plain == LOST_AND_HANG:
            entry.answered = False
            raise HangError
        return answer(201, message_json(entry, self.sid) if kind == "Messages" else call_json(entry, self.sid))

    def _accept(self, form: dict[str, list[str]], one: dict[str, str], kind: str, to: str, sender: str) -> Entry:
        channel = "voice" if kind == "Calls" else "whatsapp" if to.startswith("whatsapp:") else "sms"
        prefix = "CA" if kind == "Calls" else "MM" if "MediaUrl" in form else "SM"
        callback = one.get("StatusCallback", "")
        reference = urlsplit(callback).path.rpartition("/")[2]
        body = one.get("Twiml", "") if kind == "Calls" else one.get("Body", "")
        status = "accepted" if sender.startswith("MG") else "queued"
        entry = Entry("twilio", prefix + uuid.uuid4().hex, channel, to, sender, body, reference, "", callback, status)
        entry.raw = dict(form)
        self.ledger.add(entry)
        if self.weather.behaviour.life:
            self.callbacks.later(self._live(entry))
        return entry

    async def _live(self, entry: Entry) -> None:
        """Report on a message or call until its end, as the behaviour says."""
        behaviour = self.weather.behaviour
        plain = entry.to.removeprefix("whatsapp:")
        if entry.channel == "voice":
            end = CALLS_FAIL.get(plain, "completed")
            steps = [("initiated", 0), ("ringing", 0), *([("in-progress", 0)] if end == "completed" else []), (end, 0)]
        else:
            error = LATER.get(plain, 30008 if self.weather.undelivered() else 0)
            read = [("read", 0)] if entry.channel == "whatsapp" else []
            steps = [("sent", 0), *([("undelivered", error)] if error else [("delivered", 0), *read])]
        await asyncio.sleep(behaviour.step)
        for status, error in steps:
            self._move(entry, status, error)
        if behaviour.order == "reversed":
            steps.reverse()
        for status, error in steps:
            for _ in range(2 if behaviour.order == "twice" else 1):
                if entry.callback:
                    await self._call_back(entry, status, error)
            await asyncio.sleep(behaviour.step)

    def _move(self, entry: Entry, status: str, error: int) -> None:
        entry.status, entry.error, entry.updated = status, str(error or ""), datetime.now(UTC)
        entry.sent = entry.sent or entry.updated

    async def _call_back(self, entry: Entry, status: str, error: int) -> httpx.Response | None:
        if entry.channel == "voice":
            now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            form = {"CallSid": entry.id, "CallStatus": status, "Timestamp": now, "CallbackSource": "call-progress-events"}
            form |= {"Direction": "outbound-api", "Called": entry.to, "Caller": entry.sender, "SequenceNumber": "0"}
        else:
            form = {"MessageSid": entry.id, "MessageStatus": status, "SmsSid": entry.id, "SmsStatus": status}
            if entry.channel == "whatsapp":
                form |= {"ChannelPrefix": "whatsapp", "ChannelInstallSid": "XE" + "0" * 32, "EventType": status.upper()}
            elif status in ("delivered", "undelivered"):
                form["RawDlrDoneDate"] = datetime.now(UTC).strftime("%y%m%d%H%M")
        form |= {"To": entry.to, "From": entry.sender, "AccountSid": self.sid, "ApiVersion": "2010-04-01"}
        if error:
            form |= {"ErrorCode": str(error), "ErrorMessage": TEXTS.get(error, "")}
        return await self.post(entry.callback, form)

    def _fetch(self, sid: str) -> Response:
        entry = self.ledger.find(sid)
        if entry is None or entry.provider != "twilio":
            return self.error(20404)
        return answer(200, call_json(entry, self.sid) if entry.channel == "voice" else message_json(entry, self.sid))

    def _list(self, request: Request, kind: str) -> Response:
        found = [one for one in self.entries if (one.channel == "voice") == (kind == "Calls")]
        for name, attribute in (("To", "to"), ("From", "sender")):
            if wanted := request.param(name):
                found = [one for one in found if getattr(one, attribute) == wanted]
        for name, fits in (
            ("DateSent>", lambda sent, day: sent >= day),
            ("DateSent<", lambda sent, day: sent <= day),
            ("DateSent", lambda sent, day: sent[:10] == day[:10]),
        ):
            if day := request.param(name):
                found = [one for one in found if one.sent and fits(one.sent.strftime("%Y-%m-%dT%H:%M:%SZ"), day)]
        return answer(200, page_json(list(reversed(found)), request, kind, self.sid))

    def _media(self, message: str, rest: str) -> Response:
        """Twilio sends whoever is let in on to where its files are, where nobody is asked any more."""
        media_sid = rest.rpartition("/")[2]
        del message
        if media_sid not in self.media:
            return self.error(20404)
        return Response(307, b"", {"Location": f"{self.origin}/media-cdn/{media_sid}"})

    def _file(self, media_sid: str) -> Response:
        if media_sid not in self.media:
            return Response(404)
        mime, data = self.media[media_sid]
        return Response(200, data, {"Content-Type": mime})


def _wrong(one: dict[str, Any], kind: str) -> int:
    """Return what is wrong with a form, or 0."""
    if not one.get("To"):
        return 21201 if kind == "Calls" else 21604
    if kind == "Calls":
        return 21213 if not one.get("From") else 21205 if not (one.get("Twiml") or one.get("Url")) else 0
    if not (one.get("From") or one.get("MessagingServiceSid")):
        return 21603
    if not (one.get("Body") or one.get("MediaUrl") or one.get("ContentSid")):
        return 21619
    if not re.fullmatch(r"(whatsapp:)?\+\d{7,15}", one["To"]):
        return 21211
    return 21617 if len(one.get("Body", "")) > 1600 else 0
