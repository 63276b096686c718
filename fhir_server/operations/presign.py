"""$presign, $attachment and $thumbnail: the content of a resource, by a URL or itself.

docs/media.md
"""

from typing import Any

from fhir_server.exchange import Body, Call, Context, Reply, Resource
from fhir_server.fhir.outcome import FhirError, Issue, bad_request
from fhir_server.interactions.reading import living
from fhir_server.operations.parameters import given, number, parameters
from fhir_server.resources.binary import Content, content_of, held
from fhir_server.security.views import shown
from fhir_server.store.versions import instant


async def presign(ctx: Context, call: Call) -> Reply:
    """Answer a URL that gives the content of a Binary or DocumentReference to whoever has it, for a time.

    Raises:
        FhirError: 404 or 410 for the resource or its content, 503 while it is not scanned, 400 for the parameters.
    """
    asked = given(call, {"seconds": "valueInteger", "content": "valueInteger"})
    found = await content_of_call(ctx, call, number(asked, "content") or 0)
    if found.blob is None or ctx.blobs is None:
        raise FhirError(422, (Issue("not-supported", "The content is small and in the resource itself; read it there."),))
    origin = ctx.base_url.removesuffix("/fhir")
    seconds = number(asked, "seconds")
    url, expires = await ctx.blobs.url(found.blob, origin, seconds=seconds, name=found.name, mime=found.mime)
    body = parameters(
        url=("valueUrl", url),
        expires=("valueInstant", instant(expires)),
        contentType=("valueCode", found.mime or found.blob.mime),
        size=("valueDecimal", found.blob.size),
        sha256=("valueString", found.blob.sha256),
    )
    return Reply(200, body)


async def attachment(ctx: Context, call: Call) -> Reply:
    """Answer the bytes of an attachment that is kept beside its resource, named by its SHA-256."""
    asked = given(call, {"sha256": "valueString"})
    sha256 = asked.get("sha256", "")
    if not sha256:
        raise bad_request("$attachment needs the parameter sha256.", code="required")
    resource = await _resource(ctx, call)
    return Reply(200, body=(await content_of(ctx, held(resource, sha256), resource["resourceType"])).body(ctx))


async def thumbnail(ctx: Context, call: Call) -> Reply:
    """Answer a small JPEG that shows what the content of a Binary or DocumentReference looks like; 404 where there is none."""
    asked = given(call, {"content": "valueInteger"})
    found = await content_of_call(ctx, call, number(asked, "content") or 0)
    data = await ctx.blobs.records.thumbnail(ctx.tenant, found.blob.sha256) if found.blob and ctx.blobs else b""
    if not data or found.blob is None:
        raise FhirError(404, (Issue("not-found", f"There is no picture of the content of {call.type}/{call.id}."),))
    body: Body = Content(None, "image/jpeg", "thumbnail.jpg", data).body(ctx)
    return Reply(200, body=body)


async def content_of_call(ctx: Context, call: Call, place: int = 0) -> Content:
    """Return the content that a call about a Binary or DocumentReference is about; of a document that at a place, from 0.

    Raises:
        FhirError: 404, 410 or 503 for the resource or its content, 400 for the place.
    """
    resource = await _resource(ctx, call)
    if call.type == "Binary":
        return await content_of(ctx, resource, "Binary")
    contents: list[Any] = resource.get("content", [])
    if not 0 <= place < len(contents):
        raise bad_request(f"The document has {len(contents)} contents, counted from 0; there is no {place}.", code="value")
    return await content_of(ctx, contents[place].get("attachment", {}), f"DocumentReference.content[{place}].attachment")


async def _resource(ctx: Context, call: Call) -> Resource:
    resource = (await living(ctx, call.type, call.id)).resource or {}
    # The content of an element that is hidden is hidden too.
    return resource if ctx.access is None else shown(ctx.access, resource)
