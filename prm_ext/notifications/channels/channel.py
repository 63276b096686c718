"""What a channel is, and what a provider that delivers over it has to do.

A provider hands one message to the outside world and tells what came of it, in the same words whoever it is. It decides
nothing: whether to try again, when, or over which other channel is for `prm_ext.notifications.sending`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

Channel = Literal["whatsapp", "sms", "voice", "email"]
CHANNELS: Final[tuple[Channel, ...]] = ("whatsapp", "sms", "voice", "email")

Failure = Literal["address", "opted-out", "content", "channel", "transient"]
"""Why a message was not taken, or not delivered: the address is wrong for good; its owner does not want it; content or
configuration is refused for good; this channel can not be used now, another may; or it may go later."""

Delivery = Literal["queued", "sending", "sent", "delivered", "read", "failed"]
"""How far a message is, as its provider says; each but the last comes after those before it."""


@dataclass(frozen=True, slots=True)
class Media:
    """A file that goes with a message."""

    url: str
    """Where the provider can fetch it, for a limited time."""
    mime: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one address."""

    tenant: str
    reference: str
    """Our own, the id of the Communication: it travels with the message where the provider allows it, so that the message
    can be found again and receipts find their way."""
    channel: Channel
    to: str
    """A phone number in the form of E.164, or an email address."""
    sender: str
    """The number, messaging service or address that it comes from."""
    body: str = field(repr=False)
    subject: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    """The body of an email as HTML, safe to send as it is; empty: only text."""
    language: str = ""
    """BCP 47; of the voice that reads it."""
    media: tuple[Media, ...] = ()
    content_sid: str = ""
    """Of an approved WhatsApp template, which is then sent instead of the body."""
    content_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback_url: str = ""
    """Where the provider reports what becomes of it, with our reference in it; empty: nowhere."""
    unsubscribe_url: str = ""
    """For one click (RFC 8058); emails only."""
    reply_to: str = ""
    """Where answers go; empty: to the sender. Emails only."""
    begun: datetime | None = None
    """When it was first tried, for looking it up."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken the message and will deliver it, or has done so."""

    provider_id: str
    status: Delivery = "queued"


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider has not taken the message."""

    failure: Failure
    code: str
    """The provider's own, such as `21211`, or the HTTP status."""
    text: str
    """What it says, without addresses and bodies."""
    retry_after: float | None = None
    """Seconds, where the provider says when to come again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether the provider has taken the message: it was sent, and no answer came."""

    text: str


Outcome = Accepted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a provider says later of a message."""

    key: str
    """The same for the same report, however often it comes."""
    status: Delivery
    at: datetime
    reference: str = ""
    """Ours, where it came back."""
    provider_id: str = ""
    failure: Failure | None = None
    """Of `failed`."""
    code: str = ""
    text: str = ""


class Provider(Protocol):
    """Delivers over one or more channels for one account. It may be used by many at once."""

    @property
    def name(self) -> str:
        """`twilio`, `sendgrid`, `ses`, `smtp`, `console`."""
        ...

    @property
    def reports(self) -> bool:
        """Whether receipts come; else what is accepted is all that will ever be known."""
        ...

    @property
    def looks_up(self) -> bool:
        """Whether `find` can tell."""
        ...

    async def send(self, message: Message) -> Outcome:
        """Hand a message over. Whatever happens becomes an Outcome; it raises only what is a fault in this program."""
        ...

    async def find(self, message: Message) -> Outcome | None:
        """Return what became of a message whose outcome is unknown; None: the provider has not taken it.

        Unknown, when the provider can not be asked now. Only where `looks_up`.
        """
        ...

    async def status(self, message: Message, provider_id: str) -> Receipt | None:
        """Return how far an accepted message is, None where it can not be told now."""
        ...

    async def close(self) -> None:
        """Give free what it holds."""
        ...
