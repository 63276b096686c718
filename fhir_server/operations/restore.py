"""$restore: a deleted resource comes back as it was, with its id and its history (docs/patients.md).

R4 lets PUT bring a deleted resource back (https://hl7.org/fhir/R4/http.html#delete); this operation does so with the last
version that there was, so that nobody has to have kept it.
"""

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import conflict, not_found, precondition_failed, unprocessable
from fhir_server.interactions.reading import check_id, etags
from fhir_server.interactions.writing import check_valid, commit, planned, until_won, written
from fhir_server.store.redirects import redirects_of
from fhir_server.store.versions import Version


async def restore(ctx: Context, call: Call) -> Reply:
    """Store the last version before the deletion as a new one; 200.

    Raises:
        FhirError: 404, there has never been one; 409, it is not deleted, or something of it is another's by now; 412, by a
            precondition; 422, it can not come back.
    """
    check_id(call.id)
    return await until_won(ctx, f"{call.type}/{call.id}", lambda: _attempt(ctx, call))


async def _attempt(ctx: Context, call: Call) -> Reply:
    current = await ctx.repo.current(call.type, call.id)
    if current is None:
        raise not_found(call.type, call.id)
    if call.if_match and not etags(call.if_match) & {"*", str(current.number)}:
        raise precondition_failed(f"If-Match asks for version {call.if_match}, but the current one is {current.number}.")
    if not current.deleted:
        raise conflict(f"{current.reference} is not deleted, so there is nothing to restore.")
    await _check_not_merged(ctx, current)
    resource = _as_it_was(current, await ctx.repo.version(call.type, call.id, current.number - 1))
    check_valid(ctx, resource)
    item = await planned(ctx, resource, id_=call.id, method="PUT", previous=current)
    return written(200, item.version, issues=await commit(ctx, item))


async def _check_not_merged(ctx: Context, current: Version) -> None:
    redirects = redirects_of(ctx.repo.database)
    survivors = await redirects.survivors(ctx.tenant, [current.id]) if await redirects.refresh(ctx.tenant) else {}
    if current.id in survivors:
        raise unprocessable(
            f"{current.reference} was merged into Patient/{survivors[current.id]}, which has its record by now; take the merge"
            " back instead ($undo-merge).",
            code="business-rule",
        )


def _as_it_was(current: Version, last: Version | None) -> Resource:
    if last is None or last.resource is None:
        raise unprocessable(f"The version of {current.reference} before its deletion is not there any more.", code="not-found")
    meta = {name: value for name, value in last.resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    rest = {name: value for name, value in last.resource.items() if name != "meta"}
    return rest | ({"meta": meta} if meta else {})
