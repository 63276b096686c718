"""Uploads of large files in parts: $initiate-upload, $upload-status, $complete-upload, $abort-upload of DocumentReference.

docs/media.md

The document exists, and is current, only after its content is whole, as announced, of a type that is taken, and scanned.
"""

import re
from typing import Any, Final

from fhir_server.blobs import Blobs, Claim, RejectedError
from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.blobs.uploads import Upload
from fhir_server.exchange import Call, Context, Reply, Resource
from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.outcome import bad_request, conflict, invalid_resource, not_supported
from fhir_server.fhir.validate import validate
from fhir_server.operations.parameters import given, number, parameters
from fhir_server.resources.document_reference import Document, store_document
from fhir_server.resources.rejections import record_rejection
from fhir_server.store.versions import instant

SYSTEM: Final = "urn:fhir-server:upload"
"""Of the identifier by which a document is known to come from an upload."""
SHOWN_PARTS: Final = 1000
_INITIATE: Final = {
    "name": "valueString",
    "contentType": "valueCode",
    "size": "valueDecimal",
    "sha256": "valueString",
    "document": "resource",
}
_SHA256: Final = re.compile("[0-9a-f]{64}")


async def initiate_upload(ctx: Context, call: Call) -> Reply:
    """Begin an upload: answer its id, the size of parts, and for each part the URL that takes it.

    Raises:
        FhirError: 400 for the parameters or an invalid `document`, 413 for a size above the limit.
    """
    blobs = _blobs(ctx)
    asked = given(call, _INITIATE)
    sha256 = str(asked.get("sha256", "")).lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise bad_request(f"sha256: {sha256!r} is not the hexadecimal SHA-256 of something.", code="value")
    template = asked.get("document")
    if template is not None:
        _check_template(template)
    claim = Claim(str(asked.get("contentType", "")), number(asked, "size"), sha256)
    details = {"document": encode(template).decode() if template is not None else ""}
    upload = await blobs.uploads.begin(ctx.tenant, ctx.principal.id, claim, name=str(asked.get("name", "")), details=details)
    return Reply(201, await _answer(ctx, blobs, upload, {}))


async def upload_status(ctx: Context, call: Call) -> Reply:
    """Answer which parts of an upload are there, and where to send the others."""
    blobs = _blobs(ctx)
    upload = await _upload(ctx, blobs, call)
    return Reply(200, await _answer(ctx, blobs, upload, dict(await blobs.uploads.parts(upload))))


async def complete_upload(ctx: Context, call: Call) -> Reply:
    """Make a document of an upload and answer it; asked again, answer the same.

    Raises:
        FhirError: 409 while parts are missing or another request completes it; 400, 413 or 422 where the content is not what was
            announced or not taken, and then the upload is gone; 503 where scanner or store are away, and then it stays.
    """
    blobs = _blobs(ctx)
    upload = await _upload(ctx, blobs, call)
    if upload.done is None and not await blobs.uploads.claim(upload):
        upload = await _upload(ctx, blobs, call)
        if upload.done is None:
            raise conflict(f"The upload {upload.id!r} is being completed by another request.")
    if upload.done is not None:
        return await ctx.dispatch(ctx, Call("read", "DocumentReference", str(upload.done["id"])))
    try:
        resource = await _document_of(ctx, upload) or await _completed(ctx, blobs, upload)
    except RejectedError as error:
        await record_rejection(ctx, error, upload.claim.mime)
        await blobs.uploads.abort(upload)
        raise
    except BaseException:
        await blobs.uploads.release(upload)
        raise
    await blobs.uploads.note(upload, {"id": resource["id"]})
    return Reply(201, resource, resource["meta"]["versionId"], location=f"DocumentReference/{resource['id']}")


async def abort_upload(ctx: Context, call: Call) -> Reply:
    """Remove an upload and all that has been sent of it."""
    blobs = _blobs(ctx)
    await blobs.uploads.abort(await _upload(ctx, blobs, call))
    return Reply(204)


async def _completed(ctx: Context, blobs: Blobs, upload: Upload) -> Resource:
    received = await blobs.uploads.complete(upload)
    text = str(upload.details.get("document", ""))
    template: dict[str, Any] = decode(text.encode()) if text else {}
    template["identifier"] = [*template.get("identifier", ()), {"system": SYSTEM, "value": upload.id}]
    return await store_document(ctx, Document(received.blob, upload.name, template))


async def _document_of(ctx: Context, upload: Upload) -> Resource | None:
    """Return the document that an attempt has made which was cut short before it could say so."""
    params = (("identifier", f"{SYSTEM}|{upload.id}"), ("_count", "1"))
    found = await ctx.dispatch(ctx, Call("search-type", "DocumentReference", params=params))
    entries = [entry for entry in (found.resource or {}).get("entry", ()) if entry["search"]["mode"] == "match"]
    return entries[0]["resource"] if entries else None


async def _answer(ctx: Context, blobs: Blobs, upload: Upload, parts: dict[int, int]) -> Resource:
    origin = ctx.base_url.removesuffix("/fhir")
    found = parameters(
        upload=("valueString", upload.id),
        part_size=("valueInteger", PART_BYTES),
        parts=("valueInteger", upload.count),
        received=("valueDecimal", sum(parts.values())),
        expires=("valueInstant", instant(upload.expires)),
        resumable=("valueUrl", await blobs.upload_url(ctx.tenant, upload.id, origin, upload.expires)),
    )
    if upload.done is not None:
        found["parameter"].append({"name": "document", "valueReference": {"reference": f"DocumentReference/{upload.done['id']}"}})
        return found
    missing = [number for number in range(1, upload.count + 1) if parts.get(number) != upload.size_of(number)]
    for number_ in missing[:SHOWN_PARTS]:
        found["parameter"].append(await _part(ctx, blobs, upload, number_, origin))
    return found


async def _part(ctx: Context, blobs: Blobs, upload: Upload, number_: int, origin: str) -> dict[str, Any]:
    url = await blobs.uploads.part_url(upload, number_)
    if url is None:
        url = await blobs.upload_url(ctx.tenant, upload.id, origin, upload.expires, number_)
    values = (("number", "valueInteger", number_), ("size", "valueInteger", upload.size_of(number_)), ("url", "valueUrl", url))
    return {"name": "part", "part": [{"name": name, member: value} for name, member, value in values]}


async def _upload(ctx: Context, blobs: Blobs, call: Call) -> Upload:
    id_ = str(given(call, {"upload": "valueString"}).get("upload", ""))
    if not id_:
        raise bad_request(f"${call.operation} needs the parameter upload.", code="required")
    return await blobs.uploads.find(ctx.tenant, id_, ctx.principal.id)


def _check_template(template: Any) -> None:
    whole = {"status": "current"} | template | {"content": template.get("content") or [{"attachment": {"title": "x"}}]}
    if whole.get("resourceType") != "DocumentReference":
        raise bad_request("The parameter document is a DocumentReference.", "Parameters.parameter")
    if issues := validate(whole):
        raise invalid_resource(issues)


def _blobs(ctx: Context) -> Blobs:
    if ctx.blobs is None:
        raise not_supported("This server keeps no binary data apart.")
    return ctx.blobs
