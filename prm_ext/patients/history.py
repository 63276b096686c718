"""What the product asks of the history of patients: when one was created, or deleted, and what it was before."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError, gone
from prm_ext.common.paging import cursor_of
from prm_ext.patients.fields.field import Resource

PAGE: Final = 1000
PAGES: Final = 20
"""The newest 20,000 versions of patients are looked through for deletions."""

Deleted = tuple[Resource, str]
"""A patient as it was last, and when it was deleted."""


async def created_at(ctx: Context, resource: Resource) -> str | None:
    """Return when the first version of a patient was written; None where that may not be seen."""
    meta: Mapping[str, Any] = resource.get("meta", {})
    if meta.get("versionId") == "1":
        return meta.get("lastUpdated")
    try:
        reply = await ctx.dispatch(ctx, Call("vread", type="Patient", id=resource["id"], version="1"))
    except FhirError:
        return None
    first: Mapping[str, Any] = (reply.resource or {}).get("meta", {})
    return first.get("lastUpdated")


async def last_living(ctx: Context, id_: str) -> Deleted:
    """Return a deleted patient.

    Raises:
        FhirError: 410, when all that there ever was are deletions.
    """
    reply = await ctx.dispatch(ctx, Call("history-instance", type="Patient", id=id_, params=(("_count", "10"),)))
    entries = (reply.resource or {}).get("entry", ())
    living = next((entry["resource"] for entry in entries if "resource" in entry), None)
    if living is None:
        raise gone("Patient", id_)
    return living, entries[0].get("response", {}).get("lastModified", "")


async def deleted(ctx: Context, *, limit: int, offset: int) -> Sequence[Deleted]:
    """Return deleted patients, those that were deleted last first."""
    found: list[str] = []
    seen: set[str] = set()
    cursor = ""
    for _ in range(PAGES):
        params = (("_count", str(min(PAGE, ctx.settings.max_count))), *((("_cursor", cursor),) if cursor else ()))
        bundle = (await ctx.dispatch(ctx, Call("history-type", type="Patient", params=params))).resource or {}
        for id_, is_deletion in _newest(bundle, seen):
            if is_deletion:
                found.append(id_)
        cursor = cursor_of(bundle)
        if len(found) >= offset + limit or not cursor:
            break
    return await asyncio.gather(*(last_living(ctx, id_) for id_ in found[offset : offset + limit]))


def _newest(bundle: Mapping[str, Any], seen: set[str]) -> Iterator[tuple[str, bool]]:
    """Yield each patient once, with whether its newest version is a deletion."""
    for entry in bundle.get("entry", ()):
        request = entry.get("request", {})
        id_ = (entry.get("resource") or {}).get("id") or request.get("url", "").split("/")[-1]
        if id_ and id_ not in seen:
            seen.add(id_)
            yield id_, request.get("method") == "DELETE"
