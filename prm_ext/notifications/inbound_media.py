"""The files of a message: each becomes a DocumentReference that its Communication leads to, through the door of media.

Until a file has been fetched, and where it can not be had or is not taken, an empty attachment says so in its place.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import structlog

from fhir_server.exchange import Call, Context, Params, Resource
from fhir_server.fhir.outcome import FhirError, unavailable
from fhir_server.store.database import Document
from prm_ext.media.service import Incoming, Media
from prm_ext.notifications import codes
from prm_ext.notifications.fetching import FileUnavailableError, PostedFile, TwilioFile

STATE: Final = "urn:prm:StructureDefinition:notification-media"
"""On an attachment without content, `valueCode`: `waiting`, `rejected`, `unavailable`."""
TRIES: Final = 12
"""How often a file is asked for, within about an hour."""
_ATTEMPTS: Final = 20
_FAILED: Final = 500
_TOO_LATE: Final = frozenset({409, 412})
_TEXTS: Final = {
    "waiting": "A file that is being fetched",
    "rejected": "A file that was not taken",
    "unavailable": "A file that could not be fetched",
}


def waiting(place: int, mime: str) -> Resource:
    """Return the payload that stands for a file that is still to be fetched."""
    return _note("waiting", place, mime)


def _note(state: str, place: int, mime: str, why: str = "") -> Resource:
    title = f"{_TEXTS[state]} ({why})" if why else _TEXTS[state]
    found: Resource = {"id": f"file-{place}", "extension": [{"url": STATE, "valueCode": state}], "title": title}
    return {"contentAttachment": found | ({"contentType": mime} if mime else {})}


FileOf = Callable[[int], TwilioFile | PostedFile]
"""Returns a file of a message by its place."""


async def fetch(ctx: Context, file_of: FileOf, found: Document, communication: str) -> bool:
    """Fetch the files of a message that are not there yet; return whether some have to be asked for again."""
    again = False
    for place, file in enumerate(found["media"]):
        resource = await _read(ctx, communication)
        if resource is None:
            return False
        if not any(_stands_for(one, place) for one in resource.get("payload", ())):
            continue
        payload = await _payload(ctx, file_of(place), found, resource, place, file)
        again |= payload is None
        if payload is not None:
            await _replace(ctx, communication, place, payload)
    return again


async def _payload(
    ctx: Context,
    source: TwilioFile | PostedFile,
    found: Document,
    communication: Resource,
    place: int,
    file: Mapping[str, str],
) -> Resource | None:
    """Return what a file has become; None: it has to be asked for again."""
    mime, last = file["mime"], found["tries"] >= TRIES
    try:
        document = await _document(ctx, source, found, communication, file)
    except FileUnavailableError as error:
        structlog.get_logger().info("a file can not be fetched", message=found["_id"], reason=str(error))
        return None if error.passing and not last else _note("unavailable", place, mime)
    except FhirError as error:
        if error.status >= _FAILED:
            return None if not last else _note("unavailable", place, mime)
        return _note("rejected", place, mime, error.issues[0].code if error.issues else "")
    return {"contentReference": {"reference": f"DocumentReference/{document['id']}"}}


async def _document(
    ctx: Context, source: TwilioFile | PostedFile, found: Document, communication: Resource, file: Mapping[str, str]
) -> Resource:
    """Return the document of a file, which may be there from an attempt before."""
    system, name = codes.PROVIDER + found["provider"], urlsplit(file["url"]).path.rpartition("/")[2]
    asked: Params = (("identifier", f"{system}|{name}"), ("related", f"Communication/{communication['id']}"))
    reply = await ctx.dispatch(ctx, Call("search-type", "DocumentReference", params=asked))
    entries = [one for one in (reply.resource or {}).get("entry", ()) if one["search"]["mode"] == "match"]
    if entries:
        present: Resource = entries[0]["resource"]
        return present
    async with source as chunks:
        mime = file["mime"] or source.mime
        incoming = Incoming(
            name=file.get("name", ""),
            mime=mime,
            source="attachment",
            category="voice_message" if mime.startswith("audio/") else None,
            patient=communication.get("subject", {}).get("reference", "").removeprefix("Patient/") or None,
            identifier={"system": system, "value": name},
            related=f"Communication/{communication['id']}",
        )
        return (await Media(ctx).receive(chunks, incoming))[0]


async def _replace(ctx: Context, communication: str, place: int, payload: Resource) -> None:
    for _ in range(_ATTEMPTS):
        resource = await _read(ctx, communication)
        if resource is None:
            return
        resource["payload"] = [payload if _stands_for(one, place) else one for one in resource.get("payload", ())]
        tag = f'W/"{resource["meta"]["versionId"]}"'
        try:
            await ctx.dispatch(ctx, Call("update", "Communication", communication, resource=resource, if_match=tag))
        except FhirError as error:
            if error.status not in _TOO_LATE:
                raise
        else:
            return
    raise unavailable(f"Others keep changing Communication/{communication}.")


def _stands_for(payload: Resource, place: int) -> bool:
    attachment = payload.get("contentAttachment", {})
    states = [one.get("valueCode") for one in attachment.get("extension", ()) if one.get("url") == STATE]
    return attachment.get("id") == f"file-{place}" and states == ["waiting"]


async def _read(ctx: Context, communication: str) -> Resource | None:
    """Return the Communication; None: somebody has deleted it."""
    try:
        return (await ctx.dispatch(ctx, Call("read", "Communication", communication))).resource
    except FhirError as error:
        if error.status not in (404, 410):
            raise
        return None
