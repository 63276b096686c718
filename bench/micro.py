"""What the pure parts cost: decoding, validating, indexing, encoding and XML of one Patient and one Bundle."""

import random
import time
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from bench.report import table, verdict
from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.validate import validate
from fhir_server.fhir.xml import from_xml, to_xml
from fhir_server.search.index import entries

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
TARGETS = {("validate", "Patient"): 0.060, ("validate", "Bundle of 20"): 1.0, ("index", "Patient"): 0.3}
"""Milliseconds."""


def patient() -> dict[str, Any]:
    """Return a US Core Patient of about 1.5 kB."""

    def coded(url: str, code: str, text: str) -> dict[str, Any]:
        coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": code, "display": text}
        return {
            "url": US_CORE + url,
            "extension": [{"url": "ombCategory", "valueCoding": coding}, {"url": "text", "valueString": text}],
        }

    return {
        "resourceType": "Patient",
        "extension": [coded("us-core-race", "2106-3", "White"), coded("us-core-ethnicity", "2186-5", "Not Hispanic or Latino")],
        "identifier": [
            {
                "use": "usual",
                "type": {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                            "code": "MR",
                            "display": "Medical record number",
                        }
                    ]
                },
                "system": "https://bench.example.org/mrn",
                "value": "B-0000001",
            },
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "123-45-6789"},
        ],
        "active": True,
        "name": [{"use": "official", "family": "Hernández", "given": ["Beatriz", "Inés"]}],
        "telecom": [
            {"system": "phone", "value": "(555) 555-0111", "use": "home"},
            {"system": "phone", "value": "(555) 555-0112", "use": "mobile"},
            {"system": "email", "value": "beatriz.hernandez@example.com"},
        ],
        "gender": "female",
        "birthDate": "1974-12-25",
        "address": [
            {
                "use": "home",
                "line": ["1202 Juniper Street", "Apt 12"],
                "city": "San Antonio",
                "state": "TX",
                "postalCode": "78205",
                "country": "US",
            },
        ],
        "maritalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"}]
        },
        "communication": [
            {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es", "display": "Spanish"}]}, "preferred": True},
        ],
    }


def bundle() -> dict[str, Any]:
    """Return a transaction of a Patient, 3 Encounters and 16 Observations."""
    rng = random.Random(1)

    def urn() -> str:
        return f"urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}"

    subject, encounters = urn(), [urn() for _ in range(3)]
    found = [(subject, patient()), *((url, _encounter(subject)) for url in encounters)]
    found += [(urn(), _observation(rng, subject, encounters[number % 3])) for number in range(16)]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
            for url, resource in found
        ],
    }


def _encounter(subject: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory"},
        "type": [{"coding": [{"system": "http://snomed.info/sct", "code": "185349003", "display": "Encounter for check up"}]}],
        "subject": {"reference": subject},
        "period": {"start": "2025-03-03T09:00:00Z", "end": "2025-03-03T09:30:00Z"},
    }


def _observation(rng: random.Random, subject: str, encounter: str) -> dict[str, Any]:
    category = {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "vital-signs",
        "display": "Vital Signs",
    }
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}], "text": "Heart rate"},
        "subject": {"reference": subject},
        "encounter": {"reference": encounter},
        "effectiveDateTime": f"2025-03-03T09:{rng.randint(10, 59)}:00Z",
        "valueQuantity": {
            "value": Decimal(rng.randint(500, 1200)).scaleb(-1),
            "unit": "beats/minute",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }


def micro(seconds: float = 1.0) -> dict[str, Any]:
    """Measure, print and return the milliseconds of each step."""
    rows = []
    for name, resource in (("Patient", patient()), ("Bundle of 20", bundle())):
        body = encode(resource)
        for step, cost in _steps(resource, body, seconds):
            limit = TARGETS.get((step, name))
            target, kept = (f"<= {limit}", verdict(cost, limit)) if limit else ("", "")
            rows.append((name, len(body), step, round(cost * 1000, 1), target, kept))
    print("\nPure parts, one process\n")
    print(table(("resource", "bytes", "step", "microseconds", "target ms", "kept"), rows))
    return {f"{name} {step}": cost / 1000 for name, _, step, cost, _, _ in rows}


def _steps(resource: dict[str, Any], body: bytes, seconds: float) -> Iterable[tuple[str, float]]:
    xml = to_xml(resource)
    inner = [entry["resource"] for entry in resource["entry"]] if "entry" in resource else [resource]
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(body),
        "validate": lambda: validate(resource),
        "index": lambda: [entries(one) for one in inner],
        "encode": lambda: encode(resource),
        "to XML": lambda: to_xml(resource),
        "from XML": lambda: from_xml(xml),
    }
    for name, step in steps.items():
        yield name, _milliseconds(step, seconds)


def _milliseconds(step: Callable[[], object], seconds: float) -> float:
    """Return the best of five rounds, so that what else runs on the machine counts little."""
    step()
    began = time.perf_counter()
    step()
    count = max(1, int(seconds / 5 / max(time.perf_counter() - began, 1e-7)))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            step()
        best = min(best, (time.perf_counter() - began) / count)
    return best * 1000
