"""The worker's part: one delivery, from what is due to what came of it.

Before a provider is called the try is recorded, and after it what came of it. A worker that dies between the two leaves a
try of which nobody knows the outcome: whoever takes the delivery up next asks the provider first, and sends again only
what it does not have. A provider that can not be asked may so deliver twice, and no other.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.database import Document
from fhir_server.store.versions import Version
from prm_ext.notifications import machine, planning
from prm_ext.notifications.addressing import Reach, Unreachable, reach
from prm_ext.notifications.channels.channel import Accepted, Message, Outcome, Provider, Receipt, Refused, Unknown
from prm_ext.notifications.content import Content, content_of
from prm_ext.notifications.hours import allowed_at, zone_of
from prm_ext.notifications.limits import rate_of
from prm_ext.notifications.machine import Rules
from prm_ext.notifications.means import Means, MeansOf
from prm_ext.notifications.objections import note_objection
from prm_ext.notifications.records import Step
from prm_ext.notifications.results import Results, message_id
from prm_ext.notifications.templates.segments import segments
from prm_ext.notifications.webhooks.places import callback_url

_LEASE_SECONDS: Final = 20.0
"""What all takes but the provider."""
PATIENCE_SECONDS: Final = 0.25
"""A limit that lets the message through so soon is waited for."""
CHECK_PAUSE: Final = timedelta(minutes=10)
CHECKS: Final = 6
CONTENT_PAUSE: Final = timedelta(minutes=1)
"""A file that is not given out yet, since it has to be scanned, is waited for."""
_PERSIST_SECONDS: Final = 60.0
_UNAVAILABLE: Final = 503


class Sender:
    """Sends what dispatchers have claimed."""

    def __init__(self, means: MeansOf) -> None:
        self._means = means

    async def deliver(self, context_of: ContextOf, id_: str, token: str) -> None:
        """Take a claimed delivery one step further; nothing is done where the claim does not hold any more."""
        ctx = await context_of(id_.partition("/")[0])
        means = await self._means(ctx)
        # A look-up and a send, each with as much time as a provider gets; then another worker takes the delivery up.
        lease = timedelta(seconds=_LEASE_SECONDS + 3 * means.settings.twilio_timeout)
        found = await means.deliveries.begin(id_, token, ctx.now(), lease)
        if found is None:
            return
        changed = await _Delivery(ctx, means, found, token).run()
        if changed is not None and "stale" in changed:
            await Results(means, context_of).show(changed)


class _Delivery:
    """One delivery while it is ours."""

    def __init__(self, ctx: Context, means: Means, found: Document, token: str) -> None:
        self._ctx = ctx
        self._means = means
        self._settings = means.settings.of(ctx.tenant)
        self._found = found
        self._token = token

    async def run(self) -> Document | None:
        """Return what the delivery has become, None where it is not ours any more."""
        if machine.is_accepted(self._found):
            return await self._confirm()
        if machine.unknown_try(self._found) is not None:
            settled = await self._look_up()
            if settled is not None:
                return settled
        version = await self._ctx.repo.current(planning.TYPE, self._found["request"])
        request = version.resource if version is not None else None
        if version is None or request is None or request["status"] != "active" or request.get("doNotPerform"):
            return await self._without_order(request)
        moved = await self._replanned(version, request)
        if moved is not None:
            return moved
        if self._found["occurrence"]:
            await planning.plan_next(self._ctx, self._means, version, self._found["at"])
        if self._ctx.now() >= self._found["expires"]:
            return await self._end("failed", "expired", "It could not be sent in the time in which it was wanted.")
        return await self._send(request)

    async def _without_order(self, request: Resource | None) -> Document | None:
        """Do not send what is not wanted any more, or not now."""
        if request is not None and request["status"] in ("on-hold", "draft"):
            return await self._advance(lambda one: {**machine.later(one, one["due"], self._ctx.now()), "state": "held"})
        return await self._end("cancelled", "cancelled", "The request was withdrawn.")

    async def _replanned(self, version: Version, request: Resource) -> Document | None:
        """Follow a version that came since the delivery was planned; return the delivery where it moves to later."""
        if version.number <= self._found["version"]:
            return None
        target = planning.Target(self._found["recipient"], self._found["given"], "")
        if self._found["occurrence"]:
            # The planner decides which occurrences there are.
            self._found = await self._advance(lambda one: {**one, "version": version.number}) or self._found
            return None
        try:
            occurrence = await planning.occurrence_of(self._ctx, self._means, request, target, None)
        except FhirError as error:
            return await self._end("failed", "schedule", "; ".join(issue.diagnostics for issue in error.issues))
        if occurrence is None:
            return None
        facts = planning.facts(self._ctx, self._means, version, request, occurrence)
        if occurrence.at > self._ctx.now():
            return await self._advance(lambda one: machine.later({**one, **facts}, occurrence.at, self._ctx.now()))
        self._found = await self._advance(lambda one: {**one, **facts}) or self._found
        return None

    async def _send(self, request: Resource) -> Document | None:
        settings, found = self._settings, self._found
        recipient = await _recipient(self._ctx, request, found["recipient"])
        zone = zone_of(recipient, settings.time_zone)
        reached = await reach(self._ctx, self._means, found, request, recipient)
        if isinstance(reached, Unreachable):
            return await self._end("failed", reached.failure, reached.text, reached.code)
        allowed = allowed_at(self._ctx.now(), zone, settings.quiet_hours, request.get("priority", "routine"))
        if allowed > self._ctx.now():
            return await self._later(allowed)
        try:
            content = await content_of(self._ctx, settings, request, recipient, reached.channel, reached.language)
        except FhirError as error:
            if error.status == _UNAVAILABLE:
                return await self._later(self._ctx.now() + CONTENT_PAUSE)
            return await self._end("failed", "content", "; ".join(issue.diagnostics for issue in error.issues))
        if await self._is_limited(reached, content):
            return self._found
        return await self._hand_over(reached, content)

    async def _is_limited(self, reached: Reach, content: Content) -> bool:
        """Wait for a place under the sender's limit; True where that takes too long, and the delivery was given back."""
        limits, channel = self._means.limits, reached.channel
        if limits is None:
            return False
        rate = rate_of(self._settings, channel, reached.sender)
        count = segments(content.body).count if channel == "sms" else 1
        try:
            wait = await limits.take(self._ctx.tenant, channel, reached.sender, rate, count, PATIENCE_SECONDS)
        except RedisError:
            await self._later(self._ctx.now() + timedelta(seconds=random.uniform(1, 3)))  # noqa: S311 -- it only spreads load
            return True
        if not wait.taken:
            seconds = wait.seconds * random.uniform(1, 1.5)  # noqa: S311 -- it only spreads load
            await self._later(self._ctx.now() + timedelta(seconds=seconds), lane=channel)
            return True
        if wait.seconds:
            await asyncio.sleep(wait.seconds)
        return False

    async def _hand_over(self, reached: Reach, content: Content) -> Document | None:
        current = machine.message_of(self._found)
        messages = self._found.get("messages") or ()
        place = len(messages) - 1 if current is not None and current["channel"] == reached.channel else len(messages)
        record = _record(message_id(self._found, place), reached, content)
        now = self._ctx.now()
        recorded = await self._advance(lambda one: machine.tried(one, record, now))
        if recorded is None:
            return None
        self._found = recorded
        outcome = await reached.provider.send(self._message(reached.provider, recorded["messages"][-1], content))
        return await self._conclude(outcome, reached.provider, others=bool(reached.others))

    async def _conclude(self, outcome: Outcome, provider: Provider, *, others: bool) -> Document | None:
        rules = Rules.at(self._settings, self._ctx.now())
        _tell(self._found, outcome)

        def step(one: Document) -> Document | None:
            if self._holds(one):
                return machine.concluded(one, outcome, rules, reports=provider.reports, others=others)
            # The lease has run out meanwhile. That a message was taken is good to know all the same.
            if isinstance(outcome, Accepted) and one["state"] == "waiting" and machine.unknown_try(one) is not None:
                return machine.concluded(one, outcome, rules, reports=provider.reports, others=others)
            return None

        changed = await self._persist(step)
        if changed is not None and isinstance(outcome, Refused) and outcome.failure == "opted-out":
            await note_objection(self._ctx, changed)
        return changed

    async def _look_up(self) -> Document | None:
        """Find out what came of a try; None where the message has to be sent (again)."""
        message = machine.message_of(self._found) or {}
        attempt = machine.unknown_try(self._found) or {}
        pair = self._means.providers.of(self._ctx.tenant, message["channel"])
        if pair is None or pair[0].name != message["provider"] or not pair[0].looks_up:
            await self._assume_lost()
            return None
        provider = pair[0]
        outcome = await provider.find(self._message(provider, message, None, attempt))
        if outcome is None:
            await self._assume_lost()
            return None
        if isinstance(outcome, Unknown):
            count = self._found.get("lookups", 0) + 1
            due = self._ctx.now() + Rules.at(self._settings, self._ctx.now()).pause(count, None)
            if due >= self._found["expires"]:
                return await self._end("failed", "transient", "Whether it was sent could not be found out.")
            return await self._later(due, lookups=count)
        reach_more = bool(self._found["channels"][1:]) or not self._found["channels"]
        return await self._conclude(outcome, provider, others=reach_more)

    async def _assume_lost(self) -> None:
        changed = await self._advance(lambda one: machine.not_taken(one, self._ctx.now()))
        if changed is not None:
            self._found = changed

    async def _confirm(self) -> Document | None:
        """Ask the provider what became of a message that no receipt has come of."""
        message = machine.message_of(self._found) or {}
        pair = self._means.providers.of(self._ctx.tenant, message["channel"])
        receipt: Receipt | None = None
        if pair is not None and pair[0].name == message["provider"]:
            sent = next((one["provider_id"] for one in reversed(message["tries"]) if one.get("provider_id")), "")
            receipt = await pair[0].status(self._message(pair[0], message, None), sent)
        rules = Rules.at(self._settings, self._ctx.now())
        checks = self._found.get("checks", 0) + 1
        if receipt is None and checks < CHECKS and pair is not None:
            return await self._later(self._ctx.now() + CHECK_PAUSE, checks=checks)

        def step(one: Document) -> Document | None:
            if not self._holds(one):
                return None
            told = machine.received(one, receipt, rules, others=True) if receipt is not None else None
            told = told if told is not None else one
            return told if told["state"] in ("done", "waiting") else machine.unconfirmed(told, self._ctx.now())

        return await self._persist(step)

    def _message(
        self, provider: Provider, message: Document, content: Content | None, attempt: Document | None = None
    ) -> Message:
        callback = callback_url(self._settings.public_base(self._ctx), provider.name, self._ctx.tenant, message["id"])
        return Message(
            tenant=self._ctx.tenant,
            reference=message["id"],
            channel=message["channel"],
            to=message["to"],
            sender=message["sender"],
            body=message["body"],
            subject=message.get("subject", ""),
            html=content.html if content is not None else "",
            language=message.get("language", ""),
            media=content.media if content is not None else (),
            content_sid=message.get("content_sid", ""),
            content_variables=content.content_variables if content is not None else {},
            callback_url=callback if provider.reports else "",
            unsubscribe_url=message.get("unsubscribe_url", ""),
            begun=(attempt or {}).get("at"),
        )

    async def _end(self, status: Any, failure: str, text: str, code: str = "") -> Document | None:
        return await self._persist(
            lambda one: machine.ended(one, status, failure, code, text, self._ctx.now()) if self._holds(one) else None
        )

    async def _later(self, due: Any, **values: Any) -> Document | None:
        return await self._advance(lambda one: machine.later(one, due, self._ctx.now(), **values))

    async def _advance(self, step: Step) -> Document | None:
        return await self._means.deliveries.advance(self._found, lambda one: step(one) if self._holds(one) else None)

    async def _persist(self, step: Step) -> Document | None:
        """Record what has happened, for as long as MongoDB may be away."""
        deadline = asyncio.get_running_loop().time() + _PERSIST_SECONDS
        while True:
            try:
                return await self._means.deliveries.advance(self._found, step)
            except PyMongoError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.5)

    def _holds(self, one: Document) -> bool:
        return one["state"] == "sending" and one.get("token") == self._token


