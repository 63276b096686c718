"""What a message says: made from its template, or as its request has it.

https://hl7.org/fhir/R4/communicationrequest-definitions.html#CommunicationRequest.payload
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.blobs import Blob
from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, unprocessable
from fhir_server.fhir.reference import parse
from fhir_server.interactions.reading import living
from fhir_server.resources.binary import Content as Bytes
from fhir_server.resources.binary import content_of as bytes_of
from prm_ext.notifications import codes
from prm_ext.notifications.channels.channel import Channel, Media
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates import About, render
from prm_ext.notifications.templates.html import to_html
from prm_ext.notifications.templates.values import clean

RENDERED: Final = "urn:prm:StructureDefinition:notification-rendered"
"""On `payload`, `valueString`: SHA-256 of a text that `$apply` made from a template. As long as the text is that one, it is
made again when it is sent; once somebody has changed it, it is sent as it is."""
WINDOW: Final = timedelta(hours=24)
"""How long after somebody wrote by WhatsApp any text may be sent to them."""
_LARGEST: Final[Mapping[str, int]] = {"whatsapp": 16 * 2**20, "email": 18 * 2**20}
"""Bytes of a file that a channel carries; the others get a link."""
_WHATSAPP: Final = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/ogg",
        "audio/amr",
        "audio/3gpp",
        "audio/aac",
        "audio/mpeg",
        "audio/mp4",
        "video/mp4",
        "application/pdf",
    }
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is said over one channel, in one language."""

    subject: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    media: tuple[Media, ...] = ()
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    template: str = ""
    """`url|version`."""
    language: str = ""
    """BCP 47; of the text."""


def needs_template(channel: Channel, last_inbound: datetime | None, now: datetime) -> bool:
    """Tell whether only an approved template may be sent, and no other text: WhatsApp, outside of its window.

    https://www.twilio.com/docs/whatsapp/key-concepts
    """
    return channel == "whatsapp" and (last_inbound is None or now - last_inbound >= WINDOW)


async def content_of(
    ctx: Context,
    settings: NotificationSettings,
    request: Resource,
    recipient: Resource | None,
    channel: Channel,
    language: str,
) -> Content:
    """Return what a CommunicationRequest says to a recipient over a channel; `settings` are those of the tenant.

    Raises:
        FhirError: 422, nothing can be said: the template is not there or lacks a value, a file is not there, or there is
            no content. 410 or 503 for a file that is not given out (any more, or yet).
    """
    canonical = next(iter(_extensions(request, codes.INSTANTIATES, "valueCanonical")), "")
    payload = request.get("payload", ())
    own = [one["contentString"] for one in payload if "contentString" in one and not _is_rendered(one)]
    media, links = await _files(ctx, settings, payload, channel)
    given = next(iter(_extensions(request, codes.SUBJECT, "valueString")), "")
    if canonical and not own:
        made = await _rendered(ctx, settings, request, recipient, channel, language, canonical)
        return _with(made, clean(given) if channel == "email" else "", media, links, channel)
    body = "\n".join([*(clean(text, lines=True) for text in own), *links]).strip()
    if not body and not media:
        raise unprocessable("The request has no payload and no template: there is nothing to send.", code="required")
    spoken = request.get("language") or language
    html = to_html(body, spoken or "en", clean(given)) if channel == "email" else ""
    return Content(subject=clean(given), body=body, html=html, media=media, template=canonical, language=spoken)


async def _rendered(
    ctx: Context,
    settings: NotificationSettings,
    request: Resource,
    recipient: Resource | None,
    channel: Channel,
    language: str,
    canonical: str,
) -> Content:
    about = About.of_request(request, recipient)
    made = await render(
        ctx, settings, canonical, channel=channel, language=language, variables=variables_of(request), about=about
    )
    return Content(
        subject=made.subject,
        body=made.body,
        html=made.html,
        content_sid=made.content_sid,
        content_variables=made.content_variables,
        template=made.template,
        language=made.language,
    )


def variables_of(request: Resource) -> dict[str, str]:
    """Return the values that a request gives to the variables of its template."""
    extension: Resource = next((one for one in request.get("extension", ()) if one.get("url") == codes.VARIABLES), {})
    return {one["url"]: str(one["valueString"]) for one in extension.get("extension", ()) if "valueString" in one}


def rendered_mark(text: str) -> Resource:
    """Return the extension that says that a text was made from a template."""
    return {"url": RENDERED, "valueString": hashlib.sha256(text.encode()).hexdigest()}


