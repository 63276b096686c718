"""`/api/v1/prm/media`: the routes, each a translation of HTTP into a call of the service."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from fhir_server.fhir.outcome import bad_request, unprocessable
from fhir_server.store.versions import instant
from prm_ext.common.context import CurrentContext
from prm_ext.common.problems import RESPONSES, ProblemRoute
from prm_ext.common.routing import PrefixedRouter
from prm_ext.media import PREFIX, uploads
from prm_ext.media.categories import Category, Source
from prm_ext.media.multipart import Form
from prm_ext.media.schemas import (
    Asset,
    AssetList,
    AttachToAppointment,
    AttachToMessage,
    AttachToPatient,
    Download,
    Id,
    UploadBegin,
    Uploaded,
    UploadState,
)
from prm_ext.media.service import Incoming, Media, Wanted

router = PrefixedRouter(PREFIX, route_class=ProblemRoute, responses=RESPONSES, tags=["Media"])

_FIELDS: dict[str, TypeAdapter[Any]] = {
    "patient_id": TypeAdapter(Id),
    "category": TypeAdapter(Category),
    "source": TypeAdapter(Source),
    "title": TypeAdapter(str),
    "replaces": TypeAdapter(Id),
}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The last part of the form."},
                        "patient_id": {"type": "string"},
                        "category": {"type": "string", "description": "lab_result, imaging, insurance_card …"},
                        "source": {"type": "string", "default": "upload"},
                        "title": {"type": "string", "description": "In place of the name of the file."},
                        "replaces": {"type": "string", "description": "Id of the media that this is a new version of."},
                    },
                }
            }
        },
    }
}


@router.post("/upload", status_code=201, summary="Upload a file", openapi_extra=_FORM)
async def upload(ctx: CurrentContext, request: Request, response: Response) -> Uploaded:
    """Upload a file by a form; its other fields come before the file. Where it was there already, nothing is stored."""
    media = Media(ctx)
    fields: dict[str, str] = {}
    async for part in Form(request.headers.get("content-type", ""), _body(request)).parts():
        if part.filename is None:
            fields[part.name] = _field(part.name, await part.text())
            continue
        incoming = Incoming(
            fields.get("title") or part.filename,
            part.mime,
            fields.get("source", "upload"),
            fields.get("category"),
            fields.get("patient_id"),
            fields.get("replaces"),
        )
        document, deduplicated = await media.receive(part.data(), incoming)
        response.headers["Location"] = f"/api/v1/prm/media/{document['id']}"
        link = await media.url(document["id"])
        flat = (await media.flat([document]))[0]
        return Uploaded(**flat, url=link["url"], url_expires_at=instant(link["expires_at"]), deduplicated=deduplicated)
    raise bad_request("The form has no file: send one part with a file name, after all other fields.", code="required")


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise bad_request("The connection was closed before the whole body had arrived.", code="incomplete") from None


def _field(name: str, text: str) -> str:
    adapter = _FIELDS.get(name)
    if adapter is None:
        raise unprocessable(f"{name!r} is no field of an upload; there are: file, {', '.join(_FIELDS)}.", code="invalid")
    try:
        found: str = adapter.validate_python(text)
    except ValidationError as error:
        raise unprocessable(f"{name}: {text!r}: {error.errors()[0]['msg']}.", code="value") from None
    return found


@router.get("", summary="List media")
@router.get("/", include_in_schema=False)
async def list_media(
    ctx: CurrentContext,
    patient: Annotated[str, Query(description="Id of the patient.")] = "",
    category: Category | None = None,
    mime_type: Annotated[str, Query(description="Such as `image/png`.")] = "",
    source: Source | None = None,
    date_from: Annotated[str, Query(description="Not before this date.")] = "",
    date_to: Annotated[str, Query(description="Not after this date.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(description="`next_cursor` of the page before.")] = "",
) -> AssetList:
    """List media, the newest first."""
    media = Media(ctx)
    wanted = Wanted(patient, category or "", mime_type, source or "", date_from, date_to)
    page = await media.page(wanted, limit=limit, cursor=cursor)
    items = [Asset(**one) for one in await media.flat(page.resources)]
    return AssetList(items=items, next_cursor=page.next or None, total=page.total)


@router.post("/attach-to-message", summary="Attach to a message")
async def attach_to_message(ctx: CurrentContext, body: AttachToMessage) -> Asset:
    """Put media into the payload of a Communication."""
    media = Media(ctx)
    return await _asset(media, await media.attach_to_message(body.media_id, body.message_id))


@router.post("/attach-to-patient", summary="Attach to a patient")
async def attach_to_patient(ctx: CurrentContext, body: AttachToPatient) -> Asset:
    """Say whom media are about, and of which category they are."""
    media = Media(ctx)
    return await _asset(media, await media.attach_to_patient(body.media_id, body.patient_id, body.category))


@router.post("/attach-to-appointment", summary="Attach to an appointment")
async def attach_to_appointment(ctx: CurrentContext, body: AttachToAppointment) -> Asset:
    """Put media among the supporting information of an Appointment."""
    media = Media(ctx)
    return await _asset(media, await media.attach_to_appointment(body.media_id, body.appointment_id))


@router.post("/uploads", status_code=201, summary="Begin an upload in parts")
async def begin_upload(ctx: CurrentContext, body: UploadBegin) -> UploadState:
    """Begin an upload of a large file: each part has a URL that takes it, without a token."""
    return await uploads.begin(ctx, body)


@router.get("/uploads/{upload_id}", summary="Look how far an upload is")
async def upload_state(ctx: CurrentContext, upload_id: str) -> UploadState:
    """Tell which parts are missing."""
    return await uploads.state(ctx, upload_id)


@router.put("/uploads/{upload_id}/parts/{number}", status_code=204, summary="Send a part")
async def put_part(ctx: CurrentContext, upload_id: str, number: int, request: Request) -> None:
    """Send a part through this server; it replaces what was sent as this part before."""
    found = await Media(ctx).blobs.uploads.find(ctx.tenant, upload_id, ctx.principal.id)
    await Media(ctx).blobs.uploads.put_part(found, number, _body(request))


@router.post("/uploads/{upload_id}/complete", status_code=201, summary="Complete an upload")
async def complete_upload(ctx: CurrentContext, upload_id: str) -> Asset:
    """Make media of an upload, after its size, its SHA-256, its type and a scan for viruses; asked again, answer the same."""
    return await _asset(Media(ctx), await uploads.complete(ctx, upload_id))


@router.delete("/uploads/{upload_id}", status_code=204, summary="Abort an upload")
async def abort_upload(ctx: CurrentContext, upload_id: str) -> None:
    """Remove an upload and what has been sent of it."""
    await uploads.abort(ctx, upload_id)


@router.get("/{media_id}", summary="Read media")
async def read(ctx: CurrentContext, media_id: str) -> Asset:
    """Read what is known of a file."""
    media = Media(ctx)
    return await _asset(media, await media.get(media_id))


@router.get("/{media_id}/download", summary="Get a URL of the content")
async def download(
    ctx: CurrentContext,
    media_id: str,
    redirect: Annotated[bool, Query(description="Lead to the content instead of telling where it is.")] = False,
    seconds: Annotated[int | None, Query(ge=1, description="How long the URL is good.")] = None,
) -> Any:
    """Return a URL that gives the content to whoever has it, until it expires."""
    found = await Media(ctx).url(media_id, seconds)
    if redirect:
        return RedirectResponse(found["url"], 302, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
    return Download(**found | {"expires_at": instant(found["expires_at"])})


@router.delete("/{media_id}", status_code=204, summary="Delete media")
async def delete(ctx: CurrentContext, media_id: str) -> None:
    """Delete media softly: they are no longer found, keep their history, and their content for a while."""
    await Media(ctx).delete(media_id)


async def _asset(media: Media, document: dict[str, Any]) -> Asset:
    return Asset(**(await media.flat([document]))[0])
