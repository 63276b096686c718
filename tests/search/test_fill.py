"""The life of a custom search parameter, over HTTP.

Each test uses a type that no other test writes, since filling knows no tenants.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.search.fill import fill
from fhir_server.search.index import index_models
from fhir_server.search.registries import FILLED, Registries
from fhir_server.search.reindex import PROGRESS
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database

BASE = "http://test/fhir"
Restarted = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


def parameter(type_: str, **change: Any) -> dict[str, Any]:
    return {
        "resourceType": "SearchParameter",
        "id": f"{type_.lower()}-language",
        "url": f"http://example.org/{type_}-language",
        "name": "language",
        "description": "The language of the resource.",
        "status": "active",
        "code": "written-in",
        "base": [type_],
        "type": "token",
        "expression": f"{type_}.language",
        **change,
    }


@pytest.fixture
def store(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> Database:
    return Database(database, settings, index_models, WORDS)


@pytest.fixture
def restarted(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> Restarted:
    """Another process, which has read nothing yet."""
    from fhir_server.web.app import create_app  # noqa: PLC0415 -- as the fixture `http` does

    return lambda: httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(settings, database)),
        base_url="http://test/fhir/",
        headers={"Prefer": "handling=strict"},
    )


def supply(number: int, language: str) -> dict[str, Any]:
    return {"resourceType": "SupplyDelivery", "id": f"s{number}", "language": language}


async def found(http: httpx.AsyncClient, query: str) -> list[str]:
    answer = await http.get(query)
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]


async def test_a_parameter_searches_once_it_is_filled(http: httpx.AsyncClient, store: Database, restarted: Restarted) -> None:
    """Until then a search by it says so, and /metadata does not list it."""
    for number, language in enumerate(["sv", "en", "sv"]):
        assert (await http.put(f"SupplyDelivery/s{number}", json=supply(number, language))).status_code == 201
    assert (await http.post("SearchParameter", json=parameter("SupplyDelivery"))).status_code == 201

    async with restarted() as fresh:
        answer = await fresh.get("SupplyDelivery?written-in=sv")
        assert answer.status_code == 400
        assert "`reindex` has not filled it yet" in answer.json()["issue"][0]["diagnostics"]
        assert "written-in" not in (await fresh.get("metadata")).text
        assert (await fresh.put("SupplyDelivery/s3", json=supply(3, "sv"))).status_code == 201

    # Of other tenants' resources, which tests write at the same time, some may change too.
    assert await fill(store, BASE, types=["SupplyDelivery"], patience=0) >= 3

    async with restarted() as fresh:
        assert await found(fresh, "SupplyDelivery?written-in=sv") == ["s0", "s2", "s3"]
        assert await found(fresh, "SupplyDelivery?written-in:not=sv") == ["s1"]
        assert "written-in" in (await fresh.get("metadata")).text
    indexes = await store.collection("SupplyDelivery").index_information()
    assert "t_1_s.written-in_1__id_1" in indexes
    assert await store.collection(PROGRESS).find_one({"_id": "(run)"}) is None
    assert await fill(store, BASE, types=["SupplyDelivery"], patience=0) == 0


async def test_a_changed_definition_has_to_be_filled_again(
    http: httpx.AsyncClient, store: Database, restarted: Restarted
) -> None:
    """What was filled was another parameter."""
    assert (await http.put("VisionPrescription/v1", json=_vision())).status_code == 201
    first = parameter("VisionPrescription")
    assert (await http.put(f"SearchParameter/{first['id']}", json=first)).status_code == 201
    await fill(store, BASE, types=["VisionPrescription"], patience=0)
    async with restarted() as fresh:
        assert await found(fresh, "VisionPrescription?written-in=sv") == ["v1"]
        second = parameter("VisionPrescription", expression="VisionPrescription.implicitRules", type="uri")
        assert (await fresh.put(f"SearchParameter/{first['id']}", json=second)).status_code == 200
    async with restarted() as fresh:
        assert (await fresh.get("VisionPrescription?written-in=http://x")).status_code == 400
    await fill(store, BASE, types=["VisionPrescription"], patience=0)
    async with restarted() as fresh:
        assert await found(fresh, "VisionPrescription?written-in=http://rules") == ["v1"]
        assert (await fresh.delete(f"SearchParameter/{first['id']}")).status_code == 204
    async with restarted() as fresh:
        answer = await fresh.get("VisionPrescription?written-in=http://rules")
        assert "has no search parameter 'written-in'" in answer.text


def _vision() -> dict[str, Any]:
    return {
        "resourceType": "VisionPrescription",
        "id": "v1",
        "language": "sv",
        "implicitRules": "http://rules",
        "status": "active",
        "created": "2020-01-01",
        "dateWritten": "2020-01-01",
        "patient": {"reference": "Patient/p"},
        "prescriber": {"reference": "Practitioner/p"},
        "lensSpecification": [{"product": {"text": "lens"}, "eye": "right"}],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expression": "Enrollment.foo"}, "is no type of R4"),
        ({"expression": "EnrollmentRequest.foo"}, "EnrollmentRequest has no element 'foo'"),
        ({"code": "status"}, "EnrollmentRequest has a parameter 'status' already"),
    ],
)
async def test_what_can_not_be_used_is_refused(http: httpx.AsyncClient, change: dict[str, Any], reason: str) -> None:
    """With the reason; as a draft it may be stored."""
    answer = await http.post("SearchParameter", json=parameter("EnrollmentRequest", **change))
    assert (answer.status_code, reason in answer.json()["issue"][0]["diagnostics"]) == (422, True)
    draft = await http.post("SearchParameter", json=parameter("EnrollmentRequest", status="draft", **change))
    assert draft.status_code == 201


async def test_two_can_not_have_one_code(http: httpx.AsyncClient, restarted: Restarted) -> None:
    """The second is refused; a new version of the first is not."""
    first = parameter("EnrollmentRequest")
    assert (await http.put(f"SearchParameter/{first['id']}", json=first)).status_code == 201
    async with restarted() as fresh:
        second = parameter("EnrollmentRequest", id="other", url="http://example.org/other")
        assert (
            "already (http://example.org/EnrollmentRequest-language)"
            in (await fresh.put("SearchParameter/other", json=second)).text
        )
        assert (await fresh.put(f"SearchParameter/{first['id']}", json={**first, "description": "New"})).status_code == 200


async def test_a_parameter_of_a_type_that_was_not_reindexed_stays_unfilled(
    http: httpx.AsyncClient, store: Database, tenant: str
) -> None:
    """All types of its base that are stored have to be done."""
    for type_ in ("Schedule", "Slot"):
        await store.prepare(type_)
        await store.collection(type_).insert_one({"_id": f"{tenant}/x", "t": tenant, "i": "x", "d": True})
    both = parameter("Schedule", base=["Schedule", "Slot"], expression="Resource.language")
    assert (await http.post("SearchParameter", json=both)).status_code == 201
    await fill(store, BASE, types=["Schedule"], patience=0)
    assert await store.collection(FILLED).count_documents({"t": tenant}) == 0
    await fill(store, BASE, types=["Schedule", "Slot"], patience=0)
    assert await store.collection(FILLED).count_documents({"t": tenant}) == 1


async def test_a_registry_is_read_again_after_two_seconds(http: httpx.AsyncClient, store: Database, tenant: str) -> None:
    """Or at once, where it is told to forget; as long as nothing has changed it stays the same object."""
    now = [0.0]
    registries = Registries(store, clock=lambda: now[0])
    empty = await registries.of(tenant)
    assert (await http.post("SearchParameter", json=parameter("Substance"))).status_code == 201
    assert await registries.of(tenant) is empty
    now[0] = 2.0
    read = await registries.of(tenant)
    assert read.get("Substance", "written-in") is not None
    now[0] = 4.0
    assert await registries.of(tenant) is read
    registries.forget(tenant)
    assert await registries.of(tenant) is read
    assert (await registries.of("another-tenant")).get("Substance", "written-in") is None
