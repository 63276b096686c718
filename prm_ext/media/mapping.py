"""Between flat JSON and DocumentReference."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from fhir_server.blobs.elements import SHA256
from fhir_server.resources.document_reference import DURATION, FLAG, HEIGHT, PAGES, WIDTH
from prm_ext.media.categories import SOURCE_SYSTEM, category_of, concept, source_of

Resource = dict[str, Any]
_NUMBERS: Final = {"width": WIDTH, "height": HEIGHT, "pages": PAGES}


def template(*, source: str, category: str | None = None, patient: str | None = None) -> Resource:
    """Return the DocumentReference of an upload, without what is known of the content."""
    found: Resource = {"resourceType": "DocumentReference", "meta": {"tag": [{"system": SOURCE_SYSTEM, "code": source}]}}
    if patient:
        found["subject"] = {"reference": f"Patient/{patient}"}
    return with_category(found, category)


def with_category(document: Resource, category: str | None) -> Resource:
    """Return a document of a category, in place of the one that it had."""
    if category is None:
        return document
    coding = concept(category)
    others = [one for one in document.get("category", ()) if category_of({"category": [one]}) is None]
    found = document | {"category": [coding, *others]}
    if len(coding["coding"]) > 1 and "type" not in document:
        found["type"] = {"coding": coding["coding"][1:]}
    return found


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content of a document; "" where it is not kept here."""
    extensions = document["content"][0]["attachment"].get("extension", ())
    return next((str(one.get("valueString", "")) for one in extensions if one["url"] == SHA256), "")


def asset(document: Resource, org: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return the flat form of a document; `keys` are those of contents, by SHA-256."""
    attachment = document["content"][0]["attachment"]
    extensions = {one["url"]: one for one in attachment.get("extension", ())}
    sha256 = digest_of(document) or None
    found: dict[str, Any] = {
        "id": document["id"],
        "org_id": org,
        "key": keys.get(sha256 or ""),
        "sha256": sha256,
        "mime_type": attachment.get("contentType"),
        "size_bytes": attachment.get("size"),
        "title": attachment.get("title"),
        "category": category_of(document),
        "source": source_of(document),
        "patient_id": patient_of(document),
        "replaces": _replaced(document),
        "attached_to": [one["reference"] for one in document.get("context", {}).get("related", ()) if "reference" in one],
        "flags": [one["valueCode"] for one in attachment.get("extension", ()) if one["url"] == FLAG],
        "created_at": attachment.get("creation") or document.get("date"),
        "updated_at": document.get("meta", {}).get("lastUpdated"),
    }
    if DURATION in extensions:
        found["duration_ms"] = int(Decimal(extensions[DURATION]["valueDecimal"]) * 1000)
    return found | {name: extensions[url]["valuePositiveInt"] for name, url in _NUMBERS.items() if url in extensions}


def _replaced(document: Mapping[str, Any]) -> str | None:
    targets = [one["target"].get("reference", "") for one in document.get("relatesTo", ()) if one.get("code") == "replaces"]
    return next((target.rpartition("/")[2] for target in targets if "DocumentReference/" in target), None)


def patient_of(document: Mapping[str, Any]) -> str | None:
    """Return the id of the patient that a document is about."""
    reference = str(document.get("subject", {}).get("reference", ""))
    return reference.rpartition("/")[2] if "Patient/" in reference else None
