"""What follows from writes as soon as they are durable: the `after_write` of the behaviours of their types.

A transaction has no effects before it is committed, so writes within one are followed up by whoever owns it: those who
begin one do so by `transacted`.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import structlog

from fhir_server.exchange import Context, Reply
from fhir_server.fhir.outcome import Issue
from fhir_server.store.repository import Repository
from fhir_server.store.writes import Write

Issues = tuple[Issue, ...]


async def follow(ctx: Context, writes: Iterable[Write]) -> Issues:
    """Do what follows from committed writes, and return their issues, those from before the write included.

    Within a transaction nothing follows yet.
    """
    found: Issues = ()
    for item in writes:
        found += item.issues
        behaviour = ctx.behaviours.get(item.version.type)
        if behaviour is None or ctx.repo.session is not None:
            continue
        try:
            found += await behaviour.after_write(ctx, item.version, item.previous)
        except Exception as error:  # noqa: BLE001 -- it is stored, whatever happens now
            structlog.get_logger().error("what follows a write has failed", type=item.version.type, exc_info=error)
            found += (Issue("incomplete", f"{item.version.reference} is stored, but what follows failed.", (), "warning"),)
    return found


async def transacted(ctx: Context, work: Callable[[Context], Awaitable[Reply]]) -> Reply:
    """Run `work` within a transaction (see `Repository.transact`); then do what follows from all that it wrote.

    Within another transaction that is left to its owner.
    """
    if ctx.repo.session is not None:
        return await work(ctx)

    async def attempt(repo: Repository) -> tuple[Reply, tuple[Write, ...]]:
        reply = await work(ctx.within(repo))
        return reply, tuple(repo.written)

    reply, writes = await ctx.repo.transact(attempt)
    issues = await follow(ctx, (replace(item, issues=()) for item in writes))
    return replace(reply, issues=(*reply.issues, *issues)) if issues else reply
