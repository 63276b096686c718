"""Merges brought to their end: what was begun in batches, what a killed process left, what was written in the moment of one.

Each process looks for what is due; whoever takes a merge up holds it for a minute. docs/merge.md
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.exchange import Context, utc_now
from fhir_server.fhir.outcome import FhirError
from fhir_server.operations.merge.holding import transact
from fhir_server.operations.merge.merging import closing
from fhir_server.operations.merge.moving import SWEEPS, created, prepare, sweep, task_writes, whole
from fhir_server.operations.merge.records import provenance
from fhir_server.operations.merge.returning import Returned, returned
from fhir_server.store.database import Database
from fhir_server.store.merges import LEASE, Merge, Merges, OvertakenError
from fhir_server.store.repository import Repository
from fhir_server.store.writes import Unit

ContextOf = Callable[[str], Awaitable[Context]]
POLL_SECONDS: Final = 1.0


async def keep_finishing(database: Database, context_of: ContextOf) -> None:
    """Bring to their end the merges of all tenants, for as long as the process lives."""
    log = structlog.get_logger()
    while True:
        try:
            await finish_due(database, context_of)
        except (PyMongoError, FhirError) as error:
            log.warning("a merge is interrupted and will be taken up again", reason=type(error).__name__)
        except Exception:
            log.exception("a merge has failed and will be taken up again")
        structlog.contextvars.unbind_contextvars("tenant")
        await asyncio.sleep(POLL_SECONDS)


async def finish_due(
    database: Database, context_of: ContextOf, *, tenant: str = "", now: Callable[[], datetime] = utc_now
) -> int:
    """Do what is due of the merges of a tenant (none named: of all); return how many were worked on.

    What is raised is of the tenant that is bound for the log.
    """
    merges, worked = Merges(database), 0
    while (claimed := await merges.claim(now(), tenant=tenant)) is not None:
        structlog.contextvars.bind_contextvars(tenant=claimed[0])
        ctx = await context_of(claimed[0])
        merge = await merges.get(*claimed)
        try:
            if merge is not None:
                await advance(replace(ctx, base_url=merge.base_url), merge)
        except OvertakenError:
            structlog.get_logger().info("somebody else got on with a merge", merge=claimed[1])
        structlog.contextvars.unbind_contextvars("tenant")
        worked += 1
    return worked


async def advance(ctx: Context, merge: Merge) -> None:
    """Do what is due of one merge that this process has claimed.

    Raises:
        OvertakenError: somebody else has got on with it, or has taken it back.
    """
    if merge.kind == "undo":
        await _undo(ctx, merge)
        await _recorded(ctx, merge, "done")
    elif merge.state == "running":
        await _end(ctx, replace(await sweep(ctx, merge), state="settling"))
        await _recorded(ctx, merge, "done")
    else:
        found = await sweep(ctx, merge)
        if found.done > merge.done:
            await _recorded(ctx, merge, f"late references: {found.done - merge.done}")
        sweeps = found.sweeps + 1
        over = sweeps >= len(SWEEPS)
        due = None if over else ctx.now() + SWEEPS[sweeps] - SWEEPS[sweeps - 1]
        await Merges(ctx.repo.database).save(replace(found, sweeps=sweeps, state="done" if over else "settling"), due)


async def _end(ctx: Context, merge: Merge) -> None:
    """Write the records of a merge, or of its undoing, whose references are moved."""
    inner = whole(ctx)
    await prepare(inner, ())
    both = ((merge.target, merge.target_version), (merge.source, merge.source_version))
    targets = [f"Patient/{id_}/_history/{number}" for id_, number in both]

    async def work(repo: Repository) -> None:
        within = inner.within(repo)
        writes = [*closing(within, merge, targets), *await task_writes(within, merge)]
        await repo.commit(Unit(tuple(writes)))
        due = ctx.now() + SWEEPS[0] if merge.state == "settling" else None
        await Merges(repo.database).save(replace(merge, input={}), due, repo.session)

    await inner.repo.transact(work)


async def _recorded(ctx: Context, merge: Merge, detail: str) -> None:
    """Record what was done of a merge that somebody asked for earlier; the request has a record of its own."""
    if ctx.recorder is not None:
        code = "$undo-merge" if merge.kind == "undo" else "$merge"
        await ctx.recorder.by_itself(ctx, code, f"Patient/{merge.target}", (merge.source, merge.target), detail)


async def _undo(ctx: Context, merge: Merge) -> None:
    inner = whole(ctx)
    done = await Merges(ctx.repo.database).get(ctx.tenant, merge.of)
    if done is None:
        raise AssertionError
    while merge.parts:
        merge = await _undo_part(inner, merge, done)
    await _end(ctx, replace(merge, state="done"))


async def _undo_part(ctx: Context, merge: Merge, done: Merge) -> Merge:
    """Bring back the last part of the journal that is not brought back yet."""
    keys = [(type_, id_) for type_, id_, _ in await Merges(ctx.repo.database).part(done, merge.parts - 1)]
    await prepare(ctx, {type_ for type_, _ in keys})

    async def work(repo: Repository) -> Merge:
        within = ctx.within(repo)
        part = await returned(within, done, merge.parts - 1, Returned())
        found = replace(merge, parts=merge.parts - 1, done=merge.done + len(part.writes), left=[*merge.left, *part.left])
        writes = [*part.writes, *await task_writes(within, found)]
        if part.writes:
            record = provenance(found, [one.version.location for one in part.writes], ctx.now(), whole=False)
            writes.append(created(within, record))
        await repo.commit(Unit(tuple(writes)))
        return await Merges(repo.database).save(found, ctx.now() + LEASE, repo.session)

    return await transact(ctx.repo, keys, work)
