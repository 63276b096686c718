"""The links that end emails: https://www.rfc-editor.org/rfc/rfc8058, docs/notifications/consent.md.

A link names whom it is about, and is good for ever, as emails are. What it says is encrypted and authenticated, since links
end up in logs and are passed on.
"""

import base64
import binascii
from dataclasses import astuple, dataclass
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.consent import opt_in, opt_out, set_preference
from prm_ext.notifications.provisions import plain
from prm_ext.notifications.webhooks.places import PREFIX

PATH: Final = "/unsubscribe"
"""Below that of notifications."""
_SECRET: Final = "unsubscribe"  # noqa: S105 -- the name of one
_LONGEST: Final = 1500
_PATIENT: Final = "Patient/"
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[str, str, str, str])


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a link is about."""

    person: str
    """Reference of who was written to, empty where that is nobody known."""
    kind: str
    channel: str
    address: str


async def unsubscribe_url(ctx: Context, base: str, *, person: str, kind: str, address: str, channel: Channel = "email") -> str:
    """Return the link that ends messages of a kind to somebody, the same for the same message; `base` has no path."""
    cipher = AESSIV(await ctx.repo.secret(_SECRET))
    ticket = Ticket(person, kind, channel, plain(address))
    sealed = cipher.encrypt(_encoder.encode(astuple(ticket)), [ctx.tenant.encode()])
    return f"{base}{PREFIX}{PATH}/{ctx.tenant}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"


def tenant_of(token: str) -> str:
    """Return the tenant that the token of a link names; whether it is one of ours, `ticket_of` tells."""
    return token.rpartition(".")[0] if len(token) <= _LONGEST else ""


async def ticket_of(ctx: Context, token: str) -> Ticket | None:
    """Return what a link is about; None where it was not made here for this tenant."""
    cipher = AESSIV(await ctx.repo.secret(_SECRET))
    text = token.rpartition(".")[2]
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return Ticket(*_decoder.decode(cipher.decrypt(sealed, [ctx.tenant.encode()])))
    except (InvalidTag, ValueError, binascii.Error, msgspec.DecodeError):
        return None


async def unsubscribe(ctx: Context, ticket: Ticket, *, everything: bool) -> None:
    """Keep that messages of the kind are not wanted, or none at all.

    A patient prefers it so, at whichever address; where nobody is known, and for all messages, it is said of the address.
    """
    channel: Channel = "email"
    if not everything and ticket.person.startswith(_PATIENT):
        try:
            await _prefer(ctx, ticket, allowed=False)
        except FhirError as error:
            if error.status not in (404, 410, 422):
                raise
        else:
            return
    kind = "" if everything else ticket.kind
    people, address = [ticket.person], ticket.address
    await opt_out(ctx, people, channel=channel, sender="", address=address, kind=kind, source="unsubscribe")


async def resubscribe(ctx: Context, ticket: Ticket, *, everything: bool) -> None:
    """Take back what `unsubscribe` has kept."""
    if not everything and ticket.person.startswith(_PATIENT):
        await _prefer(ctx, ticket, allowed=True)
    kind = "" if everything else ticket.kind
    await opt_in(ctx, channel="email", sender="", address=ticket.address, kind=kind, source="unsubscribe")


async def _prefer(ctx: Context, ticket: Ticket, *, allowed: bool) -> None:
    patient = ticket.person.removeprefix(_PATIENT)
    await set_preference(ctx, patient, kind=ticket.kind, channel="email", allowed=allowed, source="unsubscribe")
