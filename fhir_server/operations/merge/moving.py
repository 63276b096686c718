"""References moved from the source to the target, in batches of one transaction each.

Whoever finds a reference moves it and notes that in the journal in the same transaction, so that a merge may be taken up
at any point by anybody, and be taken back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.repoint import Move, repointed
from fhir_server.interactions.writing import indexed, new_id
from fhir_server.operations.merge.holding import transact
from fhir_server.operations.merge.records import provenance, task
from fhir_server.search.referrers import Key, find_referrers
from fhir_server.store.merges import LEASE, PART, Item, Merge, Merges
from fhir_server.store.redirects import redirects_of
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, Write

SWEEPS: Final = (timedelta(seconds=3), timedelta(seconds=20), timedelta(seconds=120))
"""When it is looked for late references: after the second that other processes may not know of the merge, after slow
writes, and after the longest that a transaction may take."""
OWN_TYPES: Final = ("Provenance", "AuditEvent", "Task")


def whole(ctx: Context) -> Context:
    """Return the context with all resources in view, whatever its principal may see: for what the server does by itself."""
    repo = ctx.repo
    return ctx.within(Repository(repo.database, repo._committer, repo.tenant, repo.session))  # noqa: SLF001 -- the same view, wider


async def prepare(ctx: Context, types: Iterable[str]) -> None:
    """Make all collections that a merge writes, before its transaction."""
    await ctx.repo.prepare({*types, "Patient", *OWN_TYPES})
    await redirects_of(ctx.repo.database).prepare()
    await Merges(ctx.repo.database).prepare()


async def moves(ctx: Context, keys: Iterable[Key], move: Move) -> list[Write]:
    """Return the writes that move the references of these resources; none for those that need no change."""
    found = [(one, repointed(one.resource, move)) for one in await ctx.repo.currents(keys) if one.resource is not None]
    return [changed(ctx, version, resource) for version, resource in found if resource is not version.resource]


def changed(ctx: Context, version: Version, resource: dict[str, object]) -> Write:
    """Return the write of a resource that the server itself changes: no rule for clients is asked about it."""
    return indexed(ctx, resource, id_=version.id, method="PUT", previous=version)


def created(ctx: Context, resource: dict[str, object], id_: str = "") -> Write:
    """Return the write of a new resource that the server itself makes."""
    return indexed(ctx, resource, id_=id_ or new_id(), method="POST")


def items(writes: Iterable[Write]) -> list[Item]:
    """Return what the journal says of writes."""
    return [(one.version.type, one.version.id, one.version.number) for one in writes]


async def sweep(ctx: Context, merge: Merge) -> Merge:
    """Move references until none is found that can be moved; return the merge with what that has added.

    Raises:
        OvertakenError: somebody else has got on with the merge, or has taken it back.
    """
    inner = whole(ctx)
    seen: set[Key] = set()
    while True:
        keys = [key for key in await find_referrers(inner.repo, merge.source, PART + len(seen)) if key not in seen]
        if not keys:
            return merge
        merge = await _batch(inner, merge, keys[:PART])
        seen.update(keys[:PART])


async def _batch(ctx: Context, merge: Merge, keys: Sequence[Key]) -> Merge:
    """Move the references of these resources; of one that can not be stored any more it is noted that it is left."""
    await prepare(ctx, {type_ for type_, _ in keys})
    survivors = await redirects_of(ctx.repo.database).survivors(ctx.tenant, [merge.source])
    move = Move(merge.source, survivors.get(merge.source, merge.target), ctx.base_url)

    async def work(repo: Repository) -> Merge:
        return await _moved(ctx.within(repo), merge, keys, move)

    try:
        return await transact(ctx.repo, keys, work)
    except FhirError as error:
        if error.status not in (413, 422):
            raise
        if len(keys) > 1:
            half = len(keys) // 2
            return await _batch(ctx, await _batch(ctx, merge, keys[:half]), keys[half:])
        left = {"reference": "/".join(keys[0]), "path": "", "text": str(error)}
        return await Merges(ctx.repo.database).save(replace(merge, left=[*merge.left, left]), ctx.now() + LEASE)


async def _moved(ctx: Context, merge: Merge, keys: Sequence[Key], move: Move) -> Merge:
    writes = await moves(ctx, keys, move)
    if not writes:
        return merge
    session = ctx.repo.session
    if session is None:
        raise AssertionError
    merges = Merges(ctx.repo.database)
    found = await merges.note(merge, items(writes), session)
    record = provenance(merge, [one.version.location for one in writes], ctx.now(), whole=False)
    await ctx.repo.commit(Unit((*writes, created(ctx, record), *await task_writes(ctx, found))))
    return await merges.save(found, ctx.now() + LEASE, session)


async def task_writes(ctx: Context, merge: Merge, *, problem: str = "") -> list[Write]:
    """Return the write that brings the Task of a merge up to date; none where it has no Task, or somebody deleted it."""
    current = await ctx.repo.current("Task", merge.task) if merge.task else None
    if current is None or current.resource is None:
        return []
    return [changed(ctx, current, task(merge, ctx.now(), problem=problem))]
