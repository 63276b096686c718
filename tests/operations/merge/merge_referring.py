"""Resources of many types that refer to the patient s, where search parameters find it and where none does."""

from typing import Any

from tests.operations.merge.merge_samples import ref


def annotation(of: str) -> list[dict[str, Any]]:
    return [{"text": "x", "authorReference": ref(f"Patient/{of}")}]


REFERRING: list[dict[str, Any]] = [
    {
        "resourceType": "Appointment",
        "id": "x",
        "status": "booked",
        "participant": [{"actor": ref("Patient/s"), "status": "accepted"}],
    },
    {
        "resourceType": "AppointmentResponse",
        "id": "x",
        "appointment": ref("Appointment/x"),
        "actor": ref("Patient/s"),
        "participantStatus": "accepted",
    },
    {
        "resourceType": "Basic",
        "id": "x",
        "code": {"text": "x"},
        "extension": [{"url": "urn:x", "valueReference": ref("Patient/s")}],
    },
    {
        "resourceType": "CarePlan",
        "id": "x",
        "status": "active",
        "intent": "plan",
        "subject": ref("Patient/t"),
        "note": annotation("s"),
    },
    {
        "resourceType": "Communication",
        "id": "x",
        "status": "completed",
        "subject": ref("Patient/s"),
        "recipient": [ref("Patient/s")],
        "payload": [{"contentReference": ref("Patient/s")}],
    },
    {
        "resourceType": "CommunicationRequest",
        "id": "x",
        "status": "active",
        "subject": ref("Patient/s"),
        "recipient": [ref("Patient/s")],
    },
    {
        "resourceType": "Condition",
        "id": "x",
        "subject": ref("Patient/u"),
        "contained": [{"resourceType": "RelatedPerson", "id": "c", "patient": ref("Patient/s")}],
        "recorder": ref("Patient/s"),
        "asserter": ref("#c"),
    },
    {
        "resourceType": "Consent",
        "id": "x",
        "status": "active",
        "scope": {"text": "x"},
        "category": [{"text": "x"}],
        "patient": ref("Patient/s"),
    },
    {
        "resourceType": "Coverage",
        "id": "x",
        "status": "active",
        "beneficiary": ref("Patient/s"),
        "subscriber": ref("Patient/s"),
        "payor": [ref("Patient/s")],
    },
    {
        "resourceType": "DocumentReference",
        "id": "x",
        "status": "current",
        "content": [{"attachment": {"title": "x"}}],
        "subject": ref("Patient/s"),
    },
    {
        "resourceType": "Group",
        "id": "x",
        "type": "person",
        "actual": True,
        "member": [{"entity": ref("Patient/u")}, {"entity": ref("Patient/s")}],
    },
    {
        "resourceType": "List",
        "id": "x",
        "status": "current",
        "mode": "working",
        "entry": [{"item": ref("Patient/s")}, {"item": ref("Patient/t")}],
    },
    {
        "resourceType": "MedicationRequest",
        "id": "x",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "x"},
        "subject": ref("Patient/u"),
        "reportedReference": ref("Patient/s"),
    },
    {"resourceType": "Person", "id": "x", "link": [{"target": ref("Patient/s")}]},
    {
        "resourceType": "Provenance",
        "id": "x",
        "target": [ref("Patient/s")],
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"who": ref("Patient/s")}],
    },
    {
        "resourceType": "QuestionnaireResponse",
        "id": "x",
        "status": "completed",
        "item": [{"linkId": "1", "answer": [{"valueReference": ref("Patient/s"), "item": [{"linkId": "2"}]}]}],
    },
    {"resourceType": "RelatedPerson", "id": "x", "patient": ref("Patient/s")},
    {
        "resourceType": "Task",
        "id": "x",
        "status": "ready",
        "intent": "order",
        "for": ref("Patient/u"),
        "input": [{"type": {"text": "x"}, "valueReference": ref("Patient/s")}],
    },
]


def count(node: Any, reference: str) -> int:
    """Count the references below a node."""
    if isinstance(node, dict):
        return (node.get("reference") == reference) + sum(count(value, reference) for value in node.values())
    return sum(count(item, reference) for item in node) if isinstance(node, list) else 0


def moved(node: Any) -> Any:
    """Return what is expected of a resource after the merge of s into t."""
    if isinstance(node, dict):
        return {
            name: "Patient/t" if (name, value) == ("reference", "Patient/s") else moved(value) for name, value in node.items()
        }
    return [moved(item) for item in node] if isinstance(node, list) else node
