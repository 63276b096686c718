"""What somebody has been asked about: the appointments of messages to a number, and which of them is meant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.dates import interval
from fhir_server.fhir.reference import parse
from fhir_server.store.versions import Version
from prm_ext.notifications import codes
from prm_ext.notifications.appointments import TYPE, participants
from prm_ext.notifications.senders import ANSWERED, Sender, Written

PATIENCE: Final = timedelta(hours=24)
"""How long a number alone answers a question."""
OPEN: Final = frozenset({"proposed", "pending", "booked"})
REQUEST: Final = "CommunicationRequest"


@dataclass(frozen=True, slots=True)
class Option:
    """One patient's part in one appointment."""

    appointment: Version
    patient: str

    @property
    def resource(self) -> Resource:
        """Return the Appointment."""
        return self.appointment.resource or {}

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.appointment.id, self.patient

    def start(self) -> datetime | None:
        """Return when it begins."""
        text = self.resource.get("start")
        return interval(text)[0] if text else None

    def is_coming(self, now: datetime) -> bool:
        """Tell whether something can still be said about it."""
        start = self.start()
        return start is not None and start > now and self.resource["status"] in OPEN


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked last: which appointment is to be confirmed, or cancelled."""

    verb: str
    options: Sequence[Option | None]
    """In their order; None stands for one that is not there any more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a number has been asked about."""

    quoted: Sequence[Option]
    """Of the message that the answer names."""
    recent: Sequence[Option]
    """Of all messages, the latest first; of what is over only what was written about lately."""
    question: Question | None

    def coming(self, now: datetime) -> list[Option]:
        """Return what can still be confirmed or cancelled, the next first."""
        found = [one for one in self.recent if one.is_coming(now)]
        return sorted(found, key=lambda one: (one.start() or now, one.key))


async def asked(ctx: Context, sender: Sender) -> Asked:
    """Return what a sender has been asked about."""
    written = [*sender.recent]
    if sender.quotes and sender.answered is not None:
        written.insert(0, sender.answered)
    requests = await _requests(ctx, written)
    pairs = {id_: list(_pairs(ctx, request)) for id_, request in requests.items()}
    found = await _options(ctx, (pair for one in pairs.values() for pair in one))
    recent = [
        option
        for one in sender.recent
        for pair in pairs.get(one.delivery["request"], ())
        if (option := found.get(pair)) and (ctx.now() - one.at <= ANSWERED or option.is_coming(ctx.now()))
    ]
    quoted: list[Option] = []
    if sender.quotes and sender.answered is not None:
        quoted = [found[pair] for pair in pairs.get(sender.answered.delivery["request"], ()) if pair in found]
    return Asked(_unique(quoted), _unique(recent), _question(ctx, sender, requests, pairs, found))


async def _requests(ctx: Context, written: Iterable[Written]) -> dict[str, Resource]:
    ids = dict.fromkeys(one.delivery["request"] for one in written)
    versions = await ctx.repo.currents((REQUEST, id_) for id_ in ids) if ids else []
    return {one.id: one.resource for one in versions if one.resource is not None}


def _pairs(ctx: Context, request: Resource) -> Iterable[tuple[str, str]]:
    """Yield the ids of the appointments that a request is about, and whose part it is about."""
    whose = [request.get("subject", {}), *request.get("recipient", ())]
    patient = next((text for one in whose if (text := _reference(ctx, one)).startswith("Patient/")), "")
    for one in request.get("about", ()):
        reference = _reference(ctx, one)
        if reference.startswith(f"{TYPE}/"):
            yield reference.removeprefix(f"{TYPE}/"), _own(one) or patient


def _reference(ctx: Context, node: Mapping[str, Any]) -> str:
    reference = node.get("reference", "")
    return parse(reference, ctx.base_url).text if reference else ""


def _own(node: Mapping[str, Any]) -> str:
    found = (one["valueReference"] for one in node.get("extension", ()) if one.get("url") == codes.OPTION)
    return next((str(one.get("reference", "")) for one in found), "")


async def _options(ctx: Context, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Option]:
    wanted = list(dict.fromkeys(pairs))
    ids = dict.fromkeys(id_ for id_, _ in wanted)
    versions = {one.id: one for one in await ctx.repo.currents((TYPE, id_) for id_ in ids)} if ids else {}
    found = {}
    for id_, patient in wanted:
        version = versions.get(id_)
        if version is None or version.resource is None:
            continue
        known = [who for who, _ in participants(version.resource, ctx.base_url)]
        # A request that names nobody, or somebody who has been merged, is about the only patient who takes part.
        whose = patient if patient in known else known[0] if len(known) == 1 else ""
        if whose:
            found[id_, patient] = Option(version, whose)
    return found


def _unique(options: Iterable[Option]) -> list[Option]:
    return list({one.key: one for one in options}.values())


def _question(
    ctx: Context,
    sender: Sender,
    requests: Mapping[str, Resource],
    pairs: Mapping[str, Sequence[tuple[str, str]]],
    found: Mapping[tuple[str, str], Option],
) -> Question | None:
    for written in sender.recent:
        request = requests.get(written.delivery["request"], {})
        verb = next((one.get("valueCode", "") for one in request.get("extension", ()) if one.get("url") == codes.QUESTION), "")
        if verb and ctx.now() - written.at <= PATIENCE:
            return Question(verb, [found.get(pair) for pair in pairs[written.delivery["request"]]])
    return None
