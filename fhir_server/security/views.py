"""What is shown of a resource: without the elements that the policy hides, and without the narrative, which may repeat them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fhir_server.exchange import Reply, Resource
from fhir_server.fhir.outcome import forbidden
from fhir_server.security.permissions import Permissions

SUBSETTED: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_NARRATIVE: Final = frozenset({"text"})


def shown_reply(access: Permissions, reply: Reply) -> Reply:
    """Return the reply with what may be shown of each resource in it."""
    if not access.limits.hidden or reply.resource is None:
        return reply
    resource = _shown_within(access, reply.resource)
    return reply if resource is reply.resource else replace(reply, resource=resource)


def _shown_within(access: Permissions, resource: Any) -> Any:
    if resource.get("resourceType") != "Bundle":
        return shown(access, resource)
    entries = resource.get("entry", [])
    found = [_shown_entry(access, entry) for entry in entries]
    return resource if all(new is old for new, old in zip(found, entries, strict=True)) else resource | {"entry": found}


def _shown_entry(access: Permissions, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if "resource" not in entry:
        return entry
    resource = _shown_within(access, entry["resource"])
    return entry if resource is entry["resource"] else {**entry, "resource": resource}


def shown(access: Permissions, resource: Resource) -> Resource:
    """Return what may be shown of a resource, marked as incomplete where something is left out."""
    names = access.limits.hidden.get(resource.get("resourceType", ""))
    if not names or not any(_is_among(member, names) for member in resource):
        return resource
    found = {member: value for member, value in resource.items() if not _is_among(member, names | _NARRATIVE)}
    meta = dict(found.get("meta", {}))
    tags = meta.get("tag", [])
    if SUBSETTED not in tags:
        meta["tag"] = [*tags, SUBSETTED]
    return (
        {name: found[name] for name in ("resourceType", "id") if name in found}
        | {"meta": meta}
        | {name: value for name, value in found.items() if name != "meta"}
    )


def retained(access: Permissions, resource: Resource, previous: Resource | None) -> Resource:
    """Return a new version with the hidden elements as they were: who does not see them can neither set nor remove them.

    Raises:
        FhirError: 403, it sets some.
    """
    names = access.limits.hidden.get(resource.get("resourceType", ""))
    if not names:
        return resource
    old = previous or {}
    for member, value in resource.items():
        if _is_among(member, names) and value != old.get(member):
            raise forbidden(f"You may not set {resource['resourceType']}.{member}; leave it out, and it stays as it is.", member)
    kept = {member: value for member, value in old.items() if _is_among(member, names | _NARRATIVE) and member not in resource}
    found = _without_mark(resource, old)
    return found | kept if kept else found


def _without_mark(resource: Resource, old: Resource) -> Resource:
    """Return the resource without the mark that it got when it was read."""
    meta = resource.get("meta", {})
    tags = meta.get("tag", [])
    if SUBSETTED not in tags or SUBSETTED in old.get("meta", {}).get("tag", []):
        return resource
    left = [tag for tag in tags if tag != SUBSETTED]
    return resource | {"meta": {name: value for name, value in meta.items() if name != "tag"} | ({"tag": left} if left else {})}


def _is_among(member: str, names: frozenset[str]) -> bool:
    return member.removeprefix("_") in names
