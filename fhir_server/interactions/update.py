"""update: https://hl7.org/fhir/R4/http.html#update, with update as create (#upsert)."""

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import bad_request, method_not_allowed, precondition_failed
from fhir_server.interactions.conditional import update_conditionally
from fhir_server.interactions.reading import check_id, check_if_match
from fhir_server.interactions.writing import checked_body, commit, planned, until_won, written
from fhir_server.store.versions import Version
from fhir_server.store.writes import Write


async def update(ctx: Context, call: Call) -> Reply:
    """Store a new version; 200, or 201 where there is no living resource of this id yet."""
    if not call.id:
        return await update_conditionally(ctx, call, checked_body(ctx, call), update)
    check_id(call.id)
    resource = checked_body(ctx, call)
    check_body_id(resource, call.id)
    return await until_won(ctx, f"{call.type}/{call.id}", lambda: _attempt(ctx, call, resource))


async def _attempt(ctx: Context, call: Call, resource: Resource) -> Reply:
    current = await ctx.repo.current(call.type, call.id)
    item = await plan_update(ctx, call, resource, current)
    issues = await commit(ctx, item)
    return written(200 if current and not current.deleted else 201, item.version, issues=issues)


async def plan_update(ctx: Context, call: Call, resource: Resource, current: Version | None) -> Write:
    """Return the write that an update asks for.

    Raises:
        FhirError: 412 by a precondition, 405 where only the server may choose ids.
    """
    check_if_match(ctx, call, current)
    if call.if_none_match.strip() == "*" and current is not None and not current.deleted:
        raise precondition_failed(f"If-None-Match: * was sent, but {call.type}/{call.id} exists.")
    if (current is None or current.deleted) and not ctx.settings.update_create:
        raise method_not_allowed("PUT", f"{call.type}/{call.id}", "POST on the type; this server chooses the ids")
    return await planned(ctx, resource, id_=call.id, method="PUT", previous=current)


def check_body_id(resource: Resource, id_: str) -> None:
    """Refuse a body whose id is not that of the URL."""
    if resource.get("id") != id_:
        found = f"has the id {resource['id']!r}" if "id" in resource else "has no id"
        raise bad_request(
            f"The body {found}, but the URL names {id_!r}; both have to be the same.", f"{resource['resourceType']}.id"
        )
