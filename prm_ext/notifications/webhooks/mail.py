"""Emails that SendGrid posts: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email.

It posts one again for three days until it is taken, so the files of an email are not kept apart until they are: an email some of
whose files can not be taken now is answered with 503.
"""

import asyncio
import base64
import binascii
import hmac
from datetime import timedelta
from email.utils import parseaddr
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.exchange import Context, utc_now
from fhir_server.fhir.contact import normal_email
from fhir_server.fhir.outcome import FhirError, unavailable
from prm_ext.notifications.channels.signatures import sendgrid_signed
from prm_ext.notifications.inbound import Inbound
from prm_ext.notifications.inbox import File, Inbox, Incoming
from prm_ext.notifications.mailbox.judging import doubt_about
from prm_ext.notifications.mailbox.mail import Mail, mail_of
from prm_ext.notifications.mailbox.posted import Attached, posted
from prm_ext.notifications.mailbox.quoting import reply_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.webhooks.door import Sent

LARGEST: Final = 31 * 2**20
"""Bytes: SendGrid takes emails of 30 MB in all."""
AT_ONCE: Final = 8
"""Emails that are held in memory at a time."""
SECONDS: Final = 120.0
"""How long one may take in all; whoever sends it slower keeps others from being taken."""
MOST_FILES: Final = 10
FRESH: Final = timedelta(days=3, hours=1)
PATIENCE_SECONDS: Final = 20.0
HOUR: Final = timedelta(hours=1)
MOST_AN_HOUR: Final = 10
"""What somebody writes beyond it is not acted upon: no two machines answer each other for long."""
_MOST_NAME: Final = 200


async def is_signed(settings: NotificationSettings, sent: Sent) -> bool:
    """Tell whether SendGrid has posted an email: by its signature, or where no key is set by the password in the URL."""
    if not settings.sendgrid_parse_key:
        return _knows(settings.sendgrid_parse_secret, sent.headers.get("authorization", ""))
    try:
        return sendgrid_signed(sent.body, sent.headers, settings.sendgrid_parse_key, utc_now(), FRESH)
    except ValueError:
        structlog.get_logger().error("PRM_NOTIFY_SENDGRID_PARSE_KEY is no public key")
        return False


def _knows(secret: str, authorization: str) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    if not secret or scheme.lower() != "basic":
        return False
    try:
        password = base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return False
    return hmac.compare_digest(password, secret.encode())


async def receive(ctx: Context, settings: NotificationSettings, inbound: Inbound, content_type: str, body: bytes) -> None:
    """Take an email.

    Raises:
        FhirError: 400 or 415, it is no form; 503, its files can not be taken now.
    """
    mail = await asyncio.to_thread(mail_of, await posted(content_type, body))
    files, inbox = mail.files[:MOST_FILES], Inbox(ctx.repo.database)
    await inbox.prepare()
    id_ = await inbox.keep(ctx.tenant, await _incoming(ctx, settings, inbox, mail, files), ctx.now())
    # It is kept; what can not be done at once is done later, but for files.
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await inbound.deal(ctx, id_)
    except (FhirError, PyMongoError, TimeoutError) as error:
        structlog.get_logger().warning("an email is dealt with later", message=id_, reason=type(error).__name__)
    if files and not await inbound.attach(ctx, id_, [one.data for one in files]):
        raise unavailable("The files of this email can not be taken now; post it again.")


async def _incoming(
    ctx: Context, settings: NotificationSettings, inbox: Inbox, mail: Mail, files: tuple[Attached, ...]
) -> Incoming:
    ours = {normal_email(parseaddr(one)[1]) for one in (settings.email_from, settings.email_reply_to) if one}
    doubt, written, whole = doubt_about(mail, ours), reply_of(mail.text), mail.text.strip()
    if not doubt and await inbox.count(ctx.tenant, "email", mail.sender, ctx.now() - HOUR, MOST_AN_HOUR) >= MOST_AN_HOUR:
        doubt = "automatic"
    return Incoming(
        provider="sendgrid",
        id=mail.id,
        channel="email",
        sender=mail.sender or " ".join(mail.said_from.split()) or "unknown",
        to=normal_email(mail.to[0]) if mail.to else "unknown",
        body=written,
        media=tuple(_file(mail, place, one) for place, one in enumerate(files)),
        subject=mail.subject,
        whole=whole if whole != written else "",
        references=mail.references,
        doubt=doubt,
    )


def _file(mail: Mail, place: int, file: Attached) -> File:
    name = "".join(char for char in file.name.replace("\\", "/").rpartition("/")[2] if char.isprintable())
    return File(f"/{mail.id}-{place}", file.mime.partition(";")[0].strip()[:100], name[:_MOST_NAME])
