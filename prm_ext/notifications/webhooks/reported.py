"""What is done with reports: receipts are taken, objections kept, and both stand in the audit trail as the provider's."""

import time
from collections.abc import Iterable
from typing import Final

from fhir_server.exchange import Context
from fhir_server.security.audit.record import Record
from prm_ext.notifications.channels.channel import Receipt
from prm_ext.notifications.channels.reports import Objection
from prm_ext.notifications.consent import opt_out
from prm_ext.notifications.means import Means
from prm_ext.notifications.receipts import Receipts

_OK: Final = 200


async def take(
    ctx: Context, means: Means, provider: str, receipts: Iterable[Receipt], objections: Iterable[Objection] = ()
) -> None:
    """Take what a provider reports; when it returns all of it is durable."""

    async def same(_: str) -> Context:
        return ctx

    for receipt in receipts:
        if await Receipts(means, same).take(ctx, provider, [receipt]):
            await _record(ctx, receipt.reference)
    for one in objections:
        await _objected(ctx, means, provider, one)


async def _objected(ctx: Context, means: Means, provider: str, objection: Objection) -> None:
    found = await means.deliveries.by_message(objection.reference) if objection.reference else None
    if found is None and objection.provider_id:
        found = await means.deliveries.by_provider_id(provider, objection.provider_id)
    if found is None or found["t"] != ctx.tenant or not found.get("messages"):
        return
    named = (one for one in found["messages"] if one["id"] == objection.reference)
    message = next(named, found["messages"][-1])
    people = [found["recipient"]] if found["recipient"] and not found["recipient"].startswith("#") else []
    about = f"Communication/{message['id']}"
    channel, sender, address = message["channel"], message["sender"], message["to"]
    await opt_out(ctx, people, channel=channel, sender=sender, address=address, source="provider", message=about)


async def _record(ctx: Context, reference: str) -> None:
    if ctx.recorder is not None:
        record = Record(
            int(time.time() * 1000),
            "rest",
            "update",
            _OK,
            "Communication" if reference else "",
            reference,
            principal=ctx.principal.id,
            address=ctx.address,
            request_id=ctx.request_id,
        )
        await ctx.recorder.trail.record(ctx.tenant, [record])
