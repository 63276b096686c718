"""$validate: https://hl7.org/fhir/R4/resource-operation-validate.html."""

from typing import Any

from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, operation_outcome
from fhir_server.fhir.validate import check_invariants, validate
from fhir_server.interactions.reading import living
from fhir_server.interactions.references import check_unreferenced
from fhir_server.store.writes import deletion

MODES = ("create", "update", "delete", "profile")
BASE = "http://hl7.org/fhir/StructureDefinition/"


async def validate_resource(ctx: Context, call: Call) -> Reply:
    """Answer an OperationOutcome with all that is wrong with a resource; 200 whatever was found.

    The resource is the body, or the `resource` parameter of a Parameters body, or, on an instance without a body, the
    stored one.
    """
    resource, mode, profile = _input(call)
    if mode == "delete":
        return Reply(200, operation_outcome(await _delete_issues(ctx, call)))
    if resource is None:
        if not call.id:
            raise bad_request("Send the resource to validate, as the body or as the parameter `resource`.", code="required")
        resource = (await living(ctx, call.type, call.id)).resource
    issues = _issues(ctx, call, resource, mode)
    if profile and profile != BASE + call.type:
        text = f"The profile {profile} was not checked: this server validates against the base specification."
        issues.append(Issue("not-supported", text, severity="warning"))
    return Reply(200, operation_outcome(issues))


def _input(call: Call) -> tuple[Resource | None, str, str]:
    body = call.resource
    found: dict[str, Any] = dict(call.params)
    resource = body if isinstance(body, dict) and body.get("resourceType") != "Parameters" else None
    if isinstance(body, dict) and resource is None:
        issues = validate({name: value for name, value in body.items() if name != "parameter"})
        if issues:
            raise FhirError(400, issues)
        for parameter in body.get("parameter", []):
            if isinstance(parameter, dict) and isinstance(parameter.get("name"), str):
                found[parameter["name"]] = next((value for name, value in parameter.items() if name != "name"), None)
        resource = found.get("resource")
    mode = found.get("mode") or ""
    if mode and mode not in MODES:
        raise bad_request(f"mode={mode!r} is none of {', '.join(MODES)}.", code="value")
    return resource, mode, str(found.get("profile") or "")


def _issues(ctx: Context, call: Call, resource: Any, mode: str) -> list[Issue]:
    found = resource.get("resourceType") if isinstance(resource, dict) else None
    if found != call.type:
        return [Issue("invalid", f"The resource is a {found!r}, not a {call.type}.", ("resourceType",))]
    issues = validate(resource, max_depth=ctx.settings.max_depth)
    if not issues:
        issues = check_invariants(resource)
    if mode == "update" and call.id and resource.get("id") != call.id:
        issues.append(
            Issue("invalid", f"For an update of {call.type}/{call.id} the id has to be {call.id!r}.", (f"{call.type}.id",))
        )
    if mode == "create" and call.id:
        issues.append(Issue("invalid", "mode=create is for the type, not for an instance."))
    return issues


async def _delete_issues(ctx: Context, call: Call) -> list[Issue]:
    if not call.id:
        raise bad_request("mode=delete needs an instance: POST [type]/[id]/$validate?mode=delete.")
    version = await living(ctx, call.type, call.id)
    try:
        await check_unreferenced(ctx, [deletion(version, now=ctx.now())])
    except FhirError as error:
        return list(error.issues)
    return []
