"""The table of interactions and operations, and what becomes of failures."""

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from fhir_server.config import Settings
from fhir_server.engine import INTERACTIONS, NAMED_QUERIES, OPERATIONS, operation_entries, translated
from fhir_server.fhir.codec import encode
from fhir_server.fhir.definitions import operation_definitions
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.capabilities import statement
from fhir_server.search.registry import BUILTIN
from tests.conftest import client_of

STATEMENT = Path(__file__).parent.parent / "capability-statement.json"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ServerSelectionTimeoutError("away"), 503, "transient"),
        (AutoReconnect("away"), 503, "transient"),
        (WaitQueueTimeoutError("busy"), 503, "transient"),
        (ExecutionTimeout("slow"), 503, "too-costly"),
        (DuplicateKeyError("twice"), 409, "duplicate"),
        (DocumentTooLarge("large"), 413, "too-long"),
        (OperationFailure("large", 10334), 413, "too-long"),
        (PyMongoError("step down", ["RetryableWriteError"]), 503, "transient"),
    ],
)
def test_a_failure_of_mongodb_means_something_to_the_client(error: PyMongoError, status: int, code: str) -> None:
    found = translated(error)
    assert isinstance(found, FhirError)
    assert (found.status, found.issues[0].code) == (status, code)
    assert ("Retry-After" in found.headers) == (code == "transient")


def test_what_nobody_foresaw_stays_what_it_is() -> None:
    error = OperationFailure("odd", 1)
    assert translated(error) is error


async def test_without_mongodb_requests_end_in_503_within_a_bounded_time(settings: Settings) -> None:
    away = settings.model_copy(update={"mongodb_timeout_ms": 200})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/?serverSelectionTimeoutMS=300&connectTimeoutMS=200"
        async with AsyncMongoClient[dict[str, Any]](uri) as client, client_of(away, client["x"]) as http:
            for answer in (
                await http.get("Patient/1"),
                await http.post("Patient", json={"resourceType": "Patient"}),
                await http.get("Patient?name=x"),
                await http.get("_history"),
            ):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                assert answer.json()["issue"][0]["code"] == "transient"
            assert (await http.get("http://test/health/ready")).status_code == 503
            assert (await http.get("http://test/health/live")).status_code == 200


async def test_an_unknown_operation_is_404_and_one_that_changes_something_wants_post(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patient/$no-such-thing")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (404, "not-supported")


async def test_the_statement_lists_what_the_engine_has(http: httpx.AsyncClient) -> None:
    found = (await http.get("metadata")).json()
    rest = found["rest"][0]
    patient = next(entry for entry in rest["resource"] if entry["type"] == "Patient")
    assert (found["fhirVersion"], found["kind"], len(rest["resource"])) == ("4.0.1", "instance", 146)
    assert {item["code"] for item in patient["interaction"] + rest["interaction"]} | {"search-compartment", "capabilities"} == {
        *INTERACTIONS,
        "batch",
    }
    assert {"name", "birthdate", "general-practitioner"} <= {item["name"] for item in patient["searchParam"]}
    operations = {name for name, type_ in OPERATIONS if type_ in ("", "Patient")}
    assert {item["name"] for item in patient["operation"]} == operations | {entry.name for entry in NAMED_QUERIES}
    assert found["implementation"]["url"] == "http://test/fhir"
    validated = (await http.post("CapabilityStatement/$validate", json=found)).json()
    assert [issue for issue in validated["issue"] if issue["severity"] == "error"] == []


def test_the_statement_in_the_repository_is_what_a_server_gives_by_default() -> None:
    current = statement(Settings.model_construct(), operation_entries(), BUILTIN, "")
    assert STATEMENT.read_bytes() == encode(current, pretty=True) + b"\n", "run: fhir-server capabilities"


def test_every_operation_with_a_definition_of_hl7_names_it() -> None:
    later = {"http://hl7.org/fhir/OperationDefinition/Patient-merge"}  # HL7 defined it after R4.
    known = {definition.url for definition in operation_definitions()} | later
    for entry in operation_entries():
        if entry.definition.startswith("http://hl7.org/fhir/OperationDefinition/"):
            assert entry.definition in known
