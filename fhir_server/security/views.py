"""What is shown of a resource: without the elements that the policy hides, and without the narrative, which may repeat them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from fhir_server.exchange import Reply, Resource
from fhir_server.fhir.codec import decode
from fhir_server.fhir.outcome import forbidden
from fhir_server.security.permissions import Permissions

SUBSETTED: Final = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
DEEPEST: Final = 1000
"""What is stored was judged when it was written."""
_NARRATIVE: Final = frozenset({"text"})


def shown_reply(access: Permissions, reply: Reply) -> Reply:
    """Return the reply with what may be shown of each resource in it."""
    if not access.limits.hidden or reply.resource is None:
        return reply
    resource = _shown_within(access, reply.resource)
    return reply if resource is reply.resource else replace(reply, resource=resource)


def decoded(reply: Reply) -> Reply:
    """Return the reply with its resources decoded, so that they can be looked into."""
    if reply.encoded is not None:
        return replace(reply, resource=decode(reply.encoded, max_depth=DEEPEST), encoded=None)
    entries = (reply.resource or {}).get("entry")
    if not isinstance(entries, list) or not any(isinstance(entry.get("resource"), msgspec.Raw) for entry in entries):
        return reply
    return replace(reply, resource={**(reply.resource or {}), "entry": [_decoded_entry(entry) for entry in entries]})


def raw_of(reply: Reply) -> list[bytes]:
    """Return the JSON of the resources in a Bundle of which none but those about the search itself is decoded; else []."""
    entries = (reply.resource or {}).get("entry")
    if not isinstance(entries, list):
        return []
    raw = [bytes(entry["resource"]) for entry in entries if isinstance(entry.get("resource"), msgspec.Raw)]
    others = sum(entry.get("search", {}).get("mode") == "outcome" for entry in entries)
    return raw if len(raw) + others == len(entries) else []


def _decoded_entry(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    resource = entry.get("resource")
    return {**entry, "resource": decode(bytes(resource), max_depth=DEEPEST)} if isinstance(resource, msgspec.Raw) else entry


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


def retained(access: Permissions, resource: Resource, previous: Callable[[], Resource | None]) -> Resource:
    """Return a new version with the hidden elements as they were: who does not see them can neither set nor remove them.

    Raises:
        FhirError: 403, it sets some.
    """
    names = access.limits.hidden.get(resource.get("resourceType", ""))
    if not names:
        return resource
    old = previous() or {}
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
