"""Conditional create, update, patch and delete: https://hl7.org/fhir/R4/http.html#ccreate and #cond-update."""

import asyncio
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of


def patient(value: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:c", "value": value}], **members}


async def count(http: httpx.AsyncClient, value: str) -> int:
    total: int = (await http.get(f"Patient?identifier=urn:c|{value}&_total=accurate")).json()["total"]
    return total


async def test_conditional_create_creates_once(http: httpx.AsyncClient) -> None:
    headers = {"If-None-Exist": "identifier=urn:c|1"}
    first = await http.post("Patient", json=patient("1"), headers=headers)
    again = await http.post("Patient", json=patient("1", active=True), headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert await count(http, "1") == 1


async def test_of_concurrent_conditional_creates_exactly_one_creates(http: httpx.AsyncClient) -> None:
    headers = {"If-None-Exist": "identifier=urn:c|race"}
    answers = await asyncio.gather(*(http.post("Patient", json=patient("race"), headers=headers) for _ in range(15)))
    assert sorted(answer.status_code for answer in answers) == [200] * 14 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(http, "race") == 1


async def test_conditional_create_with_several_matches_is_412(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await http.post("Patient", json=patient("2"))
    answer = await http.post("Patient", json=patient("2"), headers={"If-None-Exist": "identifier=urn:c|2"})
    assert answer.status_code == 412
    assert answer.json()["issue"][0]["code"] == "multiple-matches"
    assert await count(http, "2") == 2


@pytest.mark.parametrize("condition", ["", "identifier=", "nonsense=1", "_count=1"])
async def test_a_condition_that_says_nothing_is_400(http: httpx.AsyncClient, condition: str) -> None:
    answer = await http.post("Patient", json=patient("3"), headers={"If-None-Exist": condition})
    assert answer.status_code == 400
    assert await count(http, "3") == 0


async def test_conditional_update_updates_the_match(http: httpx.AsyncClient) -> None:
    made = (await http.post("Patient", json=patient("4"))).json()
    answer = await http.put("Patient?identifier=urn:c|4", json=patient("4", active=True))
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["meta"]["versionId"]) == (made["id"], "2")


async def test_conditional_update_without_a_match_creates_under_the_servers_or_the_clients_id(http: httpx.AsyncClient) -> None:
    answer = await http.put("Patient?identifier=urn:c|5", json=patient("5"))
    assert answer.status_code == 201
    chosen = await http.put("Patient?identifier=urn:c|6", json=patient("6", id="six"))
    assert (chosen.status_code, chosen.json()["id"]) == (201, "six")


async def test_conditional_update_with_another_id_in_the_body_is_400(http: httpx.AsyncClient) -> None:
    await http.post("Patient", json=patient("7"))
    answer = await http.put("Patient?identifier=urn:c|7", json=patient("7", id="other"))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Patient.id"]


async def test_conditional_update_with_several_matches_is_412(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await http.post("Patient", json=patient("8"))
    assert (await http.put("Patient?identifier=urn:c|8", json=patient("8"))).status_code == 412


async def test_of_concurrent_conditional_updates_without_a_match_one_creates(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.put("Patient?identifier=urn:c|9", json=patient("9")) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert await count(http, "9") == 1


async def test_conditional_patch_changes_the_match_and_is_404_without_one(http: httpx.AsyncClient) -> None:
    made = (await http.post("Patient", json=patient("10"))).json()
    body = [{"op": "add", "path": "/active", "value": True}]
    headers = {"Content-Type": "application/json-patch+json"}
    answer = await http.patch("Patient?identifier=urn:c|10", json=body, headers=headers)
    assert (answer.status_code, answer.json()["id"], answer.json()["active"]) == (200, made["id"], True)
    assert (await http.patch("Patient?identifier=urn:c|none", json=body, headers=headers)).status_code == 404


async def test_conditional_delete_deletes_the_match_and_is_204_without_one(http: httpx.AsyncClient) -> None:
    made = (await http.post("Patient", json=patient("11"))).json()
    assert (await http.delete("Patient?identifier=urn:c|11")).status_code == 204
    assert (await http.get(f"Patient/{made['id']}")).status_code == 410
    assert (await http.delete("Patient?identifier=urn:c|11")).status_code == 204


async def test_conditional_delete_of_several_is_412_unless_a_setting_allows_it(
    http: httpx.AsyncClient, settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    for _ in range(3):
        await http.post("Patient", json=patient("12"))
    assert (await http.delete("Patient?identifier=urn:c|12")).status_code == 412
    assert await count(http, "12") == 3
    few = settings.model_copy(update={"multiple_delete": True, "multiple_delete_max": 2})
    async with client_of(few, database) as capped:
        assert (await capped.delete("Patient?identifier=urn:c|12")).status_code == 412
    async with client_of(settings.model_copy(update={"multiple_delete": True}), database) as multiple:
        assert (await multiple.delete("Patient?identifier=urn:c|12")).status_code == 204
    assert await count(http, "12") == 0


async def test_conditional_delete_without_a_condition_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.delete("Patient")
    assert answer.status_code == 400
