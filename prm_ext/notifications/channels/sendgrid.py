"""Email by SendGrid's SDK: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send.

SendGrid takes no idempotency key. Where the account has the Email Activity add-on, a message whose answer was lost can be
looked for by our reference, which goes with it as a custom argument.
"""

import base64
import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import requests
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient
from sendgrid.helpers import mail

from fhir_server.exchange import utc_now
from prm_ext.notifications.channels.accounts import SendGridAccount
from prm_ext.notifications.channels.attachments import Attachment, Attachments
from prm_ext.notifications.channels.channel import Accepted, Delivery, Message, Outcome, Receipt, Refused, Unknown
from prm_ext.notifications.channels.email_words import REFERENCE, message_id_of
from prm_ext.notifications.channels.errors import Errors, seconds
from prm_ext.notifications.channels.http import GATEWAYS, never_left
from prm_ext.notifications.channels.masking import mask
from prm_ext.notifications.channels.mime import AUTOMATIC, AddressError, address_of, message_id, subject, unsubscribe_headers
from prm_ext.notifications.channels.mime import REFERENCE as MARK
from prm_ext.notifications.channels.sendgrid_http import Client
from prm_ext.notifications.channels.threads import Threads

NAME: Final = "sendgrid"
HOST: Final = "https://api.sendgrid.com"
ACTIVITY: Final[dict[str, Delivery]] = {"processed": "sent", "delivered": "delivered", "not_delivered": "failed"}


class SendGrid:
    """A Provider for one account."""

    name = NAME

    def __init__(self, account: SendGridAccount, *, threads: Threads, errors: Errors) -> None:
        self._account = account
        self._threads = threads
        self._errors = errors
        self._attachments = Attachments(account.timeout)
        host = account.base_url.rstrip("/") or HOST
        self._sdk: Any = SendGridAPIClient(account.key, host=host)
        self._http = Client.of(self._sdk, timeout=account.timeout, connections=threads.count)
        self._sdk.client = self._http

    @property
    def reports(self) -> bool:
        """Whether events are believed."""
        return self._account.reports

    @property
    def looks_up(self) -> bool:
        """Whether the account has the add-on."""
        return self._account.activity

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        attachments = await self._attachments.fetch(message.media)
        if isinstance(attachments, Refused):
            return attachments
        return await self._threads.run(self._send, message, attachments)

    async def find(self, message: Message) -> Outcome | None:
        """Ask the Email Activity API for our reference."""
        query = f"(unique_args['{REFERENCE}']=\"{message.reference}\")"
        try:
            found = await self._threads.run(self._activity, query)
        except (HTTPError, requests.RequestException, ValueError) as error:
            return Unknown(f"SendGrid could not be asked: {self._text(error, message)}")
        if not found:
            return None
        first = found[0]
        status = ACTIVITY.get(first.get("status", ""), "queued")
        if status == "failed":
            return self._errors.refused(NAME, "bounce", 0, "SendGrid has not delivered it.", message)
        return Accepted(message_id_of(str(first.get("msg_id", ""))), status)

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """Ask the Email Activity API for how far a message is."""
        if not self.looks_up:
            return None
        query = f"(unique_args['{REFERENCE}']=\"{message.reference}\")"
        try:
            found = await self._threads.run(self._activity, query)
        except (HTTPError, requests.RequestException, ValueError):
            return None
        status = ACTIVITY.get(found[0].get("status", "")) if found else None
        if status is None:
            return None
        key = f"{NAME}:{provider_id}:{found[0]['status']}"
        failure = self._errors.classify(NAME, "bounce").failure if status == "failed" else None
        at = _moment(str(found[0].get("last_event_time", "")))
        return Receipt(key, status, at, message.reference, provider_id, failure, "bounce" if failure else "")

    async def close(self) -> None:
        """Close the connections."""
        self._http.close()
        await self._attachments.close()

    def _send(self, message: Message, attachments: Sequence[Attachment]) -> Outcome:
        try:
            answer = self._sdk.send(_mail(message, attachments))
        except AddressError as error:
            return Refused("address", "address", f"The sender or the recipient {error}.")
        except HTTPError as error:
            return self._refusal(error, message)
        except requests.RequestException as error:
            text = self._text(error, message)
            if never_left(error):
                return self._errors.refused(NAME, "connection", 503, f"SendGrid can not be reached: {text}", message)
            return Unknown(f"SendGrid did not answer: {text}")
        return Accepted(str(answer.headers.get("X-Message-Id") or ""))

    def _activity(self, query: str) -> list[dict[str, Any]]:
        answer = self._sdk.client.messages.get(query_params={"query": query, "limit": 10})
        found: list[dict[str, Any]] = json.loads(answer.body)["messages"]
        return found

    def _refusal(self, error: HTTPError, message: Message) -> Outcome:
        status, said = int(error.status_code), _errors_of(error)
        if status in GATEWAYS or (status >= 500 and said is None):  # noqa: PLR2004 -- any of the server's
            return Unknown(f"SendGrid answered {status} without a reason.")
        text = self._text(error, message)
        if any(".to" in str(one.get("field", "")) for one in said or ()):
            return Refused("address", str(status), text)
        return self._errors.refused(NAME, str(status), status, text, message, _pause(error.headers))

    @staticmethod
    def _text(error: Exception, message: Message) -> str:
        said = _errors_of(error) if isinstance(error, HTTPError) else None
        text = "; ".join(str(one.get("message", "")) for one in said) if said else type(error).__name__
        return mask(text, message)


def _mail(message: Message, attachments: Sequence[Attachment]) -> Any:
    sender, to = address_of(message.sender), address_of(message.to)
    made: Any = mail.Mail(
        from_email=mail.From(sender.addr_spec, sender.display_name or None),
        to_emails=mail.To(to.addr_spec),
        # SendGrid refuses an empty one.
        subject=subject(message) or " ",
        plain_text_content=message.body or " ",
        html_content=message.html or None,
    )
    made.add_custom_arg(mail.CustomArg(REFERENCE, message.reference))
    if message.reply_to:
        reply = address_of(message.reply_to)
        made.reply_to = mail.ReplyTo(reply.addr_spec, reply.display_name or None)
    own = {"Message-ID": message_id(message, sender), MARK: message.reference, "Auto-Submitted": AUTOMATIC}
    for name, value in (own | unsubscribe_headers(message)).items():
        made.add_header(mail.Header(name, value))
    for one in attachments:
        data = base64.b64encode(one.data).decode()
        made.add_attachment(mail.Attachment(mail.FileContent(data), mail.FileName(one.name), mail.FileType(one.mime)))
    return made


def _errors_of(error: HTTPError) -> list[dict[str, Any]] | None:
    try:
        found = json.loads(error.body)["errors"]
    except (ValueError, KeyError, TypeError):
        return None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def _pause(headers: Any) -> float | None:
    reset = str(headers.get("X-RateLimit-Reset") or "")
    return seconds(headers.get("Retry-After")) or (max(0.0, int(reset) - time.time()) if reset.isdigit() else None)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return utc_now()
