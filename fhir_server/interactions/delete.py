"""delete: https://hl7.org/fhir/R4/http.html#delete."""

from fhir_server.exchange import Call, Context, Reply
from fhir_server.fhir.outcome import Issue
from fhir_server.interactions.conditional import delete_conditionally
from fhir_server.interactions.reading import check_id, check_if_match
from fhir_server.interactions.references import check_unreferenced
from fhir_server.interactions.writing import commit, until_won
from fhir_server.store.versions import Version
from fhir_server.store.writes import Write, deletion


async def delete(ctx: Context, call: Call) -> Reply:
    """Delete a resource; 204, also where there is nothing to delete. Its history stays."""
    if not call.id:
        return await delete_conditionally(ctx, call)
    check_id(call.id)
    return await until_won(ctx, f"{call.type}/{call.id}", lambda: _attempt(ctx, call))


async def _attempt(ctx: Context, call: Call) -> Reply:
    current = await ctx.repo.current(call.type, call.id)
    item = plan_delete(ctx, call, current)
    if item is None:
        return deleted(call, current)
    await check_unreferenced(ctx, [item])
    return deleted(call, item.version, await commit(ctx, item))


def plan_delete(ctx: Context, call: Call, current: Version | None) -> Write | None:
    """Return the write that deletes the resource; None where there is nothing to delete."""
    if call.if_match or (current is not None and not current.deleted):
        check_if_match(ctx, call, current)
    return None if current is None or current.deleted else deletion(current, now=ctx.now())


def deleted(call: Call, version: Version | None, further: tuple[Issue, ...] = ()) -> Reply:
    """Return the reply to a deletion."""
    what = f"{call.type}/{call.id} is deleted." if version else f"There is no {call.type}/{call.id} to delete."
    issues = (Issue("informational", what, severity="information"), *further)
    return Reply(204, version=str(version.number) if version else "", issues=issues)
