"""Referential integrity by settings: https://hl7.org/fhir/R4/http.html#integrity."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of


@pytest.fixture
async def strict(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that checks references."""
    async with client_of(settings.model_copy(update={"reference_check": True, "delete_check": True}), database) as opened:
        yield opened


def observation(subject: str) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}}


async def test_by_default_nothing_is_checked(http: httpx.AsyncClient) -> None:
    assert (await http.post("Observation", json=observation("Patient/none"))).status_code == 201


async def test_a_reference_to_nothing_is_422_with_its_place(strict: httpx.AsyncClient) -> None:
    answer = await strict.post("Observation", json=observation("Patient/none"))
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Observation.subject.reference"]


async def test_references_to_other_servers_and_to_what_exists_are_fine(strict: httpx.AsyncClient) -> None:
    patient = (await strict.post("Patient", json={"resourceType": "Patient"})).json()
    for subject in (f"Patient/{patient['id']}", f"http://test/fhir/Patient/{patient['id']}", "http://other/fhir/Patient/1"):
        assert (await strict.post("Observation", json=observation(subject))).status_code == 201


async def test_what_a_transaction_creates_counts_as_there(strict: httpx.AsyncClient) -> None:
    urn = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
    entries = [
        {"resource": observation(urn), "request": {"method": "POST", "url": "Observation"}},
        {"fullUrl": urn, "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
    ]
    answer = await strict.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200


async def test_what_is_referred_to_can_not_be_deleted_alone_but_together(strict: httpx.AsyncClient) -> None:
    patient = (await strict.post("Patient", json={"resourceType": "Patient"})).json()
    path = f"Patient/{patient['id']}"
    made = (await strict.post("Observation", json=observation(path))).json()
    refused = await strict.delete(path)
    assert refused.status_code == 409
    assert f"Observation/{made['id']}" in refused.json()["issue"][0]["diagnostics"]
    entries = [{"request": {"method": "DELETE", "url": url}} for url in (path, f"Observation/{made['id']}")]
    answer = await strict.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200
    assert (await strict.get(path)).status_code == 410


async def test_what_nobody_refers_to_any_more_can_be_deleted(strict: httpx.AsyncClient) -> None:
    patient = (await strict.post("Patient", json={"resourceType": "Patient"})).json()
    path = f"Patient/{patient['id']}"
    made = (await strict.post("Observation", json=observation(path))).json()
    await strict.delete(f"Observation/{made['id']}")
    assert (await strict.delete(path)).status_code == 204
