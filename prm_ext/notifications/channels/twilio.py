"""SMS, WhatsApp messages and calls by Twilio's SDK.

Messages: https://www.twilio.com/docs/messaging/api/message-resource, calls:
https://www.twilio.com/docs/voice/api/call-resource. Twilio has no idempotency key. A message whose answer was lost is
looked for among the latest to the same number; those that are known to belong to other messages of ours are left out.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import requests
from twilio.base.exceptions import TwilioException
from twilio.rest import Client as Sdk
from twilio.twiml.voice_response import VoiceResponse

from prm_ext.notifications.channels.accounts import TwilioAccount
from prm_ext.notifications.channels.channel import Accepted, Message, Outcome, Receipt, Refused, Unknown
from prm_ext.notifications.channels.errors import Errors
from prm_ext.notifications.channels.http import GATEWAYS, never_left
from prm_ext.notifications.channels.masking import mask
from prm_ext.notifications.channels.resemblance import resemblance
from prm_ext.notifications.channels.threads import Threads
from prm_ext.notifications.channels.twilio_http import Client
from prm_ext.notifications.channels.twilio_words import CALL, FAILED, MESSAGE, voice_language

NAME: Final = "twilio"
LATEST: Final = 100
"""So many of the messages to a number are looked at."""
SKEW: Final = timedelta(seconds=60)
"""So far may the clock of Twilio and ours be apart."""
CALL_EVENTS: Final = ["initiated", "ringing", "answered", "completed"]
_FAILING: Final = 500

Known = Callable[[str, Sequence[str], str], Awaitable[Mapping[str, bool]]]
"""Of ids that a provider gave, returns those that are known, and whether they belong to the message with this reference."""


class Twilio:
    """A Provider for one account."""

    name = NAME
    reports = True
    looks_up = True

    def __init__(self, account: TwilioAccount, *, threads: Threads, errors: Errors, known: Known) -> None:
        self._threads = threads
        self._errors = errors
        self._known = known
        self._http = Client(timeout=account.timeout, connections=threads.count, base_url=account.base_url)
        self._sdk: Any = Sdk(account.sid, account.token, http_client=self._http)
        self._api: Any = self._sdk.api.v2010.accounts(account.sid)

    async def send(self, message: Message) -> Outcome:
        """Hand a message over."""
        return await self._threads.run(self._send, message)

    async def find(self, message: Message) -> Outcome | None:
        """Look for a message among the latest to its number."""
        try:
            found = await self._threads.run(self._latest, message)
        except (TwilioException, requests.RequestException, ValueError) as error:
            return Unknown(f"Twilio could not be asked: {self._text(error, message)}")
        known = await self._known(NAME, [one.sid for one in found], message.reference)
        words = CALL if message.channel == "voice" else MESSAGE
        for one in found:
            own = known.get(one.sid)
            # What has failed and is known is an earlier try, which has had its consequences.
            if own is None or (own and words.get(one.status) != "failed"):
                return self._outcome(one, message)
        return None

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """Fetch a message or call."""
        try:
            found = await self._threads.run(self._fetch, message, provider_id)
        except (TwilioException, requests.RequestException, ValueError):
            return None
        status = (CALL if message.channel == "voice" else MESSAGE).get(found.status)
        if status is None:
            return None
        at = found.date_updated or found.date_created
        receipt = Receipt(f"{NAME}:{found.sid}:{found.status}", status, at, message.reference, str(found.sid))
        return receipt if status != "failed" else self._failed(receipt, found, message)

    async def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, message: Message) -> Outcome:
        try:
            made = self._call(message) if message.channel == "voice" else self._message(message)
        except TwilioException as error:
            return self._refusal(error, message)
        except requests.RequestException as error:
            text = self._text(error, message)
            if never_left(error):
                return self._errors.refused(NAME, "connection", 503, f"Twilio can not be reached: {text}", message)
            return Unknown(f"Twilio did not answer: {text}")
        except ValueError:
            return Unknown("Twilio's answer can not be read.")
        return self._outcome(made, message)

    def _message(self, message: Message) -> Any:
        prefix = "whatsapp:" if message.channel == "whatsapp" else ""
        values: dict[str, Any] = {"to": prefix + message.to}
        if message.sender.startswith("MG"):
            values["messaging_service_sid"] = message.sender
        else:
            values["from_"] = prefix + message.sender
        if message.content_sid:
            values["content_sid"] = message.content_sid
            if message.content_variables:
                values["content_variables"] = json.dumps(dict(message.content_variables), ensure_ascii=False)
        elif message.body:
            values["body"] = message.body
        if message.media:
            values["media_url"] = [one.url for one in message.media]
        if message.callback_url:
            values["status_callback"] = message.callback_url
        return self._api.messages.create(**values)

    def _call(self, message: Message) -> Any:
        values: dict[str, Any] = {"to": message.to, "from_": message.sender, "twiml": twiml(message)}
        if message.callback_url:
            values |= {"status_callback": message.callback_url, "status_callback_event": CALL_EVENTS}
        return self._api.calls.create(**values)

    def _latest(self, message: Message) -> list[Any]:
        """Return what looks like the message: what fits best first, and then the oldest.

        Not by `DateSent`: what is queued has none yet.
        """
        since = (message.begun - SKEW) if message.begun else None
        if message.channel == "voice":
            found = self._api.calls.list(to=message.to, from_=message.sender, limit=LATEST, page_size=LATEST)
            fits = dict.fromkeys((one.sid for one in found), 1)
        else:
            prefix = "whatsapp:" if message.channel == "whatsapp" else ""
            values = {} if message.sender.startswith("MG") else {"from_": prefix + message.sender}
            found = self._api.messages.list(to=prefix + message.to, limit=LATEST, page_size=LATEST, **values)
            fits = {one.sid: resemblance(one.body or "", message) for one in found}
        # Lists begin with the newest, and times are in whole seconds.
        fitting = [one for one in reversed(found) if fits[one.sid] and _since(one.date_created, since)]
        return sorted(fitting, key=lambda one: (-fits[one.sid], one.date_created))

    def _fetch(self, message: Message, provider_id: str) -> Any:
        return (self._api.calls if message.channel == "voice" else self._api.messages)(provider_id).fetch()

    def _outcome(self, made: Any, message: Message) -> Outcome:
        sid, status = made.sid, (CALL if message.channel == "voice" else MESSAGE).get(made.status)
        if not sid:
            return Unknown("Twilio's answer names no message.")
        if status != "failed":
            return Accepted(str(sid), status or "queued")
        receipt = self._failed(Receipt("", "failed", made.date_created, "", str(sid)), made, message)
        return Refused(receipt.failure or "transient", receipt.code, receipt.text)

    def _failed(self, receipt: Receipt, found: Any, message: Message) -> Receipt:
        code = str(getattr(found, "error_code", None) or found.status)
        failure = FAILED.get(found.status) or self._errors.classify(NAME, code).failure
        text = mask(str(getattr(found, "error_message", None) or ""), message)
        return Receipt(receipt.key, "failed", receipt.at, receipt.reference, receipt.provider_id, failure, code, text)

    def _refusal(self, error: TwilioException, message: Message) -> Outcome:
        status, code = self._http.status, getattr(error, "code", None)
        if not status:
            raise error
        if status in GATEWAYS or (status >= _FAILING and code in (None, status)):
            # Not Twilio but something in front of it has answered; what became of the message is not known.
            return Unknown(f"Twilio answered {status} without a code.")
        return self._errors.refused(
            NAME, str(code or status), status, self._text(error, message), message, self._http.retry_after
        )

    @staticmethod
    def _text(error: Exception, message: Message) -> str:
        text = getattr(error, "msg", None) or getattr(error, "detail", None) or getattr(error, "title", None)
        return mask(str(text or type(error).__name__), message)


def twiml(message: Message) -> str:
    """Return what is said on the phone, as TwiML: https://www.twilio.com/docs/voice/twiml/say."""
    response: Any = VoiceResponse()
    language = voice_language(message.language)
    response.say(message.body, **({"language": language} if language else {}))
    return str(response)


def _since(created: datetime | None, since: datetime | None) -> bool:
    return created is not None and (since is None or created >= since)
