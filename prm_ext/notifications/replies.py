"""What a reply asks for: no more messages, messages again, help, or yes or no to an appointment.

docs/notifications/inbound.md. What it does to appointments, and the answer to it, are entries of the transaction that stores
the Communication; objections are kept as Consents.
"""

from collections.abc import Mapping
from typing import Final

from fhir_server.exchange import Context, Resource
from fhir_server.store.database import Document
from prm_ext.notifications.answering import Answering
from prm_ext.notifications.asked import asked
from prm_ext.notifications.consent import opt_in, opt_out
from prm_ext.notifications.keywords import meaning, number_in
from prm_ext.notifications.senders import Sender
from prm_ext.notifications.settings import NotificationSettings

_PROVIDERS: Final[Mapping[str, str]] = {"STOP": "stop", "START": "start", "HELP": "help"}
_VERBS: Final = frozenset({"confirm", "cancel"})
_BY_TWILIO: Final = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "START", "YES", "UNSTOP", "HELP", "INFO"}
)
"""What Twilio answers by itself: https://help.twilio.com/articles/223134027."""
_AROUND: Final = " .#():\u200e\u200f"


class Replies:
    """Understands replies, in one context."""

    def __init__(self, ctx: Context, settings: NotificationSettings) -> None:
        self._ctx = ctx
        self._settings = settings

    async def meaning(self, found: Document, sender: Sender) -> str:
        """Return what a message means: words of `keywords`, one or two; nothing where it is for people to read."""
        if found.get("doubt"):
            return ""
        of_provider = _PROVIDERS.get(found["opt_out"].upper(), "")
        known = await asked(self._ctx, sender)
        said = meaning(found["body"], awaiting_reply=bool(known.recent or known.quoted)) or ""
        if of_provider in ("", said):
            return said
        # The provider stops messages at CANCEL. Who has been asked about an appointment means that as well.
        return f"{of_provider} {said}" if said in _VERBS else of_provider

    async def entries(self, found: Document, sender: Sender, message: str) -> list[Resource]:
        """Return what is stored with the Communication of a message."""
        if found.get("doubt"):
            return []
        words = set(found["meaning"].split())
        answering = Answering(self._ctx, self._settings, found, sender, message, elsewhere="stop" in words)
        verb = next(iter(words & _VERBS), "")
        if verb:
            return await answering.about_appointment(verb, await asked(self._ctx, sender))
        if not words and found["body"].strip(_AROUND).isdecimal() and number_in(found["body"]) is not None:
            known = await asked(self._ctx, sender)
            return await answering.about_appointment(known.question.verb, known) if known.question is not None else []
        key = "started" if "start" in words else "help" if "help" in words else ""
        return [answering.answer(key)] if key and not self._is_answered(found) else []

    def _is_answered(self, found: Document) -> bool:
        """Tell whether the provider has answered by itself."""
        by_twilio = self._settings.twilio_answers and found["channel"] == "sms" and found["provider"] == "twilio"
        return bool(found["opt_out"]) or (by_twilio and found["body"].strip().upper() in _BY_TWILIO)

    async def begin_again(self, found: Document) -> None:
        """Keep that somebody wants messages again; before they are answered."""
        if "start" in found["meaning"].split():
            channel, address = found["channel"], found["from"]
            await opt_in(self._ctx, channel=channel, sender=_sender(found), address=address, source="reply")

    async def stop(self, found: Document, sender: Sender, message: str) -> Resource | None:
        """Keep that somebody wants no more messages; return what to say to that at once, since nothing can be sent later.

        It is a Communication, for whoever says it to store; None where the provider says it by itself, and by email.
        """
        if "stop" not in found["meaning"].split():
            return None
        await opt_out(
            self._ctx,
            sender.people(),
            channel=found["channel"],
            sender=_sender(found),
            address=found["from"],
            source="reply",
            message=message,
        )
        if self._is_answered(found) or found["channel"] == "email":
            return None
        return Answering(self._ctx, self._settings, found, sender, message).last()


def _sender(found: Document) -> str:
    """Return whose messages a reply is about: those from the number that it came to, of emails all."""
    return "" if found["channel"] == "email" else str(found["to"])
