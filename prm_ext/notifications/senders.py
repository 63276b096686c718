"""Who has written: found by the message that is answered, else by the number.

Several people may have one phone. Who was written to last at the number is taken to be who answers; where nobody was, and
the number is that of several patients, it is said to be none of them, and all of them are listed for people to choose from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.exchange import Call, Context, Params, Resource
from fhir_server.fhir.contact import normal_email, normal_phone
from fhir_server.fhir.reference import parse
from fhir_server.store.database import Document
from prm_ext.notifications.choosing import language_of
from prm_ext.notifications.codes import ADDRESS
from prm_ext.notifications.means import Means
from prm_ext.notifications.templates.library import escaped

ANSWERED: Final = timedelta(days=7)
"""How long after a message something that comes from its recipient is an answer to it, where it does not quote it."""
RECENT: Final = 50
"""Messages to a number that are looked at."""
_MOST: Final = 20
_NOT_BELIEVED: Final = frozenset({"unverified", "spam"})
"""Doubts about an email for which it is not said to be from whom it says."""


@dataclass(frozen=True, slots=True)
class Written:
    """A message of ours to the number of whoever has written."""

    delivery: Mapping[str, Any]
    message: Mapping[str, Any]

    @property
    def at(self) -> datetime:
        """When it was handed to the provider."""
        found: datetime = self.message["tries"][-1]["at"]
        return found

    @property
    def reference(self) -> str:
        """The Communication."""
        return f"Communication/{self.message['id']}"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who has written, as far as it is known."""

    address: str
    person: str = ""
    """A reference, such as `Patient/1`."""
    subject: str = ""
    """The patient whom it is about: the person, or whose relative that is."""
    candidates: tuple[str, ...] = ()
    """The patients whose number it is, or whose relatives', where it is not known which of them it is about."""
    answered: Written | None = None
    quotes: bool = False
    """Whether the message that is answered was named."""
    recent: tuple[Written, ...] = ()
    """What was sent to the number lately, the latest first."""
    resource: Resource | None = None
    """Of the person."""

    def reference(self) -> Resource:
        """Return `Communication.sender`; the number is with it, so that an answer can be sent there."""
        found: Resource = {"extension": [{"url": ADDRESS, "valueString": self.address}]}
        return found | ({"reference": self.person} if self.person else {"display": masked(self.address)})

    def language(self, default: str) -> str:
        """Return the language to answer in."""
        return language_of(self.resource, default)

    def people(self) -> tuple[str, ...]:
        """Return all whose number it is, as far as they are known."""
        return tuple(dict.fromkeys(one for one in (self.person, self.subject, *self.candidates) if one))


def masked(address: str) -> str:
    """Return an address of which little can be seen."""
    return f"{address[:2]}…{address[-4:]}" if len(address) > 6 else "…"  # noqa: PLR2004 -- else all would be seen


async def sender_of(ctx: Context, means: Means, found: Document) -> Sender:
    """Return who has sent a message of the inbox."""
    address = found["from"]
    if found.get("doubt") in _NOT_BELIEVED:
        return Sender(address)
    recent = await _recent(ctx, means, found)
    quoted = await _quoted(ctx, means, found)
    since = found["at"] - ANSWERED
    last = next((one for one in recent if one.at >= since and _is_answered(one.message, found)), None)
    answered = quoted or last
    patients = await _by_address(ctx, "Patient", address, ("active:not", "false"))
    ids = tuple(f"Patient/{one['id']}" for one in patients)
    person = answered.delivery["recipient"] if answered is not None else ""
    if person.startswith("Patient/") and ids and person not in ids:
        # The number has changed hands since, or the records were merged.
        person, answered = "", None
    if answered is not None and person and not person.startswith("#"):
        subject = await _subject(ctx, answered, person)
        return Sender(address, person, subject, (), answered, quoted is not None, recent, await _resource(ctx, person))
    if not ids:
        return await _relative(ctx, Sender(address, answered=answered, quotes=quoted is not None, recent=recent))
    alone = ids[0] if len(ids) == 1 else ""
    return Sender(address, alone, alone, () if alone else ids, answered, quoted is not None, recent, patients[0])


