"""Medical record numbers: who gets one, and that nobody gets another's."""

import asyncio
import multiprocessing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.resources.mrn import check_digit, mrn_system, sequence
from fhir_server.search.index import index_models
from fhir_server.store.database import Database, connect
from fhir_server.store.numbers import LARGEST, SMALLEST, Numbers
from tests.conftest import client_of

YEAR = datetime.now(UTC).year
Mongo = AsyncDatabase[dict[str, Any]]


def patient(*identifiers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient"} | ({"identifier": list(identifiers)} if identifiers else {}) | members


def own(settings: Settings, value: str, **members: Any) -> dict[str, Any]:
    return {"system": mrn_system(settings, settings.default_tenant), "value": value} | members


def numbers(resource: dict[str, Any]) -> list[str]:
    return [found["value"] for found in resource.get("identifier", ()) if found["system"].startswith("urn:prm:mrn:")]


async def create(http: httpx.AsyncClient, resource: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await http.post("Patient", json=resource, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_patient_created_without_a_number_gets_one(http: httpx.AsyncClient, settings: Settings) -> None:
    made = await create(http, patient({"system": "urn:x", "value": "1"}))
    assert made["identifier"] == [
        {"system": "urn:x", "value": "1"},
        {
            "use": "usual",
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
            "system": f"urn:prm:mrn:{settings.default_tenant}",
            "value": f"MRN-{YEAR}000001",
        },
    ]
    assert (await http.get(f"Patient/{made['id']}")).json() == made
    found = (await http.get("Patient", params={"identifier": f"MRN-{YEAR}000001"})).json()
    assert [entry["resource"]["id"] for entry in found["entry"]] == [made["id"]]


@pytest.mark.parametrize(
    "brought",
    [
        {"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}, "value": "1"},
        {"type": {"coding": [{"code": "MR"}]}, "system": "urn:hospital", "value": "1"},
    ],
)
async def test_a_record_number_of_another_system_is_one_too(http: httpx.AsyncClient, brought: dict[str, Any]) -> None:
    made = await create(http, patient(brought))
    assert made["identifier"] == [brought]
    assert (await create(http, patient(brought)))["identifier"] == [brought]


@pytest.mark.parametrize(
    "brought",
    [
        {"type": {"coding": [{"system": "urn:other", "code": "MR"}]}, "system": "urn:x", "value": "1"},
        {"type": {"coding": [{"code": "MR"}]}, "system": "urn:x", "value": "1", "use": "old"},
        {"type": {"coding": [{"code": "MR"}]}, "system": "urn:x"},
    ],
)
async def test_what_is_no_record_number_in_use_does_not_count(http: httpx.AsyncClient, brought: dict[str, Any]) -> None:
    assert len(numbers(await create(http, patient(brought)))) == 1


async def test_every_way_to_create_gives_a_number_but_a_put_under_an_id_of_the_client(http: httpx.AsyncClient) -> None:
    conditional = await create(http, patient(), **{"If-None-Exist": "identifier=none"})
    put = await http.put("Patient", params={"identifier": "none"}, json=patient())
    entries = [
        {"resource": patient(), "request": {"method": "POST", "url": "Patient"}},
        {"resource": patient(id="p"), "request": {"method": "PUT", "url": "Patient/p"}},
    ]
    found = [numbers(conditional), numbers(put.json())]
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
        answer = await http.post("", json=bundle, headers={"Prefer": "return=representation"})
        first, second = (entry["resource"] for entry in answer.json()["entry"])
        found.append(numbers(first))
        assert numbers(second) == []
    assert [len(one) for one in found] == [1, 1, 1, 1]
    assert len({one[0] for one in found}) == 4
    assert numbers((await http.put("Patient/q", json=patient(id="q"))).json()) == []


async def test_settings_say_who_gets_a_number_and_how_it_looks(settings: Settings, database: Mongo) -> None:
    changed = {
        "mrn_on_update": True,
        "mrn_prefix": "P",
        "mrn_digits": 4,
        "mrn_check_digit": True,
        "mrn_start": 700,
        "mrn_system": "https://acme.example/mrn",
    }
    async with client_of(settings.model_copy(update=changed), database) as http:
        made = (await http.put("Patient/p", json=patient(id="p"))).json()
        assert made["identifier"][0]["system"] == "https://acme.example/mrn"
        assert made["identifier"][0]["value"] == "P07005"
        again = (await http.put("Patient/p", json=made)).json()
        assert again["identifier"] == made["identifier"]
    async with client_of(settings.model_copy(update={"mrn": False}), database) as http:
        assert "identifier" not in await create(http, patient())
    of_tenant = f'{{"{settings.default_tenant}": {{"mrn_prefix": "T-"}}}}'
    async with client_of(settings.model_copy(update={"per_tenant": of_tenant}), database) as http:
        assert numbers(await create(http, patient())) == ["T-000001"]


async def test_a_number_of_the_client_is_kept_if_it_is_free_and_else_names_its_holder(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    made = await create(http, patient(own(settings, "A-1")))
    assert made["identifier"] == [own(settings, "A-1")]
    refused = await http.post("Patient", json=patient({"system": "urn:x", "value": "1"}, own(settings, "A-1")))
    issue = refused.json()["issue"][0]
    assert (refused.status_code, issue["code"], issue["expression"]) == (409, "duplicate", ["Patient.identifier[1].value"])
    assert f"'A-1' is that of Patient/{made['id']}" in issue["diagnostics"]
    for method, url in (("PUT", "Patient/other"), ("PUT", "Patient?identifier=none")):
        answer = await http.request(method, url, json=patient(own(settings, "A-1"), **({"id": "other"} if "/" in url else {})))
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (409, "duplicate")
    found = (await http.get("Patient", params={"identifier": "A-1"})).json()
    assert found["total"] == 1


async def test_a_number_that_was_given_is_not_free_for_a_client(http: httpx.AsyncClient, settings: Settings) -> None:
    given_ = await create(http, patient())
    refused = await http.post("Patient", json=patient(own(settings, numbers(given_)[0])))
    assert refused.status_code == 409
    assert f"Patient/{given_['id']}" in refused.text
    waiting = await http.post("Patient", json=patient(own(settings, f"MRN-{YEAR}000002")))
    assert waiting.status_code == 409
    assert "has been used before" in waiting.text


async def test_numbers_that_a_client_took_are_left_out(http: httpx.AsyncClient, settings: Settings) -> None:
    for number in (1, 3):
        await create(http, patient(own(settings, f"MRN-{YEAR}{number:06}")))
    found = [numbers(await create(http, patient()))[0] for _ in range(3)]
    assert found == [f"MRN-{YEAR}{number:06}" for number in (2, 4, 5)]


@pytest.mark.parametrize("assigned", [True, False])
async def test_a_number_is_never_used_again(http: httpx.AsyncClient, settings: Settings, assigned: bool) -> None:
    """Neither after its holder was deleted, nor after it was taken from it; but its holder may have it back."""
    removed = await create(http, patient() if assigned else patient(own(settings, "A-1")))
    deleted = await create(http, patient() if assigned else patient(own(settings, "A-2")))
    first, second = removed["identifier"][0], deleted["identifier"][0]
    url = f"Patient/{removed['id']}"
    assert (await http.put(url, json=removed | {"identifier": [{"system": "urn:x", "value": "1"}]})).status_code == 200
    assert (await http.delete(f"Patient/{deleted['id']}")).status_code == 204
    for taken in (first, second):
        refused = await http.post("Patient", json=patient(taken))
        assert (refused.status_code, refused.json()["issue"][0]["code"]) == (409, "duplicate")
        assert "has been used before" in refused.text
    assert (await http.put(url, json=removed)).status_code == 200
    assert (await http.put(f"Patient/{deleted['id']}", json=deleted)).status_code == 201


async def test_an_old_number_may_stand_on_the_record_that_survives(http: httpx.AsyncClient) -> None:
    source, target = await create(http, patient()), await create(http, patient())
    kept = [*target["identifier"], source["identifier"][0] | {"use": "old"}]
    assert (await http.put(f"Patient/{target['id']}", json=target | {"identifier": kept})).status_code == 200


async def test_a_bundle_with_the_same_number_twice_is_refused_as_a_whole(http: httpx.AsyncClient, settings: Settings) -> None:
    entries = [{"resource": patient(own(settings, "A-1")), "request": {"method": "POST", "url": "Patient"}}] * 2
    answer = await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (409, "duplicate")
    assert (await create(http, patient(own(settings, "A-1"))))["identifier"][0]["value"] == "A-1"


async def test_of_50_clients_with_the_same_number_one_gets_it(http: httpx.AsyncClient, settings: Settings) -> None:
    answers = await asyncio.gather(*(http.post("Patient", json=patient(own(settings, "A-1"))) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49


async def test_50_clients_at_once_get_50_numbers_also_across_restarts(settings: Settings, database: Mongo) -> None:
    found: list[str] = []
    for _ in range(2):
        async with client_of(settings, database) as one, client_of(settings, database) as other:
            made = await asyncio.gather(*(create((one, other)[turn % 2], patient()) for turn in range(50)))
            found += [numbers(resource)[0] for resource in made]
    assert len(set(found)) == 100


def _take(uri: str, name: str, tenant: str, count: int) -> list[str]:
    async def main() -> list[str]:
        settings = Settings.model_construct()
        async with connect(uri, settings) as client:
            taken = Numbers(Database(client[name], settings, index_models))
            return [await taken.take(sequence(settings, tenant, 2030)) for _ in range(count)]

    return asyncio.run(main())


async def test_processes_hand_out_different_numbers(settings: Settings, database: Mongo) -> None:
    arguments = [(settings.mongodb_uri, database.name, settings.default_tenant, 40)] * 4
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = await asyncio.to_thread(pool.starmap, _take, arguments)
    assert len({number for one in found for number in one}) == 160


async def test_blocks_grow_while_numbers_are_wanted_quickly(settings: Settings, database: Mongo) -> None:
    now = 0.0
    taken = Numbers(Database(database, settings, index_models), clock=lambda: now)
    numbers_ = sequence(settings, settings.default_tenant, 2031)
    first = [await taken.take(numbers_) for _ in range(4 * LARGEST)]
    assert first == [f"MRN-2031{number:06}" for number in range(1, 4 * LARGEST + 1)]
    claims = database["_claims"]
    assert await claims.count_documents({"t": settings.default_tenant}) <= 4 * LARGEST + LARGEST
    before = await claims.count_documents({"t": settings.default_tenant})
    now = 1000.0
    await asyncio.gather(*(taken.take(numbers_) for _ in range(before - 4 * LARGEST + 1)))
    assert await claims.count_documents({"t": settings.default_tenant}) == before + SMALLEST


async def test_a_create_with_a_given_number_stays_one_insert(settings: Settings, database: Mongo) -> None:
    async with client_of(settings, database) as http:
        await create(http, patient())
        for _ in range(2):
            await create(http, patient())
        claims = await database["_claims"].count_documents({"t": settings.default_tenant})
        guards = await database["_guards"].count_documents({"_id": {"$regex": f"^{settings.default_tenant}/"}})
    assert (claims, guards) == (SMALLEST, 0)


@given(st.integers(0, 10**18))
def test_the_check_digit_finds_each_single_wrong_digit(number: int) -> None:
    text = str(number)
    whole = f"{text}{check_digit(text)}"
    assert check_digit("7992739871") == 3
    for place, digit in enumerate(whole):
        wrong = whole[:place] + str((int(digit) + 1) % 10) + whole[place + 1 :]
        assert str(check_digit(wrong[:-1])) != wrong[-1]
