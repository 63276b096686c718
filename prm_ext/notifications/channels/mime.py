"""Emails as MIME: https://www.rfc-editor.org/rfc/rfc5322, with one-click unsubscribing (RFC 8058)."""

from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final

from fhir_server.exchange import utc_now
from prm_ext.notifications.channels.attachments import Attachment
from prm_ext.notifications.channels.channel import Message

REFERENCE: Final = "X-Notification-Reference"
"""Header with our reference."""


AUTOMATIC: Final = "auto-generated"
"""`Auto-Submitted`, so that no machine answers: https://www.rfc-editor.org/rfc/rfc3834#section-5."""


class AddressError(ValueError):
    """An address is none; which one is not said."""


def address_of(text: str) -> Address:
    """Return an address with its display name, the domain in ASCII.

    Raises:
        AddressError: it is none.
    """
    name, spec = parseaddr(text)
    local, at, domain = spec.rpartition("@")
    try:
        if not at or not local or not domain or any(one.isspace() for one in spec):
            raise AddressError("is no email address")
        return Address(name, local, domain.encode("idna").decode())
    except (ValueError, IndexError, UnicodeError):
        raise AddressError("is no email address") from None


def unsubscribe_headers(message: Message) -> dict[str, str]:
    """Return the headers by which a mail program offers to unsubscribe with one click."""
    if not message.unsubscribe_url:
        return {}
    return {"List-Unsubscribe": f"<{message.unsubscribe_url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def message_id(message: Message, sender: Address) -> str:
    """Return the Message-ID: the same whenever the message is sent, so that whoever gets it twice can tell."""
    return f"<{message.reference}@{sender.domain}>"


def mime(message: Message, attachments: Sequence[Attachment]) -> EmailMessage:
    """Return an email.

    Raises:
        AddressError: the sender or the recipient is no address.
    """
    sender, to = address_of(message.sender), address_of(message.to)
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = sender, to, subject(message)
    made["Date"], made["Message-ID"] = format_datetime(utc_now()), message_id(message, sender)
    made[REFERENCE] = message.reference
    made["Auto-Submitted"] = AUTOMATIC
    if message.reply_to:
        made["Reply-To"] = address_of(message.reply_to)
    for name, value in unsubscribe_headers(message).items():
        made[name] = value
    made.set_content(message.body)
    if message.html:
        made.add_alternative(message.html, subtype="html")
    for one in attachments:
        kind, _, subtype = one.mime.partition("/")
        made.add_attachment(one.data, maintype=kind or "application", subtype=subtype or "octet-stream", filename=one.name)
    return made


def subject(message: Message) -> str:
    """Return the subject on one line."""
    return " ".join(message.subject.split())
