"""Emails as SendGrid's Inbound Parse posts them.

https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email
"""

import json
import secrets
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import parseaddr
from typing import Any


def form_of(message: EmailMessage, *, to: str, returns_to: str, spf: str, dkim: str, spam: str, raw: bool) -> tuple[str, bytes]:
    """Return the content type and the body of a webhook."""
    content = message.as_bytes(policy=SMTP)
    domain = parseaddr(str(message["From"]))[1].rpartition("@")[2]
    fields: dict[str, Any] = {
        "to": str(message["To"]),
        "from": str(message["From"]),
        "sender_ip": "192.0.2.7",
        "subject": str(message["Subject"] or ""),
        "envelope": json.dumps({"to": [to], "from": returns_to}),
        "SPF": spf,
        "dkim": dkim or f"{{@{domain} : pass}}",
        "spam_score": spam,
        "spam_report": "Spam detection software has looked at it.",
    }
    charsets = {"to": "UTF-8", "from": "UTF-8", "subject": "UTF-8", "cc": "UTF-8"}
    files: list[Message] = []
    if raw:
        fields["email"] = content
    else:
        fields["headers"] = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0] + b"\n"
        for part in message.walk():
            if part.is_multipart():
                continue
            if part.get_content_disposition() != "attachment" and part.get_content_type() in ("text/plain", "text/html"):
                name = {"text/plain": "text", "text/html": "html"}[part.get_content_type()]
                # As it was sent: SendGrid tells the charset, and changes nothing.
                fields[name] = part.get_payload(decode=True)
                charsets[name] = str(part.get_content_charset() or "us-ascii")
            else:
                files.append(part)
        fields["attachments"] = str(len(files))
    fields["charsets"] = json.dumps(charsets)
    return _encoded(fields, files)


def _encoded(fields: dict[str, Any], files: list[Message]) -> tuple[str, bytes]:
    boundary = f"xYzZY{secrets.token_hex(8)}"
    info = {
        f"attachment{place}": {
            "filename": str(one.get_filename()),
            "name": str(one.get_filename()),
            "type": one.get_content_type(),
        }
        for place, one in enumerate(files, 1)
    }
    if info:
        fields["attachment-info"] = json.dumps(info)
    parts = []
    for name, value in fields.items():
        data = value if isinstance(value, bytes) else value.encode()
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data)
    for place, one in enumerate(files, 1):
        head = f'Content-Disposition: form-data; name="attachment{place}"; filename="{one.get_filename()}"\r\n'
        head += f"Content-Type: {one.get_content_type()}\r\n\r\n"
        parts.append(head.encode() + (one.get_payload(decode=True) or b""))
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
