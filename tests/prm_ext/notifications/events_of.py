"""What the change feed tells of a resource, without the feed."""

from collections.abc import Awaitable, Callable

from fhir_server.events.event import Event, event_of
from fhir_server.exchange import Context
from fhir_server.store.changes import Change


async def event(ctx: Context, type_: str, id_: str, number: int) -> Event:
    """Return the event of a version."""
    version = await ctx.repo.version(type_, id_, number)
    assert version is not None
    change = Change(ctx.tenant, type_, id_, number, version.last_updated, version.deleted, version.resource or {})
    return event_of(change, {})


async def tell(ctx: Context, handle: Callable[[Context, Event], Awaitable[None]], type_: str, id_: str, since: int = 1) -> int:
    """Tell a consumer of each version of a resource from one on; return the number behind the last."""
    number = since
    while await ctx.repo.version(type_, id_, number) is not None:
        await handle(ctx, await event(ctx, type_, id_, number))
        number += 1
    return number
