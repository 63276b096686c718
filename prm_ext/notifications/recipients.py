"""Whom the reference of a recipient means: a resource, a contained one, or all who are in a group.

https://hl7.org/fhir/R4/communicationrequest-definitions.html#CommunicationRequest.recipient, docs/notifications/recipients.md
"""

from typing import Final

from fhir_server.exchange import Context, Resource
from prm_ext.notifications.choosing import members_of

GROUPS: Final = ("Group", "CareTeam")
_ROLE: Final = "PractitionerRole"
_LANGUAGES: Final = "communication"


async def recipient_of(ctx: Context, request: Resource, reference: str) -> Resource | None:
    """Return the resource of a recipient, None where there is none.

    A PractitionerRole without a telecom has that of the practitioner; its language is the practitioner's.
    """
    if reference.startswith("#"):
        contained: list[Resource] = request.get("contained", [])
        found = next((one for one in contained if one.get("id") == reference[1:]), None)
    else:
        found = await current_of(ctx, reference)
    if found is None or found.get("resourceType") != _ROLE:
        return found
    person = await current_of(ctx, found.get("practitioner", {}).get("reference", "")) or {}
    telecom = found.get("telecom") or person.get("telecom", [])
    return {**found, "telecom": telecom, _LANGUAGES: person.get(_LANGUAGES, [])}


async def everybody(ctx: Context, reference: str) -> list[str]:
    """Return the references of who is meant: of a group all who are in it now, groups within it included, each once."""
    if not _is_group(reference):
        return [reference]
    found: dict[str, None] = {}
    seen = {reference}
    left = [reference]
    while left:
        groups = [await current_of(ctx, one) for one in left]
        members = [member for group in groups if group is not None for member in members_of(group, ctx.now())]
        found |= dict.fromkeys(one for one in members if not _is_group(one))
        left = [one for one in dict.fromkeys(members) if _is_group(one) and one not in seen]
        seen.update(left)
    return list(found)


def _is_group(reference: str) -> bool:
    return reference.partition("/")[0] in GROUPS


async def current_of(ctx: Context, reference: str) -> Resource | None:
    """Return what a reference means now; None where it is not there, or not in this server."""
    type_, _, id_ = reference.removeprefix(ctx.base_url + "/").partition("/_history/")[0].partition("/")
    version = await ctx.repo.current(type_, id_) if id_ and type_.isalpha() else None
    return version.resource if version is not None else None
