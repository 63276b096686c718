"""Many clients at once, over sockets, against two workers that share one MongoDB: https://hl7.org/fhir/R4/http.html#concurrency."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pymongo
import pytest
from fault_server import FaultServer

MANY = 24
TYPES = ("Device", "HealthcareService", "Location", "Organization", "Practitioner", "PractitionerRole")


@pytest.fixture(scope="module")
async def http(mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of two workers on a database that nobody has written to."""
    name = f"fhir_test_{uuid.uuid4().hex[:8]}"
    server = FaultServer(tmp_path_factory.mktemp("server"), "--workers=2", mongodb_uri=mongodb_uri, mongodb_database=name)
    await server.start()
    try:
        limits = httpx.Limits(max_connections=MANY, max_keepalive_connections=MANY)
        async with httpx.AsyncClient(base_url=server.base + "/", timeout=60, limits=limits) as client:
            yield client
    finally:
        server.stop()
        with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as mongodb:
            mongodb.drop_database(name)


def patient(id_: str = "", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient"} | ({"id": id_} if id_ else {}) | more


def identified(value: str) -> list[dict[str, str]]:
    return [{"system": "urn:test", "value": value}]


async def versions(http: httpx.AsyncClient, path: str) -> list[str]:
    bundle = (await http.get(f"{path}/_history", params={"_count": 1000})).json()
    return [entry["response"]["etag"] for entry in bundle["entry"]]


def statuses(answers: list[httpx.Response]) -> dict[int, int]:
    return dict(Counter(answer.status_code for answer in answers))


async def test_first_writes_of_many_types_at_once_all_succeed(http: httpx.AsyncClient) -> None:
    """Collections and indexes are made by whoever comes first, in both workers, also for transactions and conditions."""

    def bundle(number: int) -> dict[str, Any]:
        entries = [
            {"resource": {"resourceType": "Binary", "contentType": "a/b"}, "request": {"method": "POST", "url": "Binary"}},
            {"resource": patient(f"first-{number}"), "request": {"method": "PUT", "url": f"Patient/first-{number}"}},
            {
                "resource": patient(),
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier=urn:test|{number}"},
            },
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    condition = {"If-None-Exist": "identifier=urn:test|first"}
    answers = await asyncio.gather(
        *(http.post(type_, json={"resourceType": type_}) for type_ in TYPES * 2),
        *(http.put(f"Person/{number}", json={"resourceType": "Person", "id": str(number)}) for number in range(3)),
        *(http.post("Person", json={"resourceType": "Person"}, headers=condition) for _ in range(3)),
        *(http.post("", json=bundle(number)) for number in range(6)),
    )
    assert statuses(answers) == {201: len(TYPES) * 2 + 6, 200: 6}


async def test_of_conditional_creates_with_one_condition_one_creates(http: httpx.AsyncClient) -> None:
    condition = {"If-None-Exist": "identifier=urn:test|only"}
    answers = await asyncio.gather(
        *(http.post("Patient", json=patient(identifier=identified("only")), headers=condition) for _ in range(MANY))
    )
    assert statuses(answers) == {201: 1, 200: MANY - 1}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await http.get("Patient?identifier=urn:test|only")).json()["total"] == 1


async def test_of_conditional_updates_without_a_match_one_creates(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(http.put("Patient?identifier=urn:test|put", json=patient(identifier=identified("put"))) for _ in range(MANY))
    )
    assert statuses(answers) == {201: 1, 200: MANY - 1}
    assert (await http.get("Patient?identifier=urn:test|put")).json()["total"] == 1


async def test_of_transactions_with_one_condition_one_creates(http: httpx.AsyncClient) -> None:
    def bundle(number: int) -> dict[str, Any]:
        entries = [
            {
                "resource": patient(identifier=identified("bundle")),
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:test|bundle"},
            },
            {"resource": patient(f"beside-{number}"), "request": {"method": "PUT", "url": f"Patient/beside-{number}"}},
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answers = await asyncio.gather(*(http.post("", json=bundle(number)) for number in range(MANY)))
    assert statuses(answers) == {200: MANY}
    assert (await http.get("Patient?identifier=urn:test|bundle")).json()["total"] == 1


async def test_of_updates_with_one_if_match_one_wins(http: httpx.AsyncClient) -> None:
    assert (await http.put("Patient/match", json=patient("match"))).status_code == 201
    answers = await asyncio.gather(
        *(http.put("Patient/match", json=patient("match"), headers={"If-Match": 'W/"1"'}) for _ in range(MANY))
    )
    assert statuses(answers) == {200: 1, 412: MANY - 1}
    assert await versions(http, "Patient/match") == ['W/"2"', 'W/"1"']


async def test_updates_without_if_match_all_succeed_and_no_version_is_lost(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(http.put("Patient/hot", json=patient("hot", identifier=identified(f"v{number}"))) for number in range(MANY))
    )
    assert statuses(answers) == {201: 1, 200: MANY - 1}
    assert sorted(int(answer.json()["meta"]["versionId"]) for answer in answers) == list(range(1, MANY + 1))
    assert await versions(http, "Patient/hot") == [f'W/"{number}"' for number in range(MANY, 0, -1)]
    for answer in answers:
        stored = await http.get(answer.headers["Location"])
        assert stored.json() == answer.json()


async def test_updates_deletes_and_patches_of_one_resource_all_get_an_answer(http: httpx.AsyncClient) -> None:
    patch = [{"op": "add", "path": "/active", "value": True}]
    headers = {"Content-Type": "application/json-patch+json"}
    answers = await asyncio.gather(
        *(
            http.put("Patient/mixed", json=patient("mixed"))
            if number % 3 == 0
            else http.delete("Patient/mixed")
            if number % 3 == 1
            else http.patch("Patient/mixed", json=patch, headers=headers)
            for number in range(MANY)
        )
    )
    assert statuses(answers).keys() <= {200, 201, 204, 404, 410}
    shown = await versions(http, "Patient/mixed")
    assert shown == [f'W/"{number}"' for number in range(len(shown), 0, -1)]


async def test_transactions_in_each_others_way_succeed_or_lose_as_a_whole(http: httpx.AsyncClient) -> None:
    """Each writes the same resources, in an order of its own: a deadlock for whoever locks as it goes."""

    def bundle(number: int) -> dict[str, Any]:
        ids = [f"d{(number + step) % 8}" for step in range(8)]
        entries = [
            {
                "resource": patient(id_, identifier=identified(f"round-{number}")),
                "request": {"method": "PUT", "url": f"Patient/{id_}"},
            }
            for id_ in (ids if number % 2 else reversed(ids))
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answers = await asyncio.gather(*(http.post("", json=bundle(number)) for number in range(MANY)))
    assert statuses(answers).keys() <= {200, 409, 412}
    won = statuses(answers)[200]
    assert won >= 1
    for number in range(8):
        assert await versions(http, f"Patient/d{number}") == [f'W/"{place}"' for place in range(won, 0, -1)]
    found = {(await http.get(f"Patient/d{number}")).json()["identifier"][0]["value"] for number in range(8)}
    assert len(found) == 1


async def test_transactions_that_read_a_version_first_let_one_win(http: httpx.AsyncClient) -> None:
    assert (await http.put("Patient/guarded", json=patient("guarded"))).status_code == 201

    def bundle() -> dict[str, Any]:
        entries = [
            {"resource": patient("guarded"), "request": {"method": "PUT", "url": "Patient/guarded", "ifMatch": 'W/"1"'}},
            {"resource": patient(identifier=identified("winner")), "request": {"method": "POST", "url": "Patient"}},
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answers = await asyncio.gather(*(http.post("", json=bundle()) for _ in range(MANY)))
    assert statuses(answers) == {200: 1, 412: MANY - 1}
    assert (await http.get("Patient?identifier=urn:test|winner")).json()["total"] == 1


async def test_a_history_read_during_updates_shows_each_version_once(http: httpx.AsyncClient) -> None:
    async def write(id_: str) -> None:
        for _ in range(30):
            assert (await http.put(f"Patient/{id_}", json=patient(id_))).status_code in (200, 201)

    async def look() -> None:
        while not writing.done():
            bundle = (await http.get("Patient/_history", params={"_count": 20})).json()
            shown = [(entry["fullUrl"], entry["response"]["etag"]) for entry in bundle["entry"]]
            assert len(set(shown)) == len(shown)
            alone = await versions(http, "Patient/busy-0")
            assert alone == [f'W/"{number}"' for number in range(len(alone), 0, -1)]

    await asyncio.gather(*(http.put(f"Patient/busy-{number}", json=patient(f"busy-{number}")) for number in range(4)))
    writing = asyncio.gather(*(write(f"busy-{number}") for number in range(4)))
    await asyncio.gather(look(), look(), look())
    await writing
    assert len(await versions(http, "Patient/busy-0")) == 31
