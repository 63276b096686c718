"""What a later version of a CommunicationRequest does to what was planned by an earlier one: it ends, is held, or goes on."""

from collections.abc import Iterable

from fhir_server.events.consumer import ContextOf
from fhir_server.exchange import Context, Resource
from fhir_server.store.database import Document
from fhir_server.store.versions import Version
from prm_ext.notifications.machine import ended
from prm_ext.notifications.means import Means
from prm_ext.notifications.results import Results
from prm_ext.notifications.withdrawing import name_of, withdrawn, withdrawn_of


async def show(ctx: Context, means: Means, changed: Iterable[Document]) -> None:
    """Show clients what has become of deliveries."""
    results = Results(means, _context_of(ctx))
    for found in changed:
        await results.show_in(ctx, found)


def _context_of(ctx: Context) -> ContextOf:
    async def same(_: str) -> Context:
        return ctx

    return same


async def cancel(ctx: Context, means: Means, version: Version) -> None:
    """End what has not left yet; what a worker holds sees by itself that its request is active no more."""
    for found in await _open(ctx, means, version.id, ("waiting", "held")):

        def cancelled(one: Document) -> Document | None:
            if one["state"] not in ("waiting", "held") or one["version"] > version.number:
                return None
            return ended(
                {**one, "version": version.number}, "cancelled", "cancelled", "", "The request was withdrawn.", ctx.now()
            )

        changed = await means.deliveries.advance(found, cancelled)
        if changed is not None:
            await show(ctx, means, [changed])


async def withdraw(ctx: Context, means: Means, version: Version, request: Resource) -> None:
    """End what is not wanted any more of a request; what a worker holds sees it by itself."""
    gone = withdrawn_of(request)
    for found in await means.deliveries.of_request(ctx.tenant, version.id) if gone else ():
        if name_of(found) not in gone:
            continue

        def gone_now(one: Document) -> Document | None:
            return withdrawn(one, ctx.now()) if one["state"] in ("waiting", "held") else None

        changed = await means.deliveries.advance(found, gone_now) or (found if "stale" in found else None)
        if changed is not None:
            await show(ctx, means, [changed])


async def hold(ctx: Context, means: Means, version: Version) -> None:
    """Let wait what nobody has begun."""
    for found in await _open(ctx, means, version.id, ("waiting",)):

        def held(one: Document) -> Document | None:
            if one["state"] != "waiting" or one["version"] > version.number:
                return None
            return {**one, "state": "held", "version": version.number, "updated": ctx.now()}

        await means.deliveries.advance(found, held)


async def resume(ctx: Context, means: Means, version: Version, *, repeats: bool) -> None:
    """Let go on what was held, and forget occurrences that an earlier version had and nobody has tried."""
    of_request: Document = {"t": ctx.tenant, "request": version.id, "version": {"$lt": version.number}}
    change: Document = {"$set": {"state": "waiting", "version": version.number, "updated": ctx.now()}, "$inc": {"rev": 1}}
    if repeats:
        # What was due before and only waits, for the end of quiet hours perhaps, is still wanted.
        untried: Document = {
            "state": {"$in": ["waiting", "held"]},
            "messages": {"$exists": False},
            "at": {"$gt": version.last_updated},
        }
        await means.deliveries.collection.delete_many({**of_request, **untried})
    await means.deliveries.collection.update_many({**of_request, "state": "held"}, change)


async def _open(ctx: Context, means: Means, request: str, states: tuple[str, ...]) -> list[Document]:
    return [one for one in await means.deliveries.of_request(ctx.tenant, request) if one["state"] in states]
