"""Whether the principal may change everything that a merge, or its undoing, will change, before it is done in batches."""

from typing import Any

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import forbidden
from fhir_server.operations.merge.moving import whole
from fhir_server.search.referrers import filter_to
from fhir_server.store.merges import Merge, Merges
from fhir_server.store.versions import current_key


async def check_may_merge(ctx: Context, source: str) -> None:
    """Refuse a merge of which the principal may not change every resource that refers to the source (an id).

    Raises:
        FhirError: 403; nothing was changed.
    """
    if ctx.access is None:
        return
    for type_ in sorted(await whole(ctx).repo.existing_types()):
        await _check(ctx, type_, filter_to(type_, ctx.tenant, source))


async def check_may_undo(ctx: Context, merge: Merge) -> None:
    """Refuse the undoing of a merge of which the principal may not change every resource that it changed.

    Raises:
        FhirError: 403; nothing was changed.
    """
    if ctx.access is None:
        return
    merges = Merges(ctx.repo.database)
    for number in range(merge.parts):
        keys: dict[str, list[str]] = {}
        for type_, id_, _ in await merges.part(merge, number):
            keys.setdefault(type_, []).append(current_key(ctx.tenant, id_))
        for type_, wanted in keys.items():
            await _check(ctx, type_, {"_id": {"$in": wanted}, "d": None})


async def _check(ctx: Context, type_: str, condition: dict[str, Any]) -> None:
    allowed = ctx.access.filter(type_, "u") if ctx.access else {}
    if not allowed:
        return
    refused = {"$and": [condition, {"$nor": [allowed]}]}
    if await ctx.repo.collection(type_).find_one(refused, {"_id": 1}) is not None:
        raise forbidden(f"You may not change every {type_} that this would change; nothing was changed.")
