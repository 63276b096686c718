"""Whether the principal may change everything that a merge in batches will change."""

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import forbidden
from fhir_server.operations.merge.moving import whole
from fhir_server.search.referrers import filter_to


async def check_allowed(ctx: Context, source: str) -> None:
    """Refuse a merge of which the principal may not change every resource that refers to the source (an id).

    Raises:
        FhirError: 403; nothing was changed.
    """
    if ctx.access is None:
        return
    repo = whole(ctx).repo
    for type_ in sorted(await repo.existing_types()):
        allowed = ctx.access.filter(type_, "u")
        if not allowed:
            continue
        condition = {"$and": [filter_to(type_, ctx.tenant, source), {"$nor": [allowed]}]}
        if await repo.collection(type_).find_one(condition, {"_id": 1}, session=repo.session) is not None:
            raise forbidden(f"You may not change every {type_} that refers to Patient/{source}; nothing was changed.")
