"""Patient/$merge: two records of one person become one.

https://build.fhir.org/patient-operation-merge.html, docs/merge.md

Up to `merge_max` referring resources all happens in one transaction, while the client waits. With `Prefer: respond-async`
the two patients are changed at once, and `finishing` moves the references in batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from pymongo.errors import PyMongoError

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import FhirError, Issue, conflict, precondition_failed
from fhir_server.fhir.repoint import Move, repointed
from fhir_server.interactions.following import follow
from fhir_server.interactions.writing import drafted, new_id
from fhir_server.operations.merge.allowing import check_may_merge
from fhir_server.operations.merge.holding import transact
from fhir_server.operations.merge.moving import SWEEPS, created, items, moves, prepare, sweep, whole
from fhir_server.operations.merge.patients import Pair, check_pair, check_result, found_pair
from fhir_server.operations.merge.previewing import previewed
from fhir_server.operations.merge.records import answer, audit_event, provenance, task, who
from fhir_server.operations.merge.request import Asked, asked
from fhir_server.operations.merge.survivorship import merged, replaced
from fhir_server.resources.duplicates import close_reviews
from fhir_server.search.referrers import Key, count_referrers, find_referrers
from fhir_server.security.identifiers import settled
from fhir_server.security.views import retained
from fhir_server.store.merges import Merge, Merges, OvertakenError
from fhir_server.store.redirects import redirect, redirects_of
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, Write, deletion


@dataclass(frozen=True, slots=True)
class Done:
    """What a transaction has written."""

    merge: Merge
    patients: tuple[Write, ...]
    """Target and source."""
    task: Resource | None = None

    @property
    def target(self) -> Version:
        """The survivor."""
        return self.patients[0].version


async def merge(ctx: Context, call: Call) -> Reply:
    """Answer Parameters: 200 with the result of the merge, or of its preview; 202 with a Task.

    Raises:
        FhirError: 400 for the request, 410 or 422 for the patients, 412 over the bound, 409 in a race, 403.
    """
    request = asked(call, ctx.base_url)
    source, target = await found_pair(ctx, request)
    check_result(ctx, request, source, target)
    if request.preview:
        return await previewed(ctx, request, source, target)
    bound = ctx.settings.merge_max
    keys = await find_referrers(whole(ctx).repo, source.id, bound + 1)
    if call.prefer.respond_async:
        return await _begin(ctx, request, (source, target))
    if len(keys) > bound:
        raise precondition_failed(
            f"More than {bound} resources refer to Patient/{source.id}: send the request again with `Prefer: respond-async`,"
            " and a Task will show how far the merge is.",
            code="too-costly",
        )
    return await _at_once(ctx, request, (source, target), keys)


def _new(ctx: Context, request: Asked, pair: Pair) -> Merge:
    return Merge(
        tenant=ctx.tenant,
        id=new_id(),
        kind="merge",
        source=pair[0].id,
        target=pair[1].id,
        base_url=ctx.base_url,
        input=request.body,
        who=who(ctx.principal),
        began=ctx.now(),
        delete_source=request.delete_source,
    )


async def _at_once(ctx: Context, request: Asked, pair: Pair, keys: Sequence[Key]) -> Reply:
    new = _new(ctx, request, pair)
    await prepare(ctx, {type_ for type_, _ in keys})

    async def work(repo: Repository) -> Done:
        return await _write_all(ctx.within(repo), request, new, await _again(ctx.within(repo), request, pair), keys)

    done = await transact(ctx.repo, [*keys, *(("Patient", one.id) for one in pair)], work)
    redirects_of(ctx.repo.database).note(ctx.tenant, done.merge.source)
    issues = await follow(ctx, done.patients)
    found = await _late(ctx, done.merge)
    text = f"Patient/{found.source} has been merged into Patient/{found.target}; {found.done} resources that refer to it changed."
    outcome = (*request.issues, Issue("informational", text, severity="information"), *issues)
    return Reply(200, answer(request.body, outcome, result=done.target.resource))


async def _late(ctx: Context, merge: Merge) -> Merge:
    """Move what was written while the transaction ran, from a state in which nobody was merged."""
    try:
        return await sweep(ctx, merge)
    except (FhirError, PyMongoError, OvertakenError) as error:
        # It is done later: the merge itself is durable.
        structlog.get_logger().warning("references are moved later", merge=merge.id, reason=type(error).__name__)
        return merge


async def _again(ctx: Context, request: Asked, pair: Pair) -> Pair:
    """Return the two patients as the transaction sees them.

    Raises:
        FhirError: 409, they have changed since in a way that matters.
    """
    found = {version.id: version for version in await ctx.repo.currents([("Patient", pair[0].id), ("Patient", pair[1].id)])}
    source, target = found.get(pair[0].id), found.get(pair[1].id)
    if source is None or target is None or source.deleted or target.deleted:
        raise conflict("One of the patients has been deleted in the meantime; nothing was changed.")
    decided = request.result is not None or request.source.version or request.target.version
    if decided and (source.number, target.number) != (pair[0].number, pair[1].number):
        raise conflict("One of the patients has been changed in the meantime; nothing was changed. Read them and decide again.")
    try:
        check_pair(source, target)
    except FhirError as error:
        raise conflict(f"Somebody else was faster; nothing was changed. {error.issues[0].diagnostics}") from None
    other = await Merges(ctx.repo.database).running(ctx.tenant, (source.id, target.id), ctx.repo.session)
    if other is not None:
        raise conflict(
            f"A merge of Patient/{other.source} into Patient/{other.target} is under way (Task/{other.task}); try again after it."
        )
    return source, target


def _ruled(ctx: Context, request: Asked, pair: Pair) -> Resource:
    return merged(*pair, dict(ctx.settings.merge_rules), keep_link=not request.delete_source)[0]


def _chosen(ctx: Context, result: Resource, pair: Pair) -> Resource:
    """Return the result that the client wants, with what it does not see of either patient in its place."""
    source, target = pair[0].resource or {}, pair[1].resource or {}
    if ctx.access is not None:
        result = retained(ctx.access, result, lambda: target)
    before = target | {"identifier": [*target.get("identifier", ()), *source.get("identifier", ())]}
    return settled(ctx, result, lambda: before)


async def _patients(ctx: Context, request: Asked, pair: Pair) -> tuple[Write, Write]:
    """Return the writes of target and source."""
    source, target = pair
    result = _chosen(ctx, request.result, pair) if request.result else _ruled(ctx, request, pair)
    result = repointed(result, Move(source.id, target.id, ctx.base_url))
    kept = await drafted(ctx, result, id_=target.id, method="PUT", previous=target)
    if request.delete_source:
        return kept, deletion(source, now=ctx.now())
    gone = replaced(source.resource or {}, target.id)
    return kept, await drafted(ctx, gone, id_=source.id, method="PUT", previous=source)


async def _write_all(ctx: Context, request: Asked, new: Merge, pair: Pair, keys: Sequence[Key]) -> Done:
    """Write all of a merge, within its transaction."""
    inner, session = whole(ctx), ctx.repo.session
    if session is None:
        raise AssertionError
    patients = await _patients(ctx, request, pair)
    await close_reviews(inner, new.source, new.target)
    others = [key for key in keys if key not in (("Patient", new.source), ("Patient", new.target))]
    moved = await moves(inner, others, Move(new.source, new.target, ctx.base_url))
    writes = (*patients, *moved)
    await ctx.repo.commit(Unit(writes))
    found = replace(new, state="settling", target_version=patients[0].version.number, source_version=patients[1].version.number)
    found = await Merges(ctx.repo.database).note(found, items(moved), session)
    await inner.repo.commit(Unit(tuple(closing(inner, found, [one.version.location for one in writes]))))
    await _keep(ctx, found)
    return Done(found, patients)


def closing(ctx: Context, merge: Merge, targets: Sequence[str]) -> list[Write]:
    """Return the writes of the records that stand for the merge as a whole."""
    return [
        created(ctx, provenance(merge, targets, ctx.now(), whole=True)),
        created(ctx, audit_event(merge, ctx.base_url, ctx.request_id, ctx.now())),
    ]


async def _keep(ctx: Context, merge: Merge) -> None:
    """Write that the source leads to the target from now on, and what is still to be done."""
    session, now = ctx.repo.session, ctx.now()
    if session is None:
        raise AssertionError
    await redirects_of(ctx.repo.database).add(redirect(ctx.tenant, merge.source, merge.target, merge.id, now), session)
    due = now if merge.state == "running" else now + SWEEPS[0]
    kept = merge if merge.state == "running" else replace(merge, input={})
    await Merges(ctx.repo.database).begin(kept, due, session)


async def _begin(ctx: Context, request: Asked, pair: Pair) -> Reply:
    """Change the two patients at once, and leave the references to `finishing`."""
    inner = whole(ctx)
    new = replace(_new(ctx, request, pair), task=new_id(), total=await count_referrers(inner.repo, pair[0].id))
    await check_may_merge(ctx, pair[0].id)
    await prepare(ctx, ())

    async def work(repo: Repository) -> Done:
        within = ctx.within(repo)
        patients = await _patients(within, request, await _again(within, request, pair))
        await repo.commit(Unit(patients))
        await close_reviews(whole(within), new.source, new.target)
        found = replace(new, target_version=patients[0].version.number, source_version=patients[1].version.number)
        shown = created(inner, task(found, ctx.now()), found.task)
        await whole(within).repo.commit(Unit((shown,)))
        await _keep(within, found)
        return Done(found, patients, shown.version.resource)

    done = await ctx.repo.transact(work)
    redirects_of(ctx.repo.database).note(ctx.tenant, done.merge.source)
    issues = await follow(ctx, done.patients)
    return accepted(ctx, request, done.merge, done.task, issues)


def accepted(ctx: Context, request: Asked, merge: Merge, shown: Resource | None, issues: tuple[Issue, ...] = ()) -> Reply:
    """Return 202 with the Task."""
    text = f"About {merge.total} resources are to be changed; Task/{merge.task} shows how far that is."
    outcome = (*request.issues, Issue("informational", text, severity="information"), *issues)
    headers = {"Content-Location": f"{ctx.base_url}/Task/{merge.task}"}
    return Reply(202, answer(request.body, outcome, task=shown), headers=headers)
