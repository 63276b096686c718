"""Resources that the clients send."""

from typing import Any
from uuid import uuid4

MRN = "https://clients.example.org/mrn"


def patient(family: str = "", **more: Any) -> dict[str, Any]:
    """Return a Patient with an MRN that nobody else has."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": MRN, "value": uuid4().hex}],
        "name": [{"use": "official", "family": family or unique_name(), "given": ["Zoë"]}],
        "gender": "female",
        "birthDate": "1974-12-25",
        **more,
    }


def unique_name() -> str:
    """Return a family name that nobody else has."""
    return f"Núñez{uuid4().hex[:10]}"


def visit(patient_url: str) -> dict[str, Any]:
    """Return an Encounter of a patient."""
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": patient_url},
    }


def transaction(family: str) -> dict[str, Any]:
    """Return a transaction that creates a patient with an encounter, linked by a temporary URL."""
    url = f"urn:uuid:{uuid4()}"
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": url, "resource": patient(family), "request": {"method": "POST", "url": "Patient"}},
            {"resource": visit(url), "request": {"method": "POST", "url": "Encounter"}},
        ],
    }
