"""What the product does with media, as calls of the engine: it has no data and no rules of its own.

`Media.receive` is the door for all that comes in: uploads, and what the channels of notifications receive.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fhir_server.blobs import Blobs, Claim, RejectedError
from fhir_server.exchange import Call, Context, Params
from fhir_server.fhir.outcome import conflict, not_supported
from fhir_server.operations.presign import content_of_call
from fhir_server.resources.binary import local_binary
from fhir_server.resources.document_reference import Document, store_document
from fhir_server.resources.rejections import record_rejection
from prm_ext.common.paging import Page, search
from prm_ext.media import mapping
from prm_ext.media.categories import CATEGORY_SYSTEM, SOURCE_SYSTEM

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is said of content that comes in."""

    name: str = ""
    mime: str = ""
    source: str = "upload"
    category: str | None = None
    patient: str | None = None
    replaces: str | None = None
    """The id of the document that this is a new version of."""
    identifier: Resource | None = None
    """What it is known by where it comes from."""
    related: str = ""
    """A reference to the message that it belongs to."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which media are listed."""

    patient: str = ""
    category: str = ""
    mime_type: str = ""
    source: str = ""
    date_from: str = ""
    date_to: str = ""


class Media:
    """The media of a tenant, for one request."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    @property
    def blobs(self) -> Blobs:
        """Where content is kept."""
        if self._ctx.blobs is None:
            raise not_supported("This server keeps no binary data apart.")
        return self._ctx.blobs

    async def receive(self, chunks: AsyncIterator[bytes], incoming: Incoming) -> tuple[Resource, bool]:
        """Keep content and make a document of it; return it, and whether the content was there already.

        Raises:
            FhirError: 413, 422 where it is not taken (which leaves an AuditEvent), 503, or what the document is refused for.
        """
        old = await self.get(incoming.replaces) if incoming.replaces else None
        try:
            received = await self.blobs.receive(self._ctx.tenant, chunks, Claim(incoming.mime))
        except RejectedError as error:
            await record_rejection(self._ctx, error, incoming.mime)
            raise
        template = mapping.template(source=incoming.source, category=incoming.category, patient=incoming.patient)
        if incoming.identifier:
            template["identifier"] = [incoming.identifier]
        if incoming.related:
            template["context"] = {"related": [{"reference": incoming.related}]}
        document = await store_document(self._ctx, Document(received.blob, incoming.name, template), old)
        return document, received.deduplicated

    async def get(self, id_: str) -> Resource:
        """Return a document."""
        return (await self._ctx.dispatch(self._ctx, Call("read", "DocumentReference", id_))).resource or {}

    async def flat(self, documents: Iterable[Resource]) -> list[dict[str, Any]]:
        """Return documents in their flat form."""
        found = list(documents)
        keys = await self.blobs.records.keys(self._ctx.tenant, {mapping.digest_of(one) for one in found} - {""})
        return [mapping.asset(one, self._ctx.tenant, keys) for one in found]

    async def page(self, wanted: Wanted, *, limit: int, cursor: str) -> Page:
        """Return a page, the newest first."""
        params: list[tuple[str, str]] = [("status", "current"), ("_sort", "-date")]
        for name, value in (
            ("patient", f"Patient/{wanted.patient}" if wanted.patient else ""),
            ("category", f"{CATEGORY_SYSTEM}|{wanted.category}" if wanted.category else ""),
            ("contenttype", wanted.mime_type),
            ("_tag", f"{SOURCE_SYSTEM}|{wanted.source}" if wanted.source else ""),
            ("date", f"ge{wanted.date_from}" if wanted.date_from else ""),
            ("date", f"le{wanted.date_to}" if wanted.date_to else ""),
        ):
            if value:
                params.append((name, value))
        asked: Params = tuple(params)
        return await search(self._ctx, "DocumentReference", asked, limit=limit, cursor=cursor)

    async def url(self, id_: str, seconds: int | None = None) -> dict[str, Any]:
        """Return a URL that gives the content to whoever has it, with what is at its end."""
        content = await content_of_call(self._ctx, Call("operation", "DocumentReference", id_, operation="presign"))
        blob = content.blob
        if blob is None:
            raise not_supported("The content is small and in the document itself; read it there.", status=422)
        origin = self._ctx.base_url.removesuffix("/fhir")
        url, expires = await self.blobs.url(blob, origin, seconds=seconds, name=content.name, mime=content.mime)
        mime = content.mime or blob.mime
        return {"url": url, "expires_at": expires, "mime_type": mime, "size_bytes": blob.size, "filename": content.name or None}

    async def delete(self, id_: str) -> None:
        """Delete a document and the Binary that it alone leads to; both keep their history, and the content for a while."""
        document = await self.get(id_)
        own = []
        for content in document.get("content", ()):
            binary = local_binary(self._ctx, content.get("attachment", {}))
            if binary and await self._is_of(binary, id_):
                own.append(f"Binary/{binary}")
        entries = [{"request": {"method": "DELETE", "url": url}} for url in (f"DocumentReference/{id_}", *own)]
        await self._transact(entries)

    async def _is_of(self, binary: str, document: str) -> bool:
        version = await self._ctx.repo.current("Binary", binary)
        resource = version.resource if version is not None else None
        return bool(resource) and (resource or {}).get("securityContext", {}).get("reference") == f"DocumentReference/{document}"

    async def attach_to_patient(self, id_: str, patient: str, category: str | None) -> Resource:
        """Say whom a document is about, and of which category it is.

        Raises:
            FhirError: 404 or 410 without the patient; 409, it is about another.
        """
        await self._ctx.dispatch(self._ctx, Call("read", "Patient", patient))
        document = await self.get(id_)
        present = mapping.patient_of(document)
        if present not in (None, patient):
            raise conflict(f"The document {id_} is about Patient/{present} already.")
        document["subject"] = {"reference": f"Patient/{patient}"}
        return (await self._write([mapping.with_category(document, category)]))[0]

    async def attach_to_message(self, id_: str, message: str) -> Resource:
        """Put a document into the payload of a Communication."""

        def change(communication: Resource, reference: Resource) -> None:
            payload = communication.setdefault("payload", [])
            if not any(one.get("contentReference", {}).get("reference") == reference["reference"] for one in payload):
                payload.append({"contentReference": reference})

        return await self._attach(id_, "Communication", message, change)

    async def attach_to_appointment(self, id_: str, appointment: str) -> Resource:
        """Put a document among the supporting information of an Appointment."""

        def change(found: Resource, reference: Resource) -> None:
            information = found.setdefault("supportingInformation", [])
            if not any(one.get("reference") == reference["reference"] for one in information):
                information.append(reference)

        return await self._attach(id_, "Appointment", appointment, change)

    async def _attach(self, id_: str, type_: str, other: str, change: Callable[[Resource, Resource], None]) -> Resource:
        document = await self.get(id_)
        found = (await self._ctx.dispatch(self._ctx, Call("read", type_, other))).resource or {}
        change(found, {"reference": f"DocumentReference/{id_}"})
        related = document.setdefault("context", {}).setdefault("related", [])
        if not any(one.get("reference") == f"{type_}/{other}" for one in related):
            related.append({"reference": f"{type_}/{other}"})
        return (await self._write([document, found]))[0]

    async def _write(self, resources: list[Resource]) -> list[Resource]:
        """Store new versions of resources together, as long as nobody else has changed them."""
        entries = [
            {
                "resource": one,
                "request": {
                    "method": "PUT",
                    "url": f"{one['resourceType']}/{one['id']}",
                    "ifMatch": f'W/"{one["meta"]["versionId"]}"',
                },
            }
            for one in resources
        ]
        await self._transact(entries)
        return [await self.get(one["id"]) if one["resourceType"] == "DocumentReference" else one for one in resources]

    async def _transact(self, entries: list[dict[str, Any]]) -> None:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        await self._ctx.dispatch(self._ctx, Call("transaction", resource=bundle))