async def _relative(ctx: Context, sender: Sender) -> Sender:
    """Return the relative of a patient whose number it is, where it is that of no patient."""
    relatives = [one for one in await _by_address(ctx, "RelatedPerson", sender.address) if one.get("active") is not False]
    patients = {parse(one["patient"].get("reference", ""), ctx.base_url).text: one for one in relatives}
    patients.pop("", None)
    if len(relatives) == 1 and len(patients) == 1:
        subject, relative = next(iter(patients.items()))
        return replace(sender, person=f"RelatedPerson/{relative['id']}", subject=subject, resource=relative)
    return replace(sender, candidates=tuple(patients), resource=relatives[0] if relatives else None)


def _is_answered(message: Mapping[str, Any], found: Document) -> bool:
    """Tell whether somebody who answers a message would write there: over its channel, to the number that it came from."""
    # A messaging service has several numbers, and which one it took is not known.
    sender: str = message["sender"]
    return message["channel"] == found["channel"] and (sender == found["to"] or not sender.startswith("+"))


async def _recent(ctx: Context, means: Means, found: Document) -> tuple[Written, ...]:
    """Return what was sent to a number lately, over any channel."""
    deliveries = await means.deliveries.sent_to(ctx.tenant, [found["from"]], RECENT)
    written = [
        Written(delivery, message)
        for delivery in deliveries
        for message in delivery["messages"]
        if message["to"] == found["from"] and message["tries"] and message["status"] != "failed"
    ]
    return tuple(sorted((one for one in written if one.at <= found["at"]), key=lambda one: one.at, reverse=True))


async def _quoted(ctx: Context, means: Means, found: Document) -> Written | None:
    if found["channel"] == "email":
        return await _referred(ctx, means, found)
    if not found.get("reply_to"):
        return None
    delivery = await means.deliveries.by_provider_id(found["provider"], found["reply_to"])
    if delivery is None or delivery["t"] != ctx.tenant:
        return None
    for message in delivery["messages"]:
        ids = [one.get("provider_id") for one in message["tries"]]
        if found["reply_to"] in ids and message["to"] == found["from"]:
            return Written(delivery, message)
    return None


async def _referred(ctx: Context, means: Means, found: Document) -> Written | None:
    """Return the first of our emails to whoever has written that an email refers to."""
    for reference in found.get("references", ()):
        # Ours is what precedes the domain; SES has ids of its own.
        local = reference.partition("@")[0]
        delivery = await means.deliveries.by_message(local) or await means.deliveries.by_provider_id("ses", local)
        if delivery is None or delivery["t"] != ctx.tenant:
            continue
        for message in delivery["messages"]:
            ids = [message["id"], *(one.get("provider_id") for one in message["tries"])]
            if local in ids and message["to"] == found["from"]:
                return Written(delivery, message)
    return None


async def _by_address(ctx: Context, type_: str, address: str, *more: tuple[str, str]) -> list[Resource]:
    by_mail = "@" in address
    asked: Params = (("email" if by_mail else "phone", escaped(address)), *more, ("_count", str(_MOST)))
    reply = await ctx.dispatch(ctx, Call("search-type", type_, params=asked))
    entries = (reply.resource or {}).get("entry", ())
    region = ctx.settings.of(ctx.tenant).phone_region
    found = [entry["resource"] for entry in entries if entry["search"]["mode"] == "match"]

    def normal(text: str) -> str:
        return normal_email(text) if by_mail else normal_phone(text, region)

    # The index also finds the ends of numbers.
    return [one for one in found if any(normal(str(at.get("value", ""))) == address for at in _telecom(one))]


def _telecom(resource: Resource) -> list[dict[str, Any]]:
    return [one for one in resource.get("telecom", ()) if one.get("use") != "old"]


async def _subject(ctx: Context, answered: Written, person: str) -> str:
    """Return the patient whom a message was about."""
    if person.startswith("Patient/"):
        return person
    request = await ctx.repo.current("CommunicationRequest", answered.delivery["request"])
    subject = (request.resource or {}).get("subject", {}).get("reference", "") if request is not None else ""
    return str(subject) if str(subject).startswith("Patient/") else ""


async def _resource(ctx: Context, reference: str) -> Resource | None:
    type_, _, id_ = reference.partition("/")
    version = await ctx.repo.current(type_, id_) if id_ else None
    return version.resource if version is not None else None
