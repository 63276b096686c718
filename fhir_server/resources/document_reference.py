"""DocumentReference: what its attachments say of their content, and how a document is made of an upload.

https://hl7.org/fhir/R4/documentreference.html
"""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from fhir_server.blobs import Blob
from fhir_server.blobs.elements import SHA256, copied, digest_of, reference
from fhir_server.blobs.receiving import fhir_hash
from fhir_server.exchange import Behaviour, Call, Context, Draft, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.resources.binary import local_binary
from fhir_server.store.versions import instant

Node = dict[str, Any]
_R5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Attachment."
DURATION: Final = _R5 + "duration"
"""Seconds. These are elements of Attachment in R5: https://hl7.org/fhir/R5/versions.html#extensions."""
WIDTH: Final = _R5 + "width"
HEIGHT: Final = _R5 + "height"
PAGES: Final = _R5 + "pages"
FLAG: Final = "urn:fhir-server:content-flag"
"""What stands out in the content: `javascript`, `launch`, `bomb`."""
THUMBNAIL: Final = "urn:fhir-server:thumbnail"
LARGEST: Final = 2**31 - 1


class DocumentReferenceBehaviour(Behaviour):
    """Fills what attachments leave out about content that is here: type, size, hash, SHA-256, duration, dimensions, pages."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the document with what is known of its content; what the client states is kept."""
        resource: Resource | None = None
        for place, content in enumerate(draft.resource.get("content", ())):
            attachment = content.get("attachment", {})
            described = await _described(ctx, attachment)
            if described is not None:
                if resource is None:
                    resource = copied(draft.resource)
                resource["content"][place]["attachment"] = described
        return draft if resource is None else replace(draft, resource=resource)


async def _described(ctx: Context, attachment: Node) -> Node | None:
    if "data" in attachment:
        try:
            data = base64.b64decode("".join(attachment["data"].split()), validate=True)
        except ValueError:
            return None
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        return None if "size" in attachment and "hash" in attachment else _filled(attachment, len(data), digest)
    blob = await _blob(ctx, attachment)
    return with_facts(attachment, blob) if blob is not None else None


async def _blob(ctx: Context, attachment: Node) -> Blob | None:
    if ctx.blobs is None:
        return None
    sha256, binary = digest_of(attachment), local_binary(ctx, attachment)
    if not sha256 and binary:
        try:
            version = await ctx.repo.current("Binary", binary)
        except FhirError:
            return None
        sha256 = digest_of(version.resource) if version is not None and version.resource else ""
    return await ctx.blobs.records.find(ctx.tenant, sha256) if sha256 else None


def _filled(attachment: Node, size: int, sha1: str) -> Node:
    found = dict(attachment)
    if size <= LARGEST:
        found.setdefault("size", size)
    found.setdefault("hash", fhir_hash(sha1))
    return found


def with_facts(attachment: Node, blob: Blob) -> Node:
    """Return an attachment with what is known of its content, where it does not say so itself."""
    found = _filled(attachment, blob.size, blob.sha1)
    found.setdefault("contentType", blob.mime)
    present = {extension.get("url") for extension in found.get("extension", ())}
    new = [one for one in _extensions(blob) if one["url"] not in present]
    if new:
        found["extension"] = [*found.get("extension", ()), *new]
    return found


def _extensions(blob: Blob) -> list[Node]:
    facts = blob.facts
    found: list[Node] = [{"url": SHA256, "valueString": blob.sha256}]
    if "duration" in facts:
        found.append({"url": DURATION, "valueDecimal": Decimal(facts["duration"]).scaleb(-3)})
    for url, name in ((WIDTH, "width"), (HEIGHT, "height"), (PAGES, "pages")):
        if facts.get(name):
            found.append({"url": url, "valuePositiveInt": facts[name]})
    return [*found, *({"url": FLAG, "valueCode": flag} for flag in facts.get("flags", ()))]


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is to be made of bytes that have been received."""

    blob: Blob
    name: str = ""
    """Of the file; the title of the attachment."""
    template: Mapping[str, Any] | None = None
    """A DocumentReference with all that the upload itself does not say."""


async def store_document(ctx: Context, document: Document, replaces: Resource | None = None) -> Resource:
    """Store a DocumentReference, current, and the Binary that it leads to, in one transaction; return the DocumentReference.

    The document that it replaces, if any, is superseded by it.

    Raises:
        FhirError: whatever their creation is refused for; nothing is stored then.
    """
    if ctx.blobs is None:
        raise AssertionError
    blob = document.blob
    binary_url, document_url = f"urn:uuid:{uuid.uuid4()}", f"urn:uuid:{uuid.uuid4()}"
    binary = {
        "resourceType": "Binary",
        "contentType": blob.mime,
        "securityContext": {"reference": document_url},
        "_data": reference(blob.sha256, await ctx.blobs.grant(ctx.tenant, blob.sha256)),
    }
    entries: list[dict[str, Any]] = [
        {"fullUrl": binary_url, "resource": binary, "request": {"method": "POST", "url": "Binary"}},
        {
            "fullUrl": document_url,
            "resource": _resource(ctx, document, binary_url),
            "request": {"method": "POST", "url": "DocumentReference"},
        },
    ]
    if replaces is not None:
        url, tag = f"DocumentReference/{replaces['id']}", f'W/"{replaces["meta"]["versionId"]}"'
        entries[1]["resource"]["relatesTo"] = [{"code": "replaces", "target": {"reference": url}}]
        entries.append(
            {"resource": replaces | {"status": "superseded"}, "request": {"method": "PUT", "url": url, "ifMatch": tag}}
        )
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    reply = await ctx.dispatch(ctx, Call("transaction", resource=bundle))
    stored = (reply.resource or {})["entry"][1]
    if "resource" in stored:
        resource: Resource = stored["resource"]
        return resource
    id_ = stored["response"]["location"].removeprefix(ctx.base_url + "/").split("/")[1]
    found = await ctx.dispatch(ctx, Call("read", "DocumentReference", id_))
    return found.resource or {}


def _resource(ctx: Context, document: Document, url: str) -> Resource:
    template = copied(dict(document.template or {}))
    given = template.get("content") or [{}]
    attachment = {
        name: value
        for name, value in given[0].get("attachment", {}).items()
        if name not in ("data", "_data", "url", "size", "hash", "contentType")
    }
    attachment |= {"contentType": document.blob.mime, "url": url}
    if document.name:
        attachment.setdefault("title", document.name)
    attachment.setdefault("creation", instant(ctx.now()))
    made: Resource = (
        {"resourceType": "DocumentReference", "date": instant(ctx.now())}
        | template
        | {"status": "current", "content": [given[0] | {"attachment": with_facts(attachment, document.blob)}]}
    )
    return made
