"""The events of media: MEDIA_UPLOADED, MEDIA_ATTACHED, MEDIA_DELETED, MEDIA_REJECTED (docs/events.md)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fhir_server.blobs.elements import SHA256
from fhir_server.events.event import Named, Naming
from fhir_server.resources.rejections import DIGEST_SYSTEM
from fhir_server.resources.rejections import SYSTEM as REJECTION
from fhir_server.store.changes import Change, Elements

_SOURCE: Final = "urn:prm:media-source"


def document_event(change: Change) -> Named | None:
    """Return what a new version of a DocumentReference means; None where it is none of these.

    A document is attached when it says whom it is about, or which message or appointment it belongs to, and did not before.
    """
    if change.deleted:
        return Named("MEDIA_DELETED")
    data = _facts(change.elements)
    if change.version == 1:
        return Named("MEDIA_UPLOADED", data) if data else None
    before = set(_targets(change.previous)) if change.previous is not None else set()
    new = [target for target in _targets(change.elements) if target not in before]
    return Named("MEDIA_ATTACHED", data | {"attached_to": new}) if new else None


def rejection_event(change: Change) -> Named | None:
    """Return what an AuditEvent says of content that was not taken; None of all others."""
    codes = [one.get("code", "") for one in change.elements.get("subtype", ()) if one.get("system") == REJECTION]
    if not codes or change.version != 1:
        return None
    identifiers = [one.get("what", {}).get("identifier", {}) for one in change.elements.get("entity", ())]
    digest = next((one.get("value", "") for one in identifiers if one.get("system") == DIGEST_SYSTEM), "")
    return Named("MEDIA_REJECTED", {"reason": codes[0], "sha256": digest})


def _facts(elements: Elements) -> dict[str, Any]:
    """Return what the first content that is kept here is; nothing where none is."""
    for content in elements.get("content", ()):
        attachment = content.get("attachment", {})
        digest = next((one.get("valueString") for one in attachment.get("extension", ()) if one.get("url") == SHA256), "")
        if digest:
            found = {"sha256": digest, "mime_type": attachment.get("contentType", ""), "size_bytes": attachment.get("size")}
            source = next(
                (tag.get("code") for tag in elements.get("meta", {}).get("tag", ()) if tag.get("system") == _SOURCE), None
            )
            return {name: value for name, value in (found | {"source": source}).items() if value is not None}
    return {}


def _targets(elements: Elements | None) -> Iterator[str]:
    found = elements or {}
    related = found.get("context", {}).get("related", ())
    for reference in (found.get("subject", {}), *related):
        if isinstance(reference, Mapping) and "reference" in reference:
            yield str(reference["reference"])


DOCUMENTS = Naming(document_event, elements=frozenset({"content", "context", "subject", "meta"}), previous=True)
REJECTIONS = Naming(rejection_event, elements=frozenset({"subtype", "entity"}))
