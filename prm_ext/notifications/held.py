"""A delivery while a worker holds it: how it is changed, and how what came of a try is found out."""

import asyncio
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.exchange import Context
from fhir_server.store.database import Document
from fhir_server.store.versions import Version
from prm_ext.notifications import machine
from prm_ext.notifications.channels.channel import Accepted, Message, Outcome, Provider, Receipt, Refused, Unknown
from prm_ext.notifications.content import Content
from prm_ext.notifications.disclosing import PERSIST_SECONDS, note_disclosure
from prm_ext.notifications.machine import Rules
from prm_ext.notifications.mailbox.addresses import reply_address
from prm_ext.notifications.means import Means
from prm_ext.notifications.objections import note_objection
from prm_ext.notifications.records import Step
from prm_ext.notifications.webhooks.places import callback_url

CHECKS: Final = 10
"""So often a provider is asked what became of a message that it does not report on."""


class Held:
    """One delivery, as it was when it was last read or changed."""

    request: Version | None = None
    """As it was read for this step."""

    def __init__(self, ctx: Context, means: Means, found: Document, token: str) -> None:
        self.ctx = ctx
        self.means = means
        self.settings = means.settings.of(ctx.tenant)
        self.found = found
        self.token = token

    def message(self, provider: Provider, message: Document, content: Content | None, attempt: Document | None = None) -> Message:
        """Return a message as a provider takes it; without `content` only what looking it up needs."""
        callback = callback_url(self.settings.public_base(self.ctx), provider.name, self.ctx.tenant, message["id"])
        return Message(
            tenant=self.ctx.tenant,
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
            content_variables=message.get("content_variables", {}),
            callback_url=callback if provider.reports else "",
            unsubscribe_url=message.get("unsubscribe_url", ""),
            reply_to=reply_address(self.settings.email_reply_to, message["id"]) if message["channel"] == "email" else "",
            begun=(attempt or {}).get("at"),
        )

    async def end(self, status: Any, failure: str, text: str, code: str = "") -> Document | None:
        """End the delivery for a reason of ours, while it is ours."""
        return await self.persist(
            lambda one: machine.ended(one, status, failure, code, text, self.ctx.now()) if self.holds(one) else None
        )

    async def later(self, due: Any, **values: Any) -> Document | None:
        """Give the delivery back until it is due."""
        return await self.advance(lambda one: machine.later(one, due, self.ctx.now(), **values))

    async def advance(self, step: Step) -> Document | None:
        """Change the delivery while it is ours; None where it is not any more."""
        return await self.means.deliveries.advance(self.found, lambda one: step(one) if self.holds(one) else None)

    async def persist(self, step: Step) -> Document | None:
        """Record what has happened, for as long as MongoDB may be away."""
        deadline = asyncio.get_running_loop().time() + PERSIST_SECONDS
        while True:
            try:
                return await self.means.deliveries.advance(self.found, step)
            except PyMongoError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.5)

    def holds(self, one: Document) -> bool:
        """Tell whether a delivery is still ours."""
        return one["state"] == "sending" and one.get("token") == self.token

    async def look_up(self) -> Document | None:
        """Find out what came of a try; None where the message has to be sent (again)."""
        message = machine.message_of(self.found) or {}
        attempt = machine.unknown_try(self.found) or {}
        pair = self.means.providers.of(self.ctx.tenant, message["channel"])
        if pair is None or pair[0].name != message["provider"] or not pair[0].looks_up:
            if "ended" not in attempt:
                # Whoever sent it died before it could be recorded.
                await note_disclosure(self.ctx, self.found, None, self.request)
            await self.assume_lost()
            return None
        provider = pair[0]
        outcome = await provider.find(self.message(provider, message, None, attempt))
        if outcome is None:
            await self.assume_lost()
            return None
        if isinstance(outcome, Accepted) and not await self._found_first(provider, outcome):
            # Of two alike that both are looked for, it is the other one; the next look passes it over.
            return await self.later(self.ctx.now() + machine.LOOKUP_PAUSE)
        if isinstance(outcome, Unknown):
            count = self.found.get("lookups", 0) + 1
            due = self.ctx.now() + Rules.at(self.settings, self.ctx.now()).pause(count, None)
            if due >= self.found["expires"]:
                await note_disclosure(self.ctx, self.found, None, self.request)
                return await self.end("failed", "transient", "Whether it was sent could not be found out.")
            return await self.later(due, lookups=count)
        return await self.conclude(outcome, provider, others=machine.others_left(self.found))

    async def _found_first(self, provider: Provider, outcome: Accepted) -> bool:
        return await self.means.deliveries.take(provider.name, outcome.provider_id, self.found["_id"])

    async def assume_lost(self) -> None:
        """Note that the message has to be sent again, since the provider does not have it, or can not tell."""
        changed = await self.advance(lambda one: machine.not_taken(one, self.ctx.now()))
        if changed is not None:
            self.found = changed

    async def confirm(self) -> Document | None:
        """Ask the provider what became of a message that no receipt has come of."""
        message = machine.message_of(self.found) or {}
        pair = self.means.providers.of(self.ctx.tenant, message["channel"])
        receipt: Receipt | None = None
        if pair is not None and pair[0].name == message["provider"]:
            sent = next((one["provider_id"] for one in reversed(message["tries"]) if one.get("provider_id")), "")
            receipt = await pair[0].status(self.message(pair[0], message, None), sent)
        rules = Rules.at(self.settings, self.ctx.now())
        checks = self.found.get("checks", 0) + 1
        if receipt is None and checks < CHECKS and pair is not None:
            return await self.later(self.ctx.now() + rules.pause(checks, None), checks=checks)

        def step(one: Document) -> Document | None:
            if not self.holds(one):
                return None
            # As it was before it was claimed for asking: a failure that is told now counts like one that was reported.
            told = machine.received({**one, "state": "sent"}, receipt, rules) if receipt is not None else None
            told = told if told is not None else one
            return told if told["state"] in ("done", "waiting") else machine.unconfirmed(told, self.ctx.now())

        return await self.persist(step)

    async def conclude(self, outcome: Outcome, provider: Provider, *, others: bool) -> Document | None:
        """Record what came of the try that was made."""
        rules = Rules.at(self.settings, self.ctx.now())
        _tell(self.found, outcome)
        await note_disclosure(self.ctx, self.found, outcome, self.request)

        def step(one: Document) -> Document | None:
            if self.holds(one):
                return machine.concluded(one, outcome, rules, reports=provider.reports, others=others)
            # The lease has run out meanwhile. That a message was taken is good to know all the same.
            if isinstance(outcome, Accepted) and one["state"] == "waiting" and machine.unknown_try(one) is not None:
                return machine.concluded(one, outcome, rules, reports=provider.reports, others=others)
            return None

        changed = await self.persist(step)
        if changed is not None and isinstance(outcome, Refused) and outcome.failure == "opted-out":
            await note_objection(self.ctx, changed)
        return changed


def _tell(found: Document, outcome: Outcome) -> None:
    """Log what came of a try, without who it was for and what it said."""
    message = machine.message_of(found) or {}
    log = structlog.get_logger().bind(delivery=found["_id"], channel=message.get("channel"), provider=message.get("provider"))
    if isinstance(outcome, Refused):
        log.info("a message was refused", failure=outcome.failure, code=outcome.code)
    elif isinstance(outcome, Unknown):
        log.warning("a message was handed over without an answer")
