"""The worker's part: one delivery, from what is due to what came of it.

Before a provider is called the try is recorded, and after it what came of it. A worker that dies between the two leaves a
try of which nobody knows the outcome: whoever takes the delivery up next asks the provider first, and sends again only
what it does not have. A provider that can not be asked may so deliver twice, and no other.
"""

import asyncio
import random
from datetime import timedelta
from typing import Final

from redis.exceptions import RedisError

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.database import Document
from fhir_server.store.versions import Version
from prm_ext.notifications import machine, planning
from prm_ext.notifications.addressing import Reach, Unreachable, reach
from prm_ext.notifications.content import Content, content_of
from prm_ext.notifications.held import Held
from prm_ext.notifications.hours import allowed_at, zone_of
from prm_ext.notifications.limits import rate_of
from prm_ext.notifications.means import MeansOf
from prm_ext.notifications.recipients import recipient_of
from prm_ext.notifications.results import Results, message_id
from prm_ext.notifications.templates.segments import segments
from prm_ext.notifications.windows import fitted
from prm_ext.notifications.withdrawing import name_of, withdrawn, withdrawn_of

_LEASE_SECONDS: Final = 20.0
"""What all takes but the provider."""
PATIENCE_SECONDS: Final = 0.25
"""A limit that lets the message through so soon is waited for."""
CONTENT_PAUSE: Final = timedelta(minutes=1)
"""A file that is not given out yet, since it has to be scanned, is waited for."""
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
        delivery = _Delivery(ctx, means, found, token)
        changed = await delivery.run()
        if changed is not None and "stale" in changed:
            await Results(means, context_of).show_in(ctx, changed, delivery.request)


class _Delivery(Held):
    """One step of a delivery."""

    async def run(self) -> Document | None:
        """Return what the delivery has become, None where it is not ours any more."""
        if machine.is_accepted(self.found):
            return await self.confirm()
        if machine.unknown_try(self.found) is not None:
            settled = await self.look_up()
            if settled is not None:
                return settled
        self.request = version = await self.ctx.repo.current(planning.TYPE, self.found["request"])
        request = version.resource if version is not None else None
        if version is None or request is None or request["status"] != "active" or request.get("doNotPerform"):
            return await self._without_order(request)
        moved = await self._replanned(version, request)
        if moved is not None:
            return moved
        if self.found["occurrence"]:
            await planning.plan_next(self.ctx, self.means, version, self.found["at"])
        if name_of(self.found) in withdrawn_of(request):
            return await self.persist(lambda one: withdrawn(one, self.ctx.now()) if self.holds(one) else None)
        if self.ctx.now() >= self.found["expires"]:
            return await self.end("failed", "expired", "It could not be sent in the time in which it was wanted.")
        return await self._send(request)

    async def _without_order(self, request: Resource | None) -> Document | None:
        """Do not send what is not wanted any more, or not now."""
        if request is not None and request["status"] in ("on-hold", "draft"):
            return await self.advance(lambda one: {**machine.later(one, one["due"], self.ctx.now()), "state": "held"})
        return await self.end("cancelled", "cancelled", "The request was withdrawn.")

    async def _replanned(self, version: Version, request: Resource) -> Document | None:
        """Follow a version that came since the delivery was planned; return the delivery where it moves to later."""
        if version.number <= self.found["version"]:
            return None
        target = await planning.target_of(self.ctx, request, self.found)
        if target is None:
            return await self.end("cancelled", "cancelled", "The recipient was taken out of the request.")
        who: Document = {"recipient": target.recipient, "given": target.given}
        if self.found["occurrence"]:
            # The planner decides which occurrences there are.
            self.found = await self.advance(lambda one: {**one, **who, "version": version.number}) or self.found
            return None
        try:
            occurrence = await planning.occurrence_of(self.ctx, self.means, request, target, None)
        except FhirError as error:
            return await self.end("failed", "schedule", "; ".join(issue.diagnostics for issue in error.issues))
        if occurrence is None:
            return None
        facts = who | planning.facts(self.ctx, self.means, version, request, occurrence)
        if occurrence.at > self.ctx.now():
            return await self.advance(lambda one: machine.later({**one, **facts}, occurrence.at, self.ctx.now()))
        self.found = await self.advance(lambda one: {**one, **facts}) or self.found
        return None

    async def _send(self, request: Resource) -> Document | None:
        settings, found = self.settings, self.found
        recipient = await recipient_of(self.ctx, request, found["recipient"])
        zone = zone_of(recipient, settings.time_zone)
        reached = await reach(self.ctx, self.means, found, request, recipient)
        if isinstance(reached, Unreachable):
            return await self.end("failed", reached.failure, reached.text, reached.code)
        allowed = allowed_at(self.ctx.now(), zone, settings.quiet_hours, request.get("priority", "routine"))
        if allowed > self.ctx.now():
            return await self.later(allowed)
        try:
            content = await content_of(self.ctx, settings, request, recipient, reached.channel, reached.language)
        except FhirError as error:
            if error.status == _UNAVAILABLE:
                return await self.later(self.ctx.now() + CONTENT_PAUSE)
            return await self.end("failed", "content", "; ".join(issue.diagnostics for issue in error.issues))
        content = await fitted(self.ctx, reached, content)
        if await self._is_limited(reached, content):
            return self.found
        return await self._hand_over(reached, content)

    async def _is_limited(self, reached: Reach, content: Content) -> bool:
        """Wait for a place under the sender's limit; True where that takes too long, and the delivery was given back."""
        limits, channel = self.means.limits, reached.channel
        if limits is None:
            return False
        rate = rate_of(self.settings, channel, reached.sender)
        count = segments(content.body).count if channel == "sms" else 1
        try:
            wait = await limits.take(self.ctx.tenant, channel, reached.sender, rate, count, PATIENCE_SECONDS)
        except RedisError:
            await self.later(self.ctx.now() + timedelta(seconds=random.uniform(1, 3)))  # noqa: S311 -- it only spreads load
            return True
        if not wait.taken:
            seconds = wait.seconds * random.uniform(1, 1.5)  # noqa: S311 -- it only spreads load
            await self.later(self.ctx.now() + timedelta(seconds=seconds), lane=channel)
            return True
        if wait.seconds:
            await asyncio.sleep(wait.seconds)
        return False

    async def _hand_over(self, reached: Reach, content: Content) -> Document | None:
        current = machine.message_of(self.found)
        messages = self.found.get("messages") or ()
        place = len(messages) - 1 if current is not None and current["channel"] == reached.channel else len(messages)
        record = _record(message_id(self.found, place), reached, content)
        now = self.ctx.now()
        recorded = await self.advance(lambda one: machine.tried(one, record, now))
        if recorded is None:
            return None
        self.found = recorded
        outcome = await reached.provider.send(self.message(reached.provider, recorded["messages"][-1], content))
        return await self.conclude(outcome, reached.provider, others=bool(reached.others))


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
        "content_variables": dict(content.content_variables),
        "template": content.template,
        "unsubscribe_url": reached.unsubscribe_url,
    }
    return {name: value for name, value in found.items() if value or name in ("body", "sender")}
