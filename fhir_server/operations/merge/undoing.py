"""Patient/$undo-merge: a merge taken back, resource by resource.

docs/merge.md. What nobody has changed since is as it was before the merge, in a new version. Of what somebody has changed,
only that is taken back which the merge did; where that itself was changed, it is left, and a Task lists it for a person.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import Issue, conflict, gone, precondition_failed, unprocessable
from fhir_server.interactions.following import follow
from fhir_server.interactions.writing import drafted, new_id
from fhir_server.operations.merge.allowing import check_may_undo
from fhir_server.operations.merge.holding import Key, transact
from fhir_server.operations.merge.merging import accepted, closing
from fhir_server.operations.merge.moving import created, prepare, whole
from fhir_server.operations.merge.patients import candidates, several
from fhir_server.operations.merge.records import answer, task, who
from fhir_server.operations.merge.request import Asked, asked
from fhir_server.operations.merge.restoring import restored, unstamped
from fhir_server.operations.merge.returning import Returned, left_of, returned
from fhir_server.store.merges import Merge, Merges
from fhir_server.store.redirects import redirects_of
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, Write


@dataclass(frozen=True, slots=True)
class Undone:
    """What a transaction has written."""

    merge: Merge
    patients: tuple[Write, ...]
    result: Resource | None
    task: Resource | None = None


async def undo_merge(ctx: Context, call: Call) -> Reply:
    """Answer Parameters: 200 with the target as it is now, and with a Task where something is left; 202 with a Task.

    Raises:
        FhirError: 400 for the request, 410 or 422 for the patients, 412 over the bound, 409 in a race, 403.
    """
    request = asked(call, ctx.base_url, undo=True)
    done = await _merge_of(ctx, request)
    if done.done > ctx.settings.merge_max and not call.prefer.respond_async:
        raise precondition_failed(
            f"The merge changed {done.done} resources, more than {ctx.settings.merge_max}: send the request again with"
            " `Prefer: respond-async`, and a Task will show how far it is.",
            code="too-costly",
        )
    await check_may_undo(ctx, done)
    keys = [("Patient", done.target), ("Patient", done.source)]
    keys += [(type_, id_) async for type_, id_, _ in Merges(ctx.repo.database).items(done)]
    await prepare(ctx, {type_ for type_, _ in keys})
    if call.prefer.respond_async:
        return await _begin(ctx, request, done)
    return await _at_once(ctx, request, done, keys)


async def _merge_of(ctx: Context, request: Asked) -> Merge:
    """Return the merge that the request means.

    Raises:
        FhirError: 422, there is none, or it is not the latest; 409, it is not finished; 410, a patient is deleted.
    """
    sources = {version.id: version for version in await candidates(ctx, request.source)}
    targets = {version.id: version for version in await candidates(ctx, request.target)}
    redirects = redirects_of(ctx.repo.database)
    found = [one for id_ in sorted(sources) if (one := await redirects.get(ctx.tenant, id_)) and one["to"] in targets]
    if not found:
        raise unprocessable("The source has not been merged into the target.", "Parameters.parameter", code="invalid")
    if len(found) > 1:
        raise several(request.source)
    later = await redirects.get(ctx.tenant, found[0]["to"])
    if later is not None:
        raise unprocessable(
            f"Patient/{later['i']} has been merged into Patient/{later['to']} since: take that back first.",
            "Parameters.parameter",
            code="invalid",
        )
    done = await Merges(ctx.repo.database).get(ctx.tenant, found[0]["merge"])
    if done is None or done.state == "running":
        raise conflict("The merge is still under way; take it back when its Task is completed.")
    for version in (sources[done.source], targets[done.target]):
        if version.deleted and not (done.delete_source and version.id == done.source):
            raise gone("Patient", version.id, str(version.number))
    return done


def _new(ctx: Context, request: Asked, done: Merge) -> Merge:
    return Merge(
        tenant=ctx.tenant,
        id=new_id(),
        kind="undo",
        source=done.source,
        target=done.target,
        base_url=ctx.base_url,
        input=request.body,
        who=who(ctx.principal),
        began=ctx.now(),
        total=done.done,
        of=done.id,
    )


async def _at_once(ctx: Context, request: Asked, done: Merge, keys: Sequence[Key]) -> Reply:
    async def work(repo: Repository) -> Undone:
        inner = ctx.within(repo)
        merge, patients = await _patients(inner, _new(ctx, request, done), done)
        found = Returned()
        for number in reversed(range(merge.parts)):
            found = await returned(whole(inner), done, number, found)
        await repo.commit(Unit(tuple(found.writes)))
        merge = replace(
            merge,
            state="done",
            parts=0,
            done=len(found.writes),
            left=[*merge.left, *found.left],
            task=new_id() if found.left or merge.left else "",
        )
        targets = [*(one.version.location for one in patients), *(one.version.location for one in found.writes)]
        records = closing(inner, merge, targets)
        shown = [created(inner, task(merge, ctx.now()), merge.task)] if merge.task else []
        await whole(inner).repo.commit(Unit((*records, *shown)))
        await _begin_undo(inner, merge)
        return Undone(merge, patients, await _target(inner, merge), shown[0].version.resource if shown else None)

    undone = await transact(ctx.repo, keys, work)
    issues = await follow(ctx, undone.patients)
    return Reply(
        200, answer(request.body, (*request.issues, *_told(undone.merge), *issues), result=undone.result, task=undone.task)
    )


def _told(merge: Merge) -> Iterable[Issue]:
    text = f"The merge of Patient/{merge.source} into Patient/{merge.target} is taken back; {merge.done} resources changed."
    yield Issue("informational", text, severity="information")
    for one in merge.left:
        yield Issue("conflict", f"{one['reference']}: {one['text']}", (one["path"],) if one["path"] else (), "warning")


async def _begin(ctx: Context, request: Asked, done: Merge) -> Reply:
    """Restore the two patients at once, and leave the references to `finishing`."""

    async def work(repo: Repository) -> Undone:
        inner = ctx.within(repo)
        merge, patients = await _patients(inner, replace(_new(ctx, request, done), task=new_id()), done)
        shown = created(inner, task(merge, ctx.now()), merge.task)
        await whole(inner).repo.commit(Unit((shown,)))
        await _begin_undo(inner, merge)
        return Undone(merge, patients, None, shown.version.resource)

    undone = await ctx.repo.transact(work)
    issues = await follow(ctx, undone.patients)
    return accepted(ctx, request, undone.merge, undone.task, issues)


async def _begin_undo(ctx: Context, merge: Merge) -> None:
    session = ctx.repo.session
    if session is None:
        raise AssertionError
    kept = merge if merge.state == "running" else replace(merge, input={})
    await Merges(ctx.repo.database).begin(kept, ctx.now() if merge.state == "running" else None, session)


async def _patients(ctx: Context, new: Merge, done: Merge) -> tuple[Merge, tuple[Write, ...]]:
    """Restore target and source, and say that the source leads nowhere any more; within a transaction.

    Raises:
        FhirError: 409, somebody else has taken the merge back.
    """
    session = ctx.repo.session
    if session is None:
        raise AssertionError
    merges, redirects = Merges(ctx.repo.database), redirects_of(ctx.repo.database)
    now = await merges.get(ctx.tenant, done.id, session)
    redirect = await redirects.get(ctx.tenant, done.source, session)
    if now is None or now.state not in ("settling", "done") or redirect is None or redirect["merge"] != done.id:
        raise conflict("Somebody else has taken the merge back in the meantime; nothing was changed.")
    await merges.save(replace(now, state="undone"), None, session)
    await redirects.remove(ctx.tenant, done.source, session)
    other = await merges.running(ctx.tenant, (done.source, done.target), session)
    if other is not None:
        raise conflict(f"Another merge of these patients is under way (Task/{other.task}); try again after it.")
    target, missed = await _restored(ctx, done.target, done.target_version)
    source, also = await _restored(ctx, done.source, done.source_version)
    writes = tuple(one for one in (target, source) if one is not None)
    await ctx.repo.commit(Unit(writes))
    numbers = {one.version.id: one.version.number for one in writes}
    new = replace(
        new,
        parts=now.parts,
        left=[*missed, *also],
        target_version=numbers.get(done.target, done.target_version),
        source_version=numbers.get(done.source, done.source_version),
    )
    return new, writes


async def _restored(ctx: Context, id_: str, number: int) -> tuple[Write | None, Sequence[Mapping[str, str]]]:
    """Return the write of a patient as before the merge, and what is left of what others have changed since."""
    repo = whole(ctx).repo
    current = await repo.current("Patient", id_)
    before = await repo.version("Patient", id_, number - 1)
    after = await repo.version("Patient", id_, number)
    if current is None or before is None or after is None or before.resource is None:
        raise AssertionError
    if current.resource is None:
        if current.number != number:
            raise gone("Patient", id_, str(current.number))
        return await _draft(ctx, before.resource, current), ()
    if after.resource is None:
        return None, [left_of(current, "", "It has been written anew since it was deleted.")]
    found = restored(before.resource, after.resource, current.resource)
    left = [left_of(current, path, "It has been changed since the merge.") for path in found.conflicts]
    if found.value == unstamped(current.resource):
        return None, left
    return await _draft(ctx, found.value, current), left


async def _draft(ctx: Context, resource: dict[str, Any], current: Version) -> Write:
    return await drafted(ctx, resource, id_=current.id, method="PUT", previous=current)


async def _target(ctx: Context, merge: Merge) -> Resource | None:
    current = await ctx.repo.current("Patient", merge.target)
    return current.resource if current else None
