"""The application with some official examples in it.

`FHIR_FUZZ_EXAMPLES=5000` runs that many random examples of each property instead of the bounded, reproducible ones.
"""
# ruff: noqa: E501 - long tables of odd values read best as they are.

import os
import tarfile
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from pymongo.asynchronous.database import AsyncDatabase
from starlette.types import ASGIApp

from fhir_server.config import Settings
from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.validate import validate
from fhir_server.web.app import create_app
from tests.conftest import default_settings
from tests.fuzz.asgi import Request, ask

EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
LONG = int(os.environ.get("FHIR_FUZZ_EXAMPLES", "0"))
TYPES = (
    "Patient", "Observation", "Encounter", "Appointment", "Communication", "DocumentReference", "Bundle", "MedicationRequest", "Organization", "Location",
    "Questionnaire", "Parameters", "Binary", "RiskAssessment", "CarePlan", "SearchParameter",
)  # fmt: skip
"""The types that a bounded run writes: each costs the making of its indexes."""
_LARGEST = 20_000


def bounded(examples: int) -> hypothesis_settings:
    """Return settings for this many examples, the same in every run."""
    return hypothesis_settings(
        max_examples=LONG or examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        # A failure shows its whole request; shrinking it would take minutes.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


@cache
def official_examples() -> tuple[bytes, ...]:
    """Return official examples of moderate size, as they are; without them there are a few of our own."""
    if not EXAMPLES.exists():
        return tuple(encode(resource) for resource in _OWN)
    found: dict[str, list[bytes]] = {}
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".json") and member.size < _LARGEST else None
            data = content.read() if content is not None else b"{}"
            resource = decode(data)
            if "resourceType" in resource and (LONG or resource["resourceType"] in TYPES) and not validate(resource):
                found.setdefault(resource["resourceType"], []).append(data)
    return tuple(data for examples in found.values() for data in examples[: None if LONG else 8])


def example_types() -> list[str]:
    """Return the types of the examples."""
    return sorted({decode(data)["resourceType"] for data in official_examples()})


_OWN: tuple[dict[str, Any], ...] = (
    {"resourceType": "Patient", "id": "example", "name": [{"family": "Holm", "given": ["Ada"]}], "birthDate": "1970-01"},
    {"resourceType": "Observation", "id": "example", "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 1.5}},
    {"resourceType": "Bundle", "id": "example", "type": "collection", "entry": [{"resource": {"resourceType": "Basic"}}]},
)


STRICT = {"validate_invariants": True, "reference_check": True, "delete_check": True, "multiple_delete": True, "max_depth": 20}


@pytest.fixture(scope="session")
def fuzz_settings(mongodb_uri: str) -> Settings:
    """Settings of the application that is fuzzed."""
    return default_settings(f"fuzz-{uuid.uuid4().hex[:16]}", mongodb_uri).model_copy(update={"log_requests": False, "mrn": False})


@pytest.fixture(scope="session")
def apps(app: ASGIApp, fuzz_settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> tuple[ASGIApp, ASGIApp]:
    """The application, and another one over the same data with every check on."""
    return app, create_app(fuzz_settings.model_copy(update=STRICT), database)


@pytest.fixture(scope="session")
async def app(fuzz_settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> ASGIApp:
    """The application, with the examples stored."""
    made = create_app(fuzz_settings, database)
    for data in official_examples():
        resource = decode(data)
        target = f"/fhir/{resource['resourceType']}/{resource['id']}".encode()
        answer = await ask(made, Request("PUT", target, ((b"content-type", b"application/fhir+json"),), data))
        assert answer.status in (200, 201), answer
    return made
