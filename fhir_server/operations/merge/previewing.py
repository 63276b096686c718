"""What a merge would do, without doing it."""

from fhir_server.exchange import Context, Reply, Resource
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.repoint import Move, repointed
from fhir_server.operations.merge.moving import moves, whole
from fhir_server.operations.merge.records import answer
from fhir_server.operations.merge.request import Asked
from fhir_server.operations.merge.survivorship import merged, shown
from fhir_server.search.referrers import count_referrers, find_referrers
from fhir_server.store.versions import Version


async def previewed(ctx: Context, asked: Asked, source: Version, target: Version) -> Reply:
    """Answer what the target would be, field by field, and how many resources would change."""
    move = Move(source.id, target.id, ctx.base_url)
    made, fields = merged(source, target, dict(ctx.settings.merge_rules), keep_link=not asked.delete_source)
    result = _unversioned(repointed(asked.result or made, move))
    text = f"{await _extent(ctx, move)} resources that refer to Patient/{source.id} would be changed; nothing has been."
    issues = (*asked.issues, Issue("informational", text, severity="information"))
    more = [shown(field) for field in fields] if asked.result is None else []
    return Reply(200, answer(asked.body, issues, result=result, more=more))


async def _extent(ctx: Context, move: Move) -> str:
    """Return how many resources would change; about, where they are more than one transaction takes."""
    bound = ctx.settings.merge_max
    inner = whole(ctx)
    keys = await find_referrers(inner.repo, move.source, bound + 1)
    if len(keys) > bound:
        return f"About {await count_referrers(inner.repo, move.source)}"
    others = [key for key in keys if key not in (("Patient", move.source), ("Patient", move.target))]
    return str(len(await moves(inner, others, move)))


def _unversioned(resource: Resource) -> Resource:
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    rest = {name: value for name, value in resource.items() if name != "meta"}
    if not meta:
        return rest
    return {name: meta if name == "meta" else value for name, value in resource.items()}
