"""Binary data in resources: moved out when it is written, and referred to from then on.

https://hl7.org/fhir/R4/datatypes.html#Attachment, https://hl7.org/fhir/R4/binary.html, docs/media.md
"""

from dataclasses import replace
from typing import Any, Final

from fhir_server.blobs import Blobs, RejectedError
from fhir_server.blobs.elements import (
    BLOB,
    concerns,
    copied,
    decoded,
    digest_of,
    digests,
    grant_of,
    holders,
    layout_of,
    may_concern,
    replaced,
)
from fhir_server.blobs.receiving import fhir_hash, issues_of_flags
from fhir_server.exchange import Behaviour, Context, Draft, Resource
from fhir_server.fhir.outcome import Issue, unprocessable
from fhir_server.resources.rejections import record_rejection

Node = dict[str, Any]
STAYS: Final = 4_000_000
"""Letters of base64 that may stay in a resource where they can not be moved out."""


class AttachmentBehaviour(Behaviour):
    """Moves the data of every Binary, and the large data of every Attachment, to the blob store."""

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Return the resource with references in place of data.

        Raises:
            FhirError: 422, content is not taken, or bytes are referred to that whoever writes has not sent; 503.
        """
        if ctx.blobs is None:
            return draft
        type_ = draft.resource["resourceType"]
        limit = 0 if type_ == "Binary" else ctx.settings.attachment_bytes * 4 // 3
        if not (may_concern(draft.resource, limit) and concerns(draft.resource, limit)):
            return draft
        resource: Resource = copied(draft.resource)
        known = digests(draft.previous.resource) if draft.previous is not None and draft.previous.resource else frozenset()
        issues: tuple[Issue, ...] = ()
        for node, path in holders(resource):
            if len(node.get("data", "")) > (0 if "resourceType" in node else limit):
                issues += await _move(ctx, ctx.blobs, node, path, draft)
            elif any(one.get("url") == BLOB for one in (node.get("_data") or {}).get("extension", ())):
                await _check(ctx, ctx.blobs, node, path, known)
        wanted = digests(resource)
        if wanted:
            await ctx.blobs.link(ctx.tenant, wanted, type_, draft.id)
        return replace(draft, resource=resource, issues=(*draft.issues, *issues))


async def _move(ctx: Context, blobs: Blobs, node: Node, path: str, draft: Draft) -> tuple[Issue, ...]:
    whole = "resourceType" in node
    layout = layout_of(node["data"])
    if layout is None and not whole and len(node["data"]) < STAYS:
        return ()  # It could not be given back as it is written.
    data = decoded(node["data"], path)
    try:
        found = await blobs.receive_bytes(ctx.tenant, data, node.get("contentType", ""))
    except RejectedError as error:
        if error.kind == "data" and not whole and len(node["data"]) < STAYS:
            return ()  # As part of a resource, like all that is small, it is no upload.
        await record_rejection(ctx, error, node.get("contentType", ""))
        raise unprocessable_at(error, path) from None
    blob = found.blob
    known: Node = {}
    if not whole:
        url = f"{draft.resource['resourceType']}/{draft.id}/$attachment?sha256={blob.sha256}"
        known = {"contentType": blob.mime, "size": blob.size, "hash": fhir_hash(blob.sha1), "url": url}
    added = [name for name in known if name not in node]
    replaced(node, blob.sha256, added=added, layout=layout or "")
    node.update({name: known[name] for name in added})
    return issues_of_flags(blob.facts.get("flags", ()))


def unprocessable_at(error: RejectedError, path: str) -> RejectedError:
    """Return a rejection that names the element which holds the content."""
    issues = tuple(replace(issue, expression=(path,)) for issue in error.issues)
    error.issues = issues
    return error


async def _check(ctx: Context, blobs: Blobs, node: Node, path: str, known: frozenset[str]) -> None:
    """Refuse a reference to bytes that whoever writes has not shown to have: its name alone gives nobody the bytes."""
    sha256 = digest_of(node)
    if sha256 not in known and not await blobs.is_granted(grant_of(node), ctx.tenant, sha256):
        raise unprocessable(
            f"{path} refers to content that was not sent with it. Send the data, or upload it first.",
            f"{path}.data",
            code="security",
        )
    replaced(node, sha256)
