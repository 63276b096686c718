"""patch: https://hl7.org/fhir/R4/http.html#patch, as JSON Patch or FHIRPath Patch."""

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import bad_request, unprocessable
from fhir_server.fhir.patch import fhirpath_patch, json_patch
from fhir_server.interactions.conditional import change_conditionally
from fhir_server.interactions.reading import check_if_match, living
from fhir_server.interactions.writing import check_valid, commit, planned, until_won, written
from fhir_server.security import identifiers
from fhir_server.security.views import shown
from fhir_server.store.versions import Version
from fhir_server.store.writes import Write


async def patch(ctx: Context, call: Call) -> Reply:
    """Store a version that differs from the current one by the patch; 200."""
    if not call.id:
        return await change_conditionally(ctx, call, patch)
    return await until_won(ctx, f"{call.type}/{call.id}", lambda: _attempt(ctx, call))


async def _attempt(ctx: Context, call: Call) -> Reply:
    item = await plan_patch(ctx, call, await living(ctx, call.type, call.id))
    return written(200, item.version, issues=await commit(ctx, item))


async def plan_patch(ctx: Context, call: Call, current: Version) -> Write:
    """Return the write that a patch asks for.

    Raises:
        FhirError: 412 by a precondition, 400 or 422 when the patch is none, does not apply or ends in nonsense.
    """
    check_if_match(ctx, call, current)
    if current.resource is None:
        raise AssertionError
    before = current.resource if ctx.access is None else identifiers.shown(ctx, shown(ctx.access, current.resource))
    resource = patched(before, call.resource, ctx.settings.max_depth)
    if resource.get("resourceType") != call.type or resource.get("id") != call.id:
        raise unprocessable("A patch may change neither `resourceType` nor `id`.", f"{call.type}.id")
    check_valid(ctx, resource)
    return await planned(ctx, resource, id_=call.id, method="PATCH", previous=current)


def patched(resource: Resource, body: object, max_depth: int = 64) -> Resource:
    """Return the resource with a JSON Patch (an array) or a FHIRPath Patch (Parameters) applied."""
    if isinstance(body, list):
        result = json_patch(resource, body, max_depth=max_depth)
    elif isinstance(body, dict) and body.get("resourceType") == "Parameters":
        result = fhirpath_patch(resource, body, max_depth=max_depth)
    else:
        raise bad_request("A patch is a JSON array of operations (JSON Patch) or a Parameters resource (FHIRPath Patch).")
    if not isinstance(result, dict):
        raise unprocessable("The patch leaves no resource.")
    return result