def _record(id_: str, reached: Reach, content: Content) -> Document:
    found: Document = {
        "id": id_,
        "channel": reached.channel,
        "to": reached.address,
        "provider": reached.provider.name,
        "sender": reached.sender,
        "body": content.body,
        "subject": content.subject,
        "language": content.language or reached.language,
        "content_sid": content.content_sid,
        "template": content.template,
        "unsubscribe_url": reached.unsubscribe_url,
    }
    return {name: value for name, value in found.items() if value or name in ("body", "sender")}


async def _recipient(ctx: Context, request: Resource, reference: str) -> Resource | None:
    if reference.startswith("#"):
        contained: Sequence[Resource] = request.get("contained", ())
        return next((one for one in contained if one.get("id") == reference[1:]), None)
    type_, _, id_ = reference.partition("/")
    version = await ctx.repo.current(type_, id_) if id_ else None
    return version.resource if version is not None else None


def _tell(found: Document, outcome: Outcome) -> None:
    """Log what came of a try, without who it was for and what it said."""
    message = machine.message_of(found) or {}
    log = structlog.get_logger().bind(delivery=found["_id"], channel=message.get("channel"), provider=message.get("provider"))
    if isinstance(outcome, Refused):
        log.info("a message was refused", failure=outcome.failure, code=outcome.code)
    elif isinstance(outcome, Unknown):
        log.warning("a message was handed over without an answer")
