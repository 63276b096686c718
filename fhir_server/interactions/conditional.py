"""Conditional create, update, patch and delete.

https://hl7.org/fhir/R4/http.html#ccreate, #cond-update, #patch and #3.1.0.7.1

Where a condition is looked up and, since nothing matches, something is created, both happen in one transaction under
a guard named by the condition: of two clients with the same condition one creates, the other finds.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import parse_qsl

from fhir_server.exchange import Call, Context, Params, Reply, Resource
from fhir_server.fhir.outcome import Issue, bad_request, not_found, precondition_failed
from fhir_server.interactions.following import transacted
from fhir_server.interactions.merged import without_merged
from fhir_server.interactions.reading import check_if_match
from fhir_server.interactions.references import check_unreferenced
from fhir_server.interactions.writing import commit, new_id, planned, written
from fhir_server.search.run import find_matches
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, deletion

MERGED_MOST = 20
"""So many patients that match the same condition are looked at: all but one may have been merged into that one."""
Interaction = Callable[[Context, Call], Awaitable[Reply]]


def criteria(text: str) -> Params:
    """Return the parameters of a condition such as `identifier=urn:x|1`; a leading `?` or type is dropped."""
    query = text.partition("?")[2] if "?" in text else text
    found = tuple(parse_qsl(query, keep_blank_values=True))
    check_criteria(found)
    return found


def check_criteria(params: Params) -> None:
    """Refuse a condition that says nothing, since it would match everything."""
    if not params or any(not value.strip() for _, value in params):
        raise bad_request("The condition is empty or has a parameter without a value; it would match everything.")


def guard(type_: str, params: Params) -> str:
    """Return the key under which a condition is guarded."""
    text = type_ + "?" + "&".join(f"{name}={value}" for name, value in sorted(params))
    return hashlib.sha256(text.encode()).hexdigest()


async def only_match(ctx: Context, type_: str, params: Params) -> Version | None:
    """Return the one resource that matches, or None.

    A patient who has been merged into another one that matches, which has its identifiers now, does not count.

    Raises:
        FhirError: 412 when several match, 400 when the condition is empty or unknown.
    """
    check_criteria(params)
    matches = await find_matches(ctx, type_, params, limit=2)
    if len(matches) > 1 and type_ == "Patient":
        matches = without_merged(await find_matches(ctx, type_, params, limit=MERGED_MOST))
    if len(matches) > 1:
        shown = "&".join(f"{name}={value}" for name, value in params)
        raise precondition_failed(f"Several {type_} resources match {shown!r}; narrow the condition.", code="multiple-matches")
    return matches[0] if matches else None


async def create_conditionally(ctx: Context, call: Call, resource: Resource) -> Reply:
    """Create where nothing matches (201), else answer what matches (200)."""
    condition = call.if_none_exist or ""
    if len(condition) > ctx.settings.max_url_bytes:
        text = f"If-None-Exist has {len(condition)} characters, more than {ctx.settings.max_url_bytes}; narrow the condition."
        raise bad_request(text, code="too-long")
    params = criteria(condition)
    found = await only_match(ctx, call.type, params)
    if found is not None:
        return written(200, found)
    await ctx.repo.prepare([call.type])

    async def work(inner: Context) -> Reply:
        match = await only_match(inner, call.type, params)
        if match is not None:
            return written(200, match)
        item = await planned(inner, resource, id_=new_id(), method="POST")
        return written(201, item.version, issues=await commit(inner, item, guards=(guard(call.type, params),)))

    return await transacted(ctx, work)


async def update_conditionally(ctx: Context, call: Call, resource: Resource, update: Interaction) -> Reply:
    """Update the one that matches, or create where nothing does."""
    params = call.params
    match = await only_match(ctx, call.type, params)
    if match is not None:
        return await update(ctx, matched_update(call, resource, match))
    await ctx.repo.prepare([call.type])

    async def work(inner: Context) -> Reply:
        match = await only_match(inner, call.type, params)
        if match is not None:
            return await update(inner, matched_update(call, resource, match))
        if call.if_match:
            check_if_match(inner, call, None)
        await inner.repo.commit(Unit((), (guard(call.type, params),)))
        if "id" in resource:
            return await update(inner, replace(call, id=resource["id"], params=()))
        item = await planned(inner, resource, id_=new_id(), method="PUT")
        return written(201, item.version, issues=await commit(inner, item))

    return await transacted(ctx, work)


def matched_update(call: Call, resource: Resource, match: Version) -> Call:
    """Return the update of the resource that matched a condition."""
    if resource.get("id", match.id) != match.id:
        raise bad_request(
            f"The body has the id {resource['id']!r}, but the condition matches {match.reference}.", f"{call.type}.id"
        )
    return replace(call, id=match.id, params=(), resource=resource | {"id": match.id})


async def change_conditionally(ctx: Context, call: Call, interaction: Interaction) -> Reply:
    """Apply an interaction to the one resource that matches; 404 when none does."""
    match = await only_match(ctx, call.type, call.params)
    if match is None:
        shown = "&".join(f"{name}={value}" for name, value in call.params)
        raise not_found(call.type, f"?{shown}")
    return await interaction(ctx, replace(call, id=match.id, params=()))


async def delete_conditionally(ctx: Context, call: Call) -> Reply:
    """Delete what matches: one, or several where the settings allow it; 204, also when nothing matches."""
    check_criteria(call.params)
    await ctx.repo.prepare([call.type])

    async def work(inner: Context) -> Reply:
        doomed = await _doomed(inner, call)
        writes = tuple(deletion(version, now=inner.now()) for version in doomed)
        await check_unreferenced(inner, writes)
        if writes:
            await inner.repo.commit(Unit(writes))
        text = f"{len(writes)} {call.type} deleted."
        return Reply(204, issues=(Issue("informational", text, severity="information"),))

    return await transacted(ctx, work)


async def _doomed(ctx: Context, call: Call) -> list[Version]:
    limit = ctx.settings.multiple_delete_max if ctx.settings.multiple_delete else 1
    matches = await find_matches(ctx, call.type, call.params, limit=limit + 1)
    if len(matches) > limit:
        how = f"more than {limit}" if ctx.settings.multiple_delete else "several"
        raise precondition_failed(f"The condition matches {how} {call.type} resources; narrow it.", code="multiple-matches")
    for version in matches:
        check_if_match(ctx, call, version)
    return matches
