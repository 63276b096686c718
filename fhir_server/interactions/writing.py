"""What all interactions that write share: judging the body, indexing it, and answering.

https://hl7.org/fhir/R4/http.html#ops
"""

import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from fhir_server.exchange import Call, Context, Draft, Reply, Resource
from fhir_server.fhir.outcome import Issue, bad_request, conflict, invalid_resource
from fhir_server.fhir.protected import look
from fhir_server.fhir.validate import check_invariants, validate
from fhir_server.interactions.following import follow
from fhir_server.interactions.merged import followed
from fhir_server.interactions.references import check_references
from fhir_server.search.index import entries
from fhir_server.security.identifiers import settled
from fhir_server.security.views import retained
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, VersionConflictError, Write, write

ATTEMPTS = 100


def new_id() -> str:
    """Return a new UUID of version 7: ids that follow each other in time stand together in the index of ids."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=number))


def checked_body(ctx: Context, call: Call) -> Resource:
    """Return the body as a valid resource of the type that the Call is about.

    Raises:
        FhirError: 400 (or what `validation_status` says), with all that is wrong.
    """
    resource = call.resource
    if resource is None:
        raise bad_request("The request has no body; send the resource.", code="required")
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise bad_request("The body is not a resource: it has to be an object with a `resourceType`.", code="structure")
    if resource["resourceType"] != call.type:
        raise bad_request(
            f"The body is a {resource['resourceType']!r}, but the request is about {call.type}.", "resourceType", code="invalid"
        )
    check_valid(ctx, resource)
    return resource


def check_valid(ctx: Context, resource: Resource) -> None:
    """Refuse a resource that R4 does not allow. Its depth was bounded when it was decoded or patched."""
    issues = validate(resource, max_depth=0)
    if not issues and ctx.settings.validate_invariants:
        issues = [issue for issue in check_invariants(resource) if issue.severity == "error"]
    if issues:
        raise invalid_resource(issues, ctx.settings.validation_status)


async def planned(ctx: Context, resource: Resource, *, id_: str, method: str, previous: Version | None = None) -> Write:
    """Return the write of a valid resource that a client wants stored, with its hooks run and its index entries."""

    def before() -> Resource | None:
        return previous.resource if previous else None

    if ctx.access is not None:
        resource = retained(ctx.access, resource, before)
    resource = settled(ctx, resource, before)
    resource, issues = await followed(ctx, resource, id_)
    found = await drafted(ctx, resource, id_=id_, method=method, previous=previous)
    return replace(found, issues=(*issues, *found.issues)) if issues else found


async def drafted(ctx: Context, resource: Resource, *, id_: str, method: str, previous: Version | None = None) -> Write:
    """Return the same, with references to merged patients as they are."""
    draft = None
    for name in (resource["resourceType"], "*"):
        behaviour = ctx.behaviours.get(name)
        if behaviour is not None:
            draft = await behaviour.before_write(ctx, draft or Draft(resource, method, previous, id=id_))
            resource = draft.resource
    return indexed(ctx, resource, id_=id_, method=method, previous=previous, draft=draft)


def indexed(
    ctx: Context,
    resource: Resource,
    *,
    id_: str,
    method: str,
    previous: Version | None = None,
    draft: Draft | None = None,
) -> Write:
    """Return the write of a resource as it is, with its index entries: no rule for clients is asked about it."""

    def index(one: Resource) -> Mapping[str, Any]:
        return entries(one, ctx.registry, ctx.base_url)

    # What is nearly always the only place of a protected identifier is looked at here, so that entries are made once.
    looked = look(resource, ctx.repo.database.keyring.systems) if _names_protected(ctx, resource) else None
    return write(
        resource,
        index(resource if looked is None else ctx.repo.blind(resource, looked)),
        id_=id_,
        now=ctx.now(),
        method=method,
        previous=previous,
        issues=draft.issues if draft else (),
        claims=draft.claims if draft else (),
        indexer=index,
        looked=looked,
    )


def _names_protected(ctx: Context, resource: Resource) -> bool:
    names, own = ctx.repo.database.keyring.systems.names, resource.get("identifier")
    return isinstance(own, list) and any(one.get("system") in names for one in own)


async def commit(ctx: Context, *writes: Write, guards: tuple[str, ...] = ()) -> tuple[Issue, ...]:
    """Make writes durable together, after checking what they refer to where a setting asks for it; return their issues.

    What follows from them is done before it returns, or, within a transaction, by whoever owns that (`following`).
    """
    await check_references(ctx, writes)
    await ctx.repo.commit(Unit(writes, guards))
    return await follow(ctx, writes)


async def until_won(ctx: Context, key: str, attempt: Callable[[], Awaitable[Reply]]) -> Reply:
    """Repeat an attempt to change a resource while others are faster, in this process one after the other.

    Within a transaction the conflict ends the transaction, which is repeated as a whole.
    """
    try:
        return await attempt()
    except VersionConflictError:
        if ctx.repo.session is not None:
            raise
    async with ctx.repo.database.lock(f"{ctx.tenant}/{key}"):
        for _ in range(ATTEMPTS):
            try:
                return await attempt()
            except VersionConflictError:
                continue
    raise conflict(f"Others kept writing {key}; nothing was changed. Send the request again.")


def written(status: int, version: Version, *, issues: tuple[Issue, ...] = ()) -> Reply:
    """Return the reply to a create, update or patch."""
    return Reply(status, version.resource, str(version.number), version.last_updated, version.location, issues)
