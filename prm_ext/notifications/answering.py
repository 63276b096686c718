"""Answers to replies, and what a yes or a no does to an appointment.

https://hl7.org/fhir/R4/appointmentresponse.html, https://hl7.org/fhir/R4/appointment-definitions.html#Appointment.participant.status
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fhir_server.exchange import Context, Resource
from fhir_server.store.database import Document
from fhir_server.store.versions import instant
from prm_ext.notifications import codes
from prm_ext.notifications.appointments import BY_REPLY, CANCELLED_BY, participants
from prm_ext.notifications.asked import Asked, Option
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.keywords import number_in
from prm_ext.notifications.orders import Order, deterministic_id, resource_of, stored
from prm_ext.notifications.saying import Saying
from prm_ext.notifications.senders import Sender, masked
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import names

REASONS: Final = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
MOST: Final = 9
"""Appointments that a question lists."""
_STATUS: Final[Mapping[str, str]] = {"confirm": "accepted", "cancel": "declined"}
_DONE: Final[Mapping[str, str]] = {"confirm": "confirmed", "cancel": "cancelled"}
Entries = list[Resource]


class Answering:
    """Answers one message. `elsewhere`: not over the channel that it came by, since it wants no more messages there."""

    def __init__(
        self,
        ctx: Context,
        settings: NotificationSettings,
        found: Document,
        sender: Sender,
        message: str,
        *,
        elsewhere: bool = False,
    ) -> None:
        self._ctx = ctx
        self._found = found
        self._sender = sender
        self._message = message
        self._elsewhere = elsewhere
        self._organisation = settings.organisation
        zone = zone_of(sender.resource, settings.time_zone)
        self.saying = Saying(sender.language(settings.language), zone, settings.organisation)

    async def about_appointment(self, verb: str, known: Asked) -> Entries:
        """Return what a yes or a no, or the number of an appointment, leads to."""
        now, number = self._ctx.now(), number_in(self._found["body"])
        if number is not None and known.question is not None:
            options = known.question.options
            if not 1 <= number <= len(options):
                return await self._ask(verb, [one for one in options if one is not None and one.is_coming(now)])
            chosen = options[number - 1]
            return self._do(verb, chosen) if chosen is not None else [self.answer("none")]
        meant = list(known.quoted) or known.coming(now)
        if len(meant) == 1:
            return self._do(verb, meant[0])
        if meant:
            return await self._ask(verb, meant)
        return [self._over(known.recent[0])] if known.recent else [self.answer("none")]

    def answer(self, key: str, more: Mapping[str, Any] | None = None, about: Sequence[Any] = (), **values: str) -> Resource:
        """Return the request that answers."""
        recipient: Resource = {"reference": self._sender.person} if self._sender.person else {}
        elements: dict[str, Any] = {**(more or {}), "about": [*about, {"reference": self._message}]}
        if not self._elsewhere:
            recipient = self._sender.reference()
            elements["medium"] = [codes.medium(self._found["channel"])]
            if about_what := self._found.get("subject"):
                subject = about_what if about_what.lower().startswith("re:") else f"Re: {about_what}"
                elements["extension"] = [*elements.get("extension", ()), {"url": codes.SUBJECT, "valueString": subject}]
        order = Order(
            recipient=recipient,
            kind="message",
            subject=self._sender.subject,
            text=self.saying.text(key, **values),
            language=self.saying.language,
            # Whoever has just written is awake.
            priority="asap",
            more=elements,
        )
        id_ = deterministic_id(self._ctx.tenant, "answer", self._found["provider"], self._found["id"])
        return stored(resource_of(order, id_, self._ctx.now()))

    def last(self) -> Resource:
        """Return the Communication of what is said at once to somebody who wants no more messages."""
        us = self._found["to"]
        resource: Resource = {
            "resourceType": "Communication",
            "id": deterministic_id(self._ctx.tenant, "answer", self._found["provider"], self._found["id"]),
            "status": "completed",
            "category": codes.category("message"),
            "medium": [codes.medium(self._found["channel"])],
            "inResponseTo": [{"reference": self._message}],
            "sender": ours(self._organisation, us),
            "recipient": [self._sender.reference()],
            "sent": instant(self._ctx.now()),
            "language": self.saying.language,
            "payload": [{"contentString": self.saying.text("stopped")}],
        }
        return resource | ({"subject": {"reference": self._sender.subject}} if self._sender.subject else {})

    def _do(self, verb: str, option: Option) -> Entries:
        if not option.is_coming(self._ctx.now()):
            return [self._over(option)]
        changed = _changed(self._ctx, option, verb)
        answer = self.answer(_DONE[verb], about=[_reference(option)], when=self._when(option))
        entries = [self._response(verb, option), answer]
        return [stored(changed), *entries] if changed != option.resource else entries

    def _over(self, option: Option) -> Resource:
        """Return the answer about what can not be changed any more."""
        key = "cancelled" if option.resource["status"] == "cancelled" else "too_late"
        return self.answer(key, about=[_reference(option)], when=self._when(option))

    async def _ask(self, verb: str, options: Sequence[Option]) -> Entries:
        """Return the question which appointment is meant."""
        if not options:
            return [self.answer("none")]
        options = options[:MOST]
        whose = await self._names(options)
        lines = [
            self.saying.line(number, one.start(), _practitioner(one.resource), whose.get(one.patient, ""))
            for number, one in enumerate(options, 1)
        ]
        about: Entries = [{**_reference(one), "extension": [_option(one)]} for one in options]
        more = {"extension": [{"url": codes.QUESTION, "valueCode": verb}]}
        return [self.answer("which", more, about, appointments="\n".join(lines))]

    async def _names(self, options: Sequence[Option]) -> dict[str, str]:
        """Return the first names of patients, where there are several."""
        ids = {one.patient.removeprefix("Patient/") for one in options}
        if len(ids) == 1:
            return {}
        versions = await self._ctx.repo.currents(("Patient", id_) for id_ in ids)
        return {one.reference: names.first(names.name_of(one.resource or {})) for one in versions}

    def _when(self, option: Option) -> str:
        start = option.start()
        return self.saying.when(start) if start is not None else ""

    def _response(self, verb: str, option: Option) -> Resource:
        found = self._found
        id_ = deterministic_id(self._ctx.tenant, "response", found["provider"], found["id"], *option.key)
        resource: Resource = {
            "resourceType": "AppointmentResponse",
            "id": id_,
            "identifier": [{"system": codes.PROVIDER + found["provider"], "value": found["id"]}],
            "appointment": _reference(option),
            **{name: option.resource[name] for name in ("start", "end") if name in option.resource},
            "actor": {"reference": option.patient},
            "participantStatus": _STATUS[verb],
        }
        return stored(resource)


def ours(organisation: str, address: str) -> Resource:
    """Return a reference to the organisation, with the number or address of it that a message is from or to."""
    return {"extension": [{"url": codes.ADDRESS, "valueString": address}], "display": organisation or masked(address)}


def _changed(ctx: Context, option: Option, verb: str) -> Resource:
    """Return an Appointment after a patient has said yes or no."""
    resource, status = option.resource, _STATUS[verb]
    participant = [{**one, "status": status} if _is_of(ctx, one, option.patient) else one for one in resource["participant"]]
    changed = {**resource, "participant": participant}
    others = [how for who, how in participants(resource, ctx.base_url) if who != option.patient]
    if verb == "cancel" and all(how == "declined" for how in others):
        # Where other patients take part it goes on without this one.
        changed["status"] = "cancelled"
        codings = [
            {"system": REASONS, "code": "pat", "display": "Patient"},
            {"system": CANCELLED_BY, "code": BY_REPLY},
        ]
        changed["cancelationReason"] = {"coding": codings}
    return changed


def _is_of(ctx: Context, participant: Mapping[str, Any], patient: str) -> bool:
    return patient in (who for who, _ in participants({"participant": [participant]}, ctx.base_url))


def _reference(option: Option) -> Resource:
    return {"reference": option.appointment.reference}


def _option(option: Option) -> Resource:
    return {"url": codes.OPTION, "valueReference": {"reference": option.patient}}


def _practitioner(resource: Resource) -> str:
    """Return how an Appointment calls the practitioner; nothing where it does not say."""
    for participant in resource.get("participant", ()):
        actor = participant.get("actor", {})
        type_ = actor.get("type") or str(actor.get("reference", "")).rpartition("/")[0].rpartition("/")[2]
        if type_ in ("Practitioner", "PractitionerRole") and actor.get("display"):
            return str(actor["display"])
    return ""
