"""What Twilio sends: how far messages and calls are, and messages that come in.

https://www.twilio.com/docs/messaging/guides/webhook-request
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

import structlog
from pymongo.errors import PyMongoError

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.contact import normal_phone
from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.channels.reports import twilio_call, twilio_message
from prm_ext.notifications.channels.signatures import Form, twilio_signed
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.inbox import File, Inbox, Incoming
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.orders import stored, transact
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.webhooks.door import Sent
from prm_ext.notifications.webhooks.reported import take

LARGEST: Final = 262_144
"""Bytes of a form."""
PATIENCE_SECONDS: Final = 10.0
"""Twilio waits for fifteen. What takes longer is done all the same."""
MOST_FILES: Final = 10
LONGEST: Final = 20_000
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'
_SEPARATE: Final = "whatsapp:"


async def is_signed(settings: NotificationSettings, sent: Sent) -> bool:
    """Tell whether Twilio has sent a request; nobody has where there is no auth token to say so."""
    return twilio_signed(sent.url, sent.body, sent.headers, [settings.twilio_auth_token, settings.twilio_webhook_secret])


async def report(ctx: Context, means_of: MeansOf, body: bytes, reference: str) -> None:
    """Take what is said of a message or call."""
    means, form = await means_of(ctx), Form(body).first()
    errors, now = means.providers.errors(ctx.tenant), ctx.now()
    receipt = twilio_call(form, reference, now, errors) or twilio_message(form, reference, now, errors)
    if receipt is not None:
        await take(ctx, means, "twilio", [receipt])


async def receive(ctx: Context, inbound: Inbound, body: bytes) -> str:
    """Take a message that has come in; return the TwiML that answers it."""
    message = incoming(Form(body).first(), ctx.settings.of(ctx.tenant).phone_region)
    if message is None:
        return twiml("")
    inbox = Inbox(ctx.repo.database)
    await inbox.prepare()
    id_ = await inbox.keep(ctx.tenant, message, ctx.now())
    # It is kept; what can not be done at once is done later.
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return twiml(await _told(ctx, await inbound.deal(ctx, id_)))
    except (FhirError, PyMongoError, TimeoutError) as error:
        structlog.get_logger().warning("a message is dealt with later", message=id_, reason=type(error).__name__)
        return twiml("")


async def _told(ctx: Context, answer: Resource | None) -> str:
    """Store what is said in the answer to the webhook; return its text."""
    if answer is None:
        return ""
    try:
        await transact(ctx, [stored(answer)])
    except (FhirError, PyMongoError) as error:
        # It has to be said all the same.
        structlog.get_logger().error("an answer could not be stored", communication=answer["id"], reason=type(error).__name__)
    return str(answer["payload"][0]["contentString"])


def incoming(form: Mapping[str, str], region: str) -> Incoming | None:
    """Return the message that a form is about; None where it is about none."""
    sid = form.get("MessageSid") or form.get("SmsMessageSid") or form.get("SmsSid", "")
    sender = form.get("From", "")
    if not sid or not sender:
        return None
    channel: Channel = "whatsapp" if sender.startswith(_SEPARATE) else "sms"
    to = form.get("To", "").removeprefix(_SEPARATE)
    return Incoming(
        provider="twilio",
        id=sid[:64],
        channel=channel,
        sender=normal_phone(sender, region) or sender.removeprefix(_SEPARATE)[:64],
        to=normal_phone(to, region) or to[:64],
        body=form.get("Body", "")[:LONGEST],
        media=tuple(_files(form)),
        place=_place(form),
        reply_to=form.get("OriginalRepliedMessageSid", "")[:64],
        opt_out=form.get("OptOutType", "")[:16],
    )


def _files(form: Mapping[str, str]) -> list[File]:
    count = form.get("NumMedia", "0")
    number = min(int(count), MOST_FILES) if count.isdecimal() and len(count) < len("1000") else 0
    urls = [(form.get(f"MediaUrl{place}", ""), form.get(f"MediaContentType{place}", "")) for place in range(number)]
    return [File(url[:2000], mime.partition(";")[0].strip()[:100]) for url, mime in urls if url]


def _place(form: Mapping[str, str]) -> str:
    """Return a place that was sent by WhatsApp, in words."""
    latitude, longitude = form.get("Latitude", ""), form.get("Longitude", "")
    if not latitude or not longitude:
        return ""
    parts = [form.get("Label", ""), form.get("Address", ""), f"{latitude}, {longitude}"]
    return ", ".join(part[:500] for part in parts if part)


def twiml(text: str) -> str:
    """Return TwiML that answers with a text, or with none: https://www.twilio.com/docs/messaging/twiml."""
    return f"{_XML}<Response><Message>{escape(text)}</Message></Response>" if text else f"{_XML}<Response/>"
