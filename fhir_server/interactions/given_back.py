"""Reading binary data that is kept beside the resources: https://hl7.org/fhir/R4/binary.html#rest, docs/media.md."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from fhir_server.blobs import Blob, Blobs, DamagedError
from fhir_server.blobs.elements import BLOB, digest_of, digests, inlined
from fhir_server.exchange import Body, Call, Context, Reply, Resource
from fhir_server.fhir.codec import decode
from fhir_server.fhir.outcome import FhirError, Issue, bad_request
from fhir_server.security.views import shown
from fhir_server.store.versions import Version

INLINE: Final = "_inline"
"""The parameter of a read that asks for data within the resource."""


WHOLE: Final = frozenset({"read", "vread", "create", "update", "patch", "history-instance"})
"""The interactions whose answers are about one resource, and hold its data where that is not much."""
_MARK: Final = f'"{BLOB}"'.encode()


def asks_for_data(call: Call) -> bool:
    """Tell whether the reply to a read needs bytes that are kept beside the resource."""
    return call.type == "Binary" or any(name == INLINE for name, _ in call.params)


async def with_little_data(ctx: Context, call: Call, reply: Reply) -> Reply:
    """Return the reply to an interaction with one resource, with the data in it, where nothing was said of that.

    https://hl7.org/fhir/R4/datatypes.html#Attachment. What is more than `inline_default_bytes` stays beside it.
    """
    settled = call.interaction in ("read", "vread") and asks_for_data(call)
    if ctx.blobs is None or call.raw or settled:
        return reply
    if reply.encoded is not None:
        if _MARK not in reply.encoded:
            return reply
        reply = replace(reply, resource=decode(reply.encoded), encoded=None)
    if reply.resource is None:
        return reply
    if call.interaction != "history-instance":
        return replace(reply, resource=await _little(ctx, ctx.blobs, reply.resource))
    entries = [
        entry | {"resource": await _little(ctx, ctx.blobs, entry["resource"])} if "resource" in entry else entry
        for entry in reply.resource.get("entry", ())
    ]
    return replace(reply, resource=reply.resource | {"entry": entries}) if entries else reply


async def _little(ctx: Context, blobs: Blobs, resource: Resource) -> Resource:
    wanted = digests(resource)
    if not wanted:
        return resource
    try:
        found = {sha256: await blobs.served(ctx.tenant, sha256) for sha256 in sorted(wanted)}
    except FhirError:
        return resource  # It has gone, or is not scanned yet: the reference stays.
    if sum(blob.size for blob in found.values()) > ctx.settings.inline_default_bytes:
        return resource

    async def whole(sha256: str) -> bytes:
        return await undamaged(blobs, found[sha256])

    return await inlined(resource, whole)


async def with_data(ctx: Context, call: Call, version: Version, reply: Reply) -> Reply:
    """Return the reply with what was asked for: the resource with its data in it, or the bytes themselves.

    Raises:
        FhirError: 410 where the bytes of an old version have gone, 413 where they are too many for a resource, 400.
    """
    if reply.resource is None or version.resource is None:
        return reply
    if call.raw and call.type == "Binary":
        return await _raw(ctx, version.resource, reply)
    wanted = [value for name, value in call.params if name == INLINE]
    if any(value not in ("true", "false") for value in wanted):
        raise bad_request(f"{INLINE} is true or false, not {wanted[0]!r}.", code="value")
    if ctx.blobs is None or "false" in wanted:
        return reply
    blobs = ctx.blobs

    async def whole(sha256: str) -> bytes:
        return await undamaged(blobs, await blobs.served(ctx.tenant, sha256))

    return Reply(
        reply.status, await inlined(reply.resource, whole), reply.version, reply.last_modified, reply.location, reply.issues
    )


async def undamaged(blobs: Blobs, blob: Blob) -> bytes:
    """Return all bytes of a blob."""
    try:
        return await blobs.whole(blob)
    except DamagedError:
        raise damaged() from None


def damaged() -> FhirError:
    """500: bytes have been lost or altered."""
    text = "The content is damaged in the store. `fhir-server blobs verify` says more."
    return FhirError(500, (Issue("exception", text),))


async def _raw(ctx: Context, resource: Resource, reply: Reply) -> Reply:
    if ctx.access is not None:
        resource = shown(ctx.access, resource)
    sha256, mime = digest_of(resource), resource.get("contentType", "application/octet-stream")
    if sha256 and ctx.blobs is not None:
        body = body_of(ctx.blobs, await ctx.blobs.served(ctx.tenant, sha256), mime)
    else:
        body = _in_memory(base64.b64decode(resource.get("data", "")), mime, f"{reply.version}-{resource.get('id', '')}")
    return Reply(reply.status, None, reply.version, reply.last_modified, body=body)


def body_of(blobs: Blobs, blob: Blob, mime: str = "", name: str = "") -> Body:
    """Return the body that sends a blob."""
    return Body(mime or blob.mime, blob.size, blob.sha256, lambda start, stop: blobs.read(blob, start, stop), name)


def _in_memory(data: bytes, mime: str, tag: str) -> Body:
    async def read(start: int, stop: int) -> AsyncIterator[bytes]:
        yield data[start:stop]

    return Body(mime, len(data), tag, read)
