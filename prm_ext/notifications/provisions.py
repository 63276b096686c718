"""What Consents say about being written to, whoever wrote them.

https://hl7.org/fhir/R4/consent.html, docs/notifications/consent.md has the form.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.fhir import dates
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.codes import KIND, channels_of

MARKETING_PURPOSE: Final = "HMARKT"
CATEGORY: Final = "urn:prm:consent-category"
"""Of Consents that are about being written to: `notifications`."""
ACTION: Final = "urn:prm:consent-action"
"""Of provisions that are about being written to: `contact`."""
ADDRESS: Final = "urn:prm:notification-address"
"""System of identifiers that are the address of whoever does not want to be written to there."""
SENDER: Final = "urn:prm:notification-sender"
"""System of identifiers that are the number or address that nothing shall come from any more."""
MARKETING: Final = frozenset({"health-tips", "campaign"})
"""Kinds that are not part of somebody's care."""
RECIPIENT: Final = "IRCP"
_SERVICE: Final = "MG"
_CLASSES: Final = frozenset({"Communication", "CommunicationRequest"})


@dataclass(frozen=True, slots=True)
class Contact:
    """A message that is about to be sent, as far as somebody may object to it."""

    channel: Channel
    kind: str
    people: Collection[str] = ()
    """References of the recipient and of whom it is about."""
    address: str | None = None
    """None: any."""
    sender: str | None = None
    """None: any."""


def plain(address: str) -> str:
    """Return a number or an email address as it is compared: without its channel, without the name of its owner."""
    bare = address.strip().removeprefix("whatsapp:")
    return parseaddr(bare)[1].lower() if "@" in bare else bare


def denies(consent: Resource, contact: Contact, now: datetime) -> bool:
    """Tell whether a Consent stands against a message."""
    if consent.get("status") != "active" or "patient-privacy" not in _codes(consent.get("scope")):
        return False
    ours = any(_has(concept, CATEGORY, "notifications") for concept in consent.get("category", ()))
    base = "deny" if _codes(consent.get("policyRule")) & {"OPTOUT", "OPTOUTE"} else "permit"
    provision = consent.get("provision", {} if ours else None)
    return provision is not None and _decision(provision, base, contact, now, about=ours) is True


def _decision(provision: Mapping[str, Any], base: str, contact: Contact, now: datetime, *, about: bool) -> bool | None:
    """Return whether a provision denies a message, after its own exceptions; None where it is about something else."""
    about = about or _is_about_messages(provision)
    if not _applies(provision, contact, now):
        return None
    kind = provision.get("type", base)
    inner = [_decision(one, kind, contact, now, about=about) for one in provision.get("provision", ())]
    if not about:
        return True if True in inner else None
    own = kind == "deny"
    return not own if (not own) in inner else own


def _is_about_messages(provision: Mapping[str, Any]) -> bool:
    """Tell whether a provision is about being written to, and not about who may see data."""
    if any(_has(one, ACTION, "contact") for one in provision.get("action", ())) or channels_of(provision.get("code")):
        return True
    classes = {one.get("code") for one in provision.get("class", ())}
    purposes = provision.get("purpose", ())
    return (not classes or bool(classes & _CLASSES)) and any(
        one.get("system") == KIND or one.get("code") == MARKETING_PURPOSE for one in purposes
    )


def _applies(provision: Mapping[str, Any], contact: Contact, now: datetime) -> bool:
    if "code" in provision and contact.channel not in channels_of(provision["code"]):
        return False
    purposes = provision.get("purpose", ())
    if purposes and not any(_is_for(one, contact.kind) for one in purposes):
        return False
    return _is_between(provision.get("actor", ()), contact) and _is_in_force(provision.get("period"), now)


def _is_for(purpose: Mapping[str, Any], kind: str) -> bool:
    """Tell whether a purpose is that of a kind: one of ours, marketing, or anything else that belongs to care."""
    if purpose.get("system") == KIND:
        return bool(purpose.get("code") == kind)
    return (purpose.get("code") == MARKETING_PURPOSE) == (kind in MARKETING)


def _is_between(actors: Iterable[Mapping[str, Any]], contact: Contact) -> bool:
    """Tell whether a provision that names senders, addresses or recipients names those of a message."""
    senders: set[str] = set()
    addresses, people = set(), set()
    for actor in actors:
        reference = actor.get("reference", {})
        identifier = reference.get("identifier", {})
        if identifier.get("system") == SENDER:
            senders.add(identifier.get("value", ""))
        elif identifier.get("system") == ADDRESS:
            addresses.add(identifier.get("value"))
        elif RECIPIENT in _codes(actor.get("role")):
            people.add(reference.get("reference"))
    return (
        (not senders or contact.sender is None or any(is_same_sender(one, contact.sender) for one in senders))
        and (not addresses or contact.address is None or contact.address in addresses)
        and (not people or not people.isdisjoint(contact.people))
    )


def is_same_sender(one: str, other: str) -> bool:
    """Tell whether two senders may be the same: a messaging service of Twilio sends from any number that it has."""
    return one == other or one.startswith(_SERVICE) != other.startswith(_SERVICE)


def _is_in_force(period: Mapping[str, Any] | None, now: datetime) -> bool:
    try:
        limits = dates.period(period or {})
    except ValueError:
        return True
    return limits is None or limits[0] <= now < limits[1]


def _codes(concept: Any) -> set[Any]:
    return {coding.get("code") for coding in (concept or {}).get("coding", ())}


def _has(concept: Mapping[str, Any], system: str, code: str) -> bool:
    return any(one.get("system") == system and one.get("code") == code for one in concept.get("coding", ()))
