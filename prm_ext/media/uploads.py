"""Uploads in parts, in the words of the product: the operations of DocumentReference below."""

from typing import Any

from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.exchange import Call, Context, Resource
from prm_ext.media import mapping
from prm_ext.media.schemas import Part, UploadBegin, UploadState


async def begin(ctx: Context, body: UploadBegin) -> UploadState:
    """Begin an upload."""
    template = mapping.template(source=body.source, category=body.category, patient=body.patient_id)
    values: list[dict[str, Any]] = [{"name": "size", "valueDecimal": body.size_bytes}, {"name": "document", "resource": template}]
    for name, member, value in (
        ("name", "valueString", body.filename),
        ("contentType", "valueCode", body.mime_type),
        ("sha256", "valueString", body.sha256),
    ):
        if value:
            values.append({"name": name, member: value})
    return _state(await _operation(ctx, "initiate-upload", {"resourceType": "Parameters", "parameter": values}))


async def state(ctx: Context, id_: str) -> UploadState:
    """Return how far an upload is."""
    call = Call("operation", "DocumentReference", operation="upload-status", params=(("upload", id_),), affects_state=False)
    return _state((await ctx.dispatch(ctx, call)).resource or {})


async def complete(ctx: Context, id_: str) -> Resource:
    """Complete an upload and return its document."""
    return await _operation(ctx, "complete-upload", _named(id_))


async def abort(ctx: Context, id_: str) -> None:
    """Abort an upload."""
    await _operation(ctx, "abort-upload", _named(id_))


def _named(id_: str) -> Resource:
    return {"resourceType": "Parameters", "parameter": [{"name": "upload", "valueString": id_}]}


async def _operation(ctx: Context, name: str, body: Resource) -> Resource:
    reply = await ctx.dispatch(ctx, Call("operation", "DocumentReference", operation=name, resource=body))
    return reply.resource or {}


def _state(parameters: Resource) -> UploadState:
    values: dict[str, Any] = {}
    missing = []
    for one in parameters["parameter"]:
        if one["name"] == "part":
            part = {item["name"]: _value(item) for item in one["part"]}
            missing.append(Part(number=part["number"], size_bytes=part["size"], url=part["url"]))
        else:
            values[one["name"]] = _value(one)
    document = values.get("document")
    return UploadState(
        id=values["upload"],
        part_size=PART_BYTES,
        part_count=values["parts"],
        received_bytes=int(values["received"]),
        missing=missing,
        resumable_url=values["resumable"],
        expires_at=values["expires"],
        media_id=document["reference"].rpartition("/")[2] if document else None,
    )


def _value(parameter: dict[str, Any]) -> Any:
    return next(value for name, value in parameter.items() if name != "name")
