"""An email that has come in: https://www.rfc-editor.org/rfc/rfc5322, in either form in which SendGrid posts it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import policy
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses
from typing import Any, Final

from fhir_server.fhir.contact import may_be_email, normal_email
from prm_ext.notifications.mailbox.addresses import reference_in
from prm_ext.notifications.mailbox.markup import text_of
from prm_ext.notifications.mailbox.posted import RAW, Attached, Posted, decoded

LONGEST: Final = 100_000
"""Letters of a text that are kept."""
MOST_REFERENCES: Final = 20
MOST_PARTS: Final = 200
_ID: Final = re.compile(r"<([^<>\s]{1,250})>")
_LONGEST_ADDRESS: Final = 254
_LONGEST_HEADER: Final = 10_000


@dataclass(frozen=True, slots=True)
class Mail:
    """What is known of an email."""

    id: str
    """The same for the same email, however often it comes."""
    sender: str
    """Its address in the normal form; empty where `From` names none, or several."""
    said_from: str
    """`From` as it is, for people."""
    returns_to: str
    """The sender of the envelope; empty for a bounce."""
    to: tuple[str, ...]
    """The recipients of the envelope."""
    references: tuple[str, ...]
    """What it answers, the likeliest first: our references, and ids of emails without their brackets."""
    subject: str = field(repr=False)
    text: str = field(repr=False)
    files: tuple[Attached, ...]
    headers: "Message[str, str]" = field(repr=False)
    spf: str = ""
    dkim: str = ""
    spam: float = 0.0


def mail_of(form: Posted) -> Mail:
    """Return the email that was posted."""
    raw = form.fields.get(RAW)
    parser = BytesParser(policy=policy.compat32)
    headers = parser.parsebytes(form.fields.get("headers", b""), headersonly=True) if raw is None else parser.parsebytes(raw)
    plain, html, files = (form.text("text"), form.text("html"), form.files) if raw is None else _contents(headers)
    text = (plain if plain.strip() else text_of(html))[:LONGEST]
    envelope, said_from = form.object("envelope"), _header(headers, "From") or form.text("from")
    to = _texts(envelope.get("to"))
    sender = _sender(headers.get_all("From") or [form.text("from")])
    return Mail(
        id=_digest(headers, sender, text),
        sender=sender,
        said_from=said_from[:_LONGEST_ADDRESS],
        returns_to=str(envelope.get("from") or "").strip("<> "),
        to=to,
        references=_references(headers, to),
        subject=" ".join((_header(headers, "Subject") or form.text("subject")).split())[:1000],
        text=text,
        files=files,
        headers=headers,
        spf=form.text("SPF").strip().lower(),
        dkim=form.text("dkim"),
        spam=_number(form.text("spam_score")),
    )


def _sender(headers: list[Any]) -> str:
    found = [address for _, address in getaddresses([str(one)[:_LONGEST_HEADER] for one in headers])]
    return normal_email(found[0]) if len(found) == 1 and may_be_email(found[0]) else ""


def _digest(headers: "Message[str, str]", sender: str, text: str) -> str:
    """Return what tells an email from others: by its own id where it has one, which nobody else can take from its sender."""
    own = _plain(headers, "Message-ID").strip()
    parts = (own, sender) if own else (sender, str(headers.get("Date")), str(headers.get("Subject")), text)
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:48]


def _references(headers: "Message[str, str]", to: tuple[str, ...]) -> tuple[str, ...]:
    tags = [tag for one in to if (tag := reference_in(one))]
    answered = _ID.findall(_plain(headers, "In-Reply-To"))
    thread = _ID.findall(_plain(headers, "References"))
    return tuple(dict.fromkeys((*tags, *answered, *reversed(thread))))[:MOST_REFERENCES]


def _contents(message: "Message[str, str]") -> tuple[str, str, tuple[Attached, ...]]:
    """Return the text, the HTML and the files of an email as it was sent."""
    texts: dict[str, str] = {}
    files = []
    for part in _parts(message):
        data, mime, name = part.get_payload(decode=True), part.get_content_type(), part.get_filename()
        if not isinstance(data, bytes):
            continue
        if mime in ("text/plain", "text/html") and not name and part.get_content_disposition() != "attachment":
            texts.setdefault(mime, decoded(data, part.get_content_charset() or "utf-8"))
        else:
            files.append(Attached(str(name or ""), mime, data))
    return texts.get("text/plain", ""), texts.get("text/html", ""), tuple(files)


def _parts(message: "Message[str, str]") -> Iterator["Message[str, str]"]:
    for number, part in enumerate(message.walk()):
        if number >= MOST_PARTS:
            return
        if not part.is_multipart():
            yield part


def _header(headers: "Message[str, str]", name: str) -> str:
    found = _plain(headers, name)
    try:
        return str(make_header(decode_header(found))).replace("\x00", "")
    except (LookupError, ValueError):
        return found


def _plain(headers: "Message[str, str]", name: str) -> str:
    """Return a header as it is; empty where there is none."""
    return str(headers.get(name) or "").replace("\x00", "")[:_LONGEST_HEADER]


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(str(one)[:_LONGEST_ADDRESS] for one in found[:MOST_REFERENCES]) if isinstance(found, list) else ()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
