"""Who sees protected identifiers, and that who does not see them can not destroy them.

docs/patients.md
"""

from collections.abc import Callable
from dataclasses import replace

from fhir_server.exchange import Context, Reply, Resource
from fhir_server.fhir.codec import encode
from fhir_server.fhir.masking import SHOWN, Restoring, is_masked, masked
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from fhir_server.fhir.protected import SSN, Systems, is_ssn, main_name, normal, systems
from fhir_server.security.permissions import Identifiers


def seen(ctx: Context) -> Identifiers:
    """Return how the principal sees protected identifiers."""
    return "full" if ctx.access is None else ctx.access.identifiers


def shown(ctx: Context, resource: Resource) -> Resource:
    """Return what the principal may see of a resource, or of a Bundle; the same object where that is all."""
    how = seen(ctx)
    protected = _protected(ctx)
    if how == "full" or not protected.mentioned(encode(resource)):
        return resource
    found: Resource = masked(resource, protected, shown=SHOWN if how == "masked" else 0)
    return found


def mentioned(ctx: Context, json: bytes) -> bool:
    """Tell whether protected identifiers may be in the JSON of a resource."""
    return _protected(ctx).mentioned(json)


def shown_reply(ctx: Context, reply: Reply) -> Reply:
    """Return the reply with what the principal may see."""
    if reply.resource is None or seen(ctx) == "full":
        return reply
    resource = shown(ctx, reply.resource)
    return reply if resource is reply.resource else replace(reply, resource=resource)


def settled(ctx: Context, resource: Resource, previous: Callable[[], Resource | None]) -> Resource:
    """Return the resource with the values that masked ones stand for, which whoever reads masked values sends back.

    `previous` gives the version before; it is asked only where that matters.

    Raises:
        FhirError: 422, a masked value stands for none, or a social security number can be none.
    """
    protected = _protected(ctx)
    own = resource.get("identifier", ())
    places = [place for place, one in enumerate(own) if one.get("system") in protected.names] if isinstance(own, list) else []
    if seen(ctx) != "full" or any(is_masked(own[place]) for place in places):
        restoring = Restoring(previous(), protected)
        resource = restoring.restore(resource)
        if restoring.missing:
            raise _nothing_behind(restoring.missing)
    if places:
        _check(resource, places, previous)
    return resource


def _protected(ctx: Context) -> Systems:
    return systems(ctx.settings.protected_identifiers)


def _nothing_behind(paths: list[str]) -> FhirError:
    text = "The value is masked, and the stored resource has none that it stands for; send the whole value, or leave it out."
    return FhirError(422, [Issue("value", text, (path,)) for path in paths])


def _check(resource: Resource, places: list[int], previous: Callable[[], Resource | None]) -> None:
    """Refuse social security numbers that can be none, unless they were there before, and ids that tell one."""
    identifiers = resource["identifier"]
    name = resource["resourceType"]
    odd = [
        place
        for place in places
        if main_name(identifiers[place]["system"]) == SSN and (value := identifiers[place].get("value")) and not is_ssn(value)
    ]
    kept = {one.get("value") for one in (previous() or {}).get("identifier", ())} if odd else set()
    issues = [
        Issue("value", "This is no social security number: nine digits, as 123-45-6789.", (f"{name}.identifier[{place}].value",))
        for place in odd
        if identifiers[place]["value"] not in kept
    ]
    if issues:
        raise FhirError(422, issues)
    if any(normal(identifiers[place].get("value", "")) == normal(resource.get("id", "")) for place in places if "id" in resource):
        raise unprocessable("An id must not be a protected identifier: it stands in clear in every link.", f"{name}.id")
