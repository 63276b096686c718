"""read and vread: https://hl7.org/fhir/R4/http.html#read, #vread and #cread."""

from fhir_server.exchange import Call, Context, Reply
from fhir_server.fhir.outcome import gone, not_found
from fhir_server.interactions.given_back import asks_for_data, with_data
from fhir_server.interactions.reading import check_id, is_unchanged, living, subset
from fhir_server.store.versions import StoredVersion, Version

LONGEST_NUMBER = 9


async def read(ctx: Context, call: Call) -> Reply:
    """Answer the current version; 304 when the client has it, 410 when it is deleted, 404 when it never existed."""
    version = await living(ctx, call.type, call.id)
    plain = call.encoded and call.type != "Binary" and not (call.params or call.if_none_match or call.if_modified_since)
    if plain and isinstance(version, StoredVersion):
        json = version.json(ctx.repo.database.encoded)
        return Reply(200, version=str(version.number), last_modified=version.last_updated, encoded=json)
    reply = answer(call, version)
    return await with_data(ctx, call, version, reply) if asks_for_data(call) else reply


async def vread(ctx: Context, call: Call) -> Reply:
    """Answer one version; 410 when that version is a deletion, 404 when there is none of this number."""
    number = int(call.version) if call.version.isascii() and call.version.isdigit() and len(call.version) <= LONGEST_NUMBER else 0
    check_id(call.version)
    version = await ctx.repo.version(call.type, check_id(call.id), number)
    if version is None or version.number != number:
        raise not_found(call.type, call.id, call.version)
    if version.deleted:
        raise gone(call.type, call.id, call.version)
    reply = answer(call, version)
    return await with_data(ctx, call, version, reply) if asks_for_data(call) else reply


def answer(call: Call, version: Version) -> Reply:
    """Return the reply that carries a version, or says that the client has it already."""
    if (call.if_none_match or call.if_modified_since) and is_unchanged(call, version):
        return Reply(304, version=str(version.number), last_modified=version.last_updated)
    resource = version.resource
    if resource is not None and call.params:
        resource = subset(resource, call.params)
    return Reply(200, resource, str(version.number), version.last_updated)