def _is_rendered(payload: Resource) -> bool:
    mark = rendered_mark(payload["contentString"])["valueString"]
    return mark in _extensions(payload, RENDERED, "valueString")


def _extensions(node: Resource, url: str, member: str) -> list[str]:
    return [str(one[member]) for one in node.get("extension", ()) if one.get("url") == url and member in one]


def _with(made: Content, subject: str, media: tuple[Media, ...], links: list[str], channel: Channel) -> Content:
    """Return a content with files, and with the subject that the request itself names."""
    if not (subject or media or links):
        return made
    body = "\n".join([made.body, *links])
    html = made.html
    if links and channel == "email":
        html = html.replace("</body>", to_html("\n".join(links), made.language).partition("<body>")[2].partition("</html>")[0])
    return Content(
        subject=subject or made.subject,
        body=body,
        html=html,
        media=media,
        # An approved template has no place for files; within the window the text goes with them.
        content_sid=made.content_sid,
        content_variables=made.content_variables,
        template=made.template,
        language=made.language,
    )


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    mime: str
    blob: Blob | None = None
    url: str = ""
    """Of what is kept elsewhere."""


async def _files(
    ctx: Context, settings: NotificationSettings, payload: Any, channel: Channel
) -> tuple[tuple[Media, ...], list[str]]:
    """Return the files of a payload that the channel carries, and lines with links for the others."""
    media, links = [], []
    for one in payload:
        for file in await _files_of(ctx, one):
            carried = _is_carried(file, channel)
            url = await _url(ctx, settings, file, longest=not carried)
            if carried:
                media.append(Media(url, file.mime, file.name))
            else:
                links.append(f"{file.name}: {url}" if file.name else url)
    return tuple(media), links


async def _files_of(ctx: Context, payload: Resource) -> list[_File]:
    if "contentAttachment" in payload:
        return [await _of_attachment(ctx, payload["contentAttachment"])]
    reference = payload.get("contentReference", {}).get("reference", "")
    target = parse(reference, ctx.base_url).target
    if not reference or target is None:
        return []
    resource = (await living(ctx, *target)).resource or {}
    if target[0] == "Binary":
        return [await _of_bytes(ctx, await bytes_of(ctx, resource, reference))]
    if target[0] == "DocumentReference":
        return [await _of_attachment(ctx, one.get("attachment", {})) for one in resource.get("content", ())]
    if target[0] == "Media":
        return [await _of_attachment(ctx, resource.get("content", {}))]
    raise unprocessable(f"{target[0]} can not be sent; a DocumentReference, a Binary or Media can.", code="not-supported")


async def _of_attachment(ctx: Context, attachment: Resource) -> _File:
    try:
        return await _of_bytes(ctx, await bytes_of(ctx, attachment, "attachment"))
    except FhirError as error:
        url = str(attachment.get("url", ""))
        if error.status == 404 and url.startswith(("https://", "http://")):  # noqa: PLR2004 -- it is not kept here
            return _File(clean(attachment.get("title", "")), attachment.get("contentType", ""), url=url)
        raise


async def _of_bytes(ctx: Context, found: Bytes) -> _File:
    blob = found.blob
    if blob is None and ctx.blobs is not None:
        # What stands in a resource has no address; nobody refers to what is kept for one, so it goes again.
        blob = (await ctx.blobs.receive_bytes(ctx.tenant, found.data, found.mime)).blob
    if blob is None:
        raise unprocessable("This server keeps no files apart, so a message can have none.", code="not-supported")
    return _File(clean(found.name), found.mime or blob.mime, blob)


def _is_carried(file: _File, channel: Channel) -> bool:
    if channel not in _LARGEST:
        return False
    if file.blob is None:
        # An email would carry what this server has fetched from wherever the request says.
        return channel == "whatsapp" and file.url.startswith("https://") and file.mime in _WHATSAPP
    return file.blob.size <= _LARGEST[channel] and (channel != "whatsapp" or file.mime in _WHATSAPP)


async def _url(ctx: Context, settings: NotificationSettings, file: _File, *, longest: bool) -> str:
    if file.blob is None or ctx.blobs is None:
        return file.url
    origin = settings.public_base(ctx) or ctx.base_url.removesuffix("/fhir")
    seconds = ctx.settings.blob_url_max_seconds if longest else None
    return (await ctx.blobs.url(file.blob, origin, seconds=seconds, name=file.name, mime=file.mime))[0]
