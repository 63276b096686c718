"""The events of media."""

from datetime import UTC, datetime
from typing import Any

from fhir_server.events.event import event_of
from fhir_server.store.changes import Change
from prm_ext.media.events import DOCUMENTS, REJECTIONS

NAMINGS = {"DocumentReference": DOCUMENTS, "AuditEvent": REJECTIONS}
CONTENT = [
    {
        "attachment": {
            "contentType": "image/png",
            "size": 5,
            "extension": [{"url": "urn:fhir-server:sha256", "valueString": "ab"}],
        }
    }
]


def event(
    type_: str, elements: dict[str, Any], *, version: int = 1, deleted: bool = False, previous: dict[str, Any] | None = None
):
    return event_of(Change("t", type_, "1", version, datetime.now(UTC), deleted, elements, previous), NAMINGS)


def test_a_new_document_with_content_of_ours_is_uploaded() -> None:
    tags = {"tag": [{"system": "urn:prm:media-source", "code": "recording"}]}
    found = event("DocumentReference", {"content": CONTENT, "meta": tags, "subject": {"reference": "Patient/p"}})
    assert (found.type, found.patient) == ("MEDIA_UPLOADED", "Patient/p")
    facts = {name: found.data[name] for name in ("sha256", "mime_type", "size_bytes", "source")}
    assert facts == {"sha256": "ab", "mime_type": "image/png", "size_bytes": 5, "source": "recording"}


def test_a_document_from_elsewhere_has_no_name_of_its_own() -> None:
    found = event("DocumentReference", {"content": [{"attachment": {"url": "https://x"}}]})
    assert found.type == "org.fhir.documentreference.created"


def test_a_document_that_gets_a_patient_or_a_message_is_attached() -> None:
    before = {"content": CONTENT, "context": {"related": [{"reference": "Communication/1"}]}}
    after = before | {
        "subject": {"reference": "Patient/p"},
        "context": {"related": [{"reference": "Communication/1"}, {"reference": "Appointment/2"}]},
    }
    found = event("DocumentReference", after, version=2, previous=before)
    assert found.type == "MEDIA_ATTACHED"
    assert found.data["attached_to"] == ["Patient/p", "Appointment/2"]
    assert event("DocumentReference", after, version=3, previous=after).type == "org.fhir.documentreference.updated"


def test_a_deletion_and_a_rejection() -> None:
    assert event("DocumentReference", {}, version=2, deleted=True).type == "MEDIA_DELETED"
    rejected = {
        "subtype": [{"system": "urn:prm:media-rejection", "code": "virus"}],
        "entity": [{"what": {"identifier": {"system": "urn:fhir-server:sha256", "value": "ab"}}}],
    }
    found = event("AuditEvent", rejected)
    assert (found.type, found.data["reason"], found.data["sha256"]) == ("MEDIA_REJECTED", "virus", "ab")
    assert event("AuditEvent", {}).type == "org.fhir.auditevent.created"
