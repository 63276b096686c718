"""What providers report of messages: each report is taken once, in whatever order they come."""

from collections.abc import Iterable

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context
from fhir_server.store.database import Document
from prm_ext.notifications import machine
from prm_ext.notifications.channels.channel import Receipt
from prm_ext.notifications.machine import Rules
from prm_ext.notifications.means import Means
from prm_ext.notifications.objections import note_objection
from prm_ext.notifications.results import Results


class Receipts:
    """Takes the reports of providers."""

    def __init__(self, means: Means, context_of: ContextOf) -> None:
        self._means = means
        self._context_of = context_of

    async def take(self, ctx: Context, provider: str, receipts: Iterable[Receipt]) -> int:
        """Take reports about messages of the context's tenant; return how many told something new.

        When it returns, what they told is durable. Reports about messages that are not ours are passed over.
        """
        count = 0
        for receipt in receipts:
            found = await self._found(ctx, provider, receipt)
            if found is not None and await self._apply(ctx, found, receipt):
                count += 1
        return count

    async def _found(self, ctx: Context, provider: str, receipt: Receipt) -> Document | None:
        deliveries = self._means.deliveries
        found = await deliveries.by_message(receipt.reference) if receipt.reference else None
        if found is None and receipt.provider_id:
            found = await deliveries.by_provider_id(provider, receipt.provider_id)
        return found if found is not None and found["t"] == ctx.tenant and found.get("messages") else None

    async def _apply(self, ctx: Context, found: Document, receipt: Receipt) -> bool:
        rules = Rules.at(self._means.settings.of(ctx.tenant), ctx.now())

        def step(one: Document) -> Document | None:
            return machine.received(one, receipt, rules)

        changed = await self._means.deliveries.advance(found, step)
        if changed is None:
            return False
        if receipt.failure == "opted-out":
            await note_objection(ctx, changed)
        if "stale" in changed:
            await Results(self._means, self._context_of).show(changed)
        return True
