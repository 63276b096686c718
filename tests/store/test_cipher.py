"""Protected identifiers: nothing of them is in the database in clear, and all of them are found."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import bson
import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import index_models
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.master import new_master_key
from fhir_server.store.repository import Repository
from fhir_server.store.writes import Unit, write
from tests.conftest import client_of

Mongo = AsyncDatabase[dict[str, Any]]
SSN = "http://hl7.org/fhir/sid/us-ssn"
OID = "urn:oid:2.16.840.1.113883.4.1"
NUMBERS = ("523-45-6789", "987-65-4329", "321-54-9876", "456-12-7890", "219-09-9999", "457-55-5462", "612-33-1187")


def identifier(value: str, system: str = SSN, **members: Any) -> dict[str, Any]:
    return {"system": system, "value": value} | members


def patient(*identifiers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "p", "identifier": list(identifiers)} | members


async def total(http: httpx.AsyncClient, path: str, **params: str) -> int:
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["total"]
    return found


async def documents(database: Mongo, tenant: str) -> AsyncIterator[tuple[str, bytes]]:
    for name in await database.list_collection_names():
        async for found in database[name].find({"$or": [{"t": tenant}, {"_id": {"$regex": f"^{tenant}"}}]}):
            yield name, bson.encode(found)


def ways(number: str) -> list[bytes]:
    bare = number.replace("-", "")
    texts = [number, bare, number.replace("-", " ")]
    return [form for text in texts for form in (text.encode(), base64.b64encode(text.encode())[:-2])]


RESOURCES: list[dict[str, Any]] = [
    patient(
        identifier(NUMBERS[0], type={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "SS"}]}),
        identifier(NUMBERS[0].replace("-", ""), "urn:legacy"),
        text={"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">SSN: {NUMBERS[0]}</div>'},
        name=[{"family": "Holm", "text": f"Holm ({NUMBERS[0]})"}],
        contained=[{"resourceType": "Person", "id": "r", "identifier": [identifier(NUMBERS[1], OID)]}],
        extension=[{"url": "urn:x", "valueIdentifier": identifier(NUMBERS[2])}],
    ),
    {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"identifier": identifier(NUMBERS[3]), "display": f"SSN {NUMBERS[3]}"},
    },
    {"resourceType": "DocumentReference", "id": "d", "status": "current", "content": [{"attachment": {"title": "x"}}]}
    | {"masterIdentifier": identifier(NUMBERS[4])},
    {
        "resourceType": "Bundle",
        "id": "b",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Person", "identifier": [identifier(NUMBERS[5].replace("-", ""))]}}],
    },
]


async def test_a_dump_of_the_whole_database_holds_no_number_in_clear(
    http: httpx.AsyncClient, database: Mongo, tenant: str
) -> None:
    """Neither of current resources, superseded and deleted ones, nor in what searches, conditions and merges leave behind."""
    for resource in RESOURCES:
        url = f"{resource['resourceType']}/{resource['id']}"
        for changed in (resource, resource | {"language": "en"}, resource):
            answer = await http.put(url, json=changed)
            assert answer.status_code in (200, 201), answer.text
            expected = json.dumps(changed, sort_keys=True)
            body = {name: value for name, value in answer.json().items() if name != "meta"}
            assert json.dumps(body, sort_keys=True) == expected
            assert (await http.get(url)).json() == answer.json()
    made = [
        await http.post(
            "Patient", json=patient(identifier(NUMBERS[6])), headers={"If-None-Exist": f"identifier={SSN}|{NUMBERS[6]}"}
        ),
        await http.put("Patient", params={"identifier": f"{OID}|{NUMBERS[6]}"}, json={"resourceType": "Patient", "active": True}),
    ]
    assert [answer.status_code for answer in made] == [201, 200]
    assert (await http.get("Patient", params={"identifier": NUMBERS[0], "_count": "1", "_sort": "identifier"})).status_code == 200
    assert (await http.delete("Patient/p")).status_code == 204
    seen = 0
    async for name, data in documents(database, tenant):
        seen += 1
        for number in NUMBERS:
            for form in ways(number):
                assert form not in data, (name, number, form)
    assert seen > 20


async def test_history_gives_back_what_was_written(http: httpx.AsyncClient) -> None:
    for value in ("523-45-6789", "523456789"):
        await http.put("Patient/p", json=patient(identifier(value)))
    history = (await http.get("Patient/p/_history")).json()
    assert [entry["resource"]["identifier"][0]["value"] for entry in history["entry"]] == ["523456789", "523-45-6789"]
    assert (await http.get("Patient/p/_history/1")).json()["identifier"][0]["value"] == "523-45-6789"


@pytest.mark.parametrize("written", ["523-45-6789", "523456789"])
@pytest.mark.parametrize("system", [SSN, OID])
async def test_equality_finds_a_number_however_it_is_written(http: httpx.AsyncClient, written: str, system: str) -> None:
    await http.put("Patient/p", json=patient(identifier(written, system), identifier("1", "urn:x")))
    for asked in ("523-45-6789", "523456789"):
        for prefix in (f"{SSN}|", f"{OID}|", ""):
            assert await total(http, "Patient", identifier=prefix + asked) == 1, prefix + asked
    for asked in (f"{SSN}|523-45-6780", f"urn:x|{written}", "523-45", f"{SSN}|523-45", f"|{written}", "~"):
        assert await total(http, "Patient", identifier=asked) == 0, asked
    assert await total(http, "Patient", identifier=f"{SSN}|") == 1
    assert await total(http, "Patient", **{"identifier:not": f"{SSN}|523456789"}) == 0
    assert await total(http, "Patient", identifier="urn:x|1") == 1
    assert await total(http, "Patient", _filter=f'identifier eq "{SSN}|523-45-6789"') == 1


async def test_types_references_and_other_systems_find_it_too(http: httpx.AsyncClient) -> None:
    for resource in RESOURCES[:3]:
        assert (await http.put(f"{resource['resourceType']}/{resource['id']}", json=resource)).status_code == 201
    v2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
    assert await total(http, "Patient", **{"identifier:of-type": f"{v2}|SS|{NUMBERS[0]}"}) == 1
    assert await total(http, "Patient", identifier=f"urn:legacy|{NUMBERS[0].replace('-', '')}") == 1
    assert await total(http, "Observation", **{"subject:identifier": f"{SSN}|{NUMBERS[3]}"}) == 1
    assert await total(http, "Observation", **{"subject:identifier": NUMBERS[3]}) == 1
    assert await total(http, "DocumentReference", identifier=NUMBERS[4]) == 1


async def test_conditions_with_a_number_create_once_and_update_what_is_there(http: httpx.AsyncClient) -> None:
    condition = {"If-None-Exist": f"identifier={SSN}|523-45-6789"}
    body = {"resourceType": "Patient", "identifier": [identifier("523-45-6789")]}
    statuses = [(await http.post("Patient", json=body, headers=condition)).status_code for _ in range(2)]
    assert statuses == [201, 200]
    answer = await http.put("Patient", params={"identifier": "523456789"}, json=body | {"active": True})
    assert (answer.status_code, answer.json()["meta"]["versionId"]) == (200, "2")


async def test_resources_without_a_protected_identifier_are_stored_as_they_are(http: httpx.AsyncClient, database: Mongo) -> None:
    await http.put("Basic/x", json={"resourceType": "Basic", "id": "x", "code": {"text": "a"}, "identifier": [{"system": SSN}]})
    found = await database["Basic"].find_one({"i": "x", "r.identifier": [{"system": SSN}]})
    assert found is not None
    assert "k" not in found


async def test_other_systems_are_protected_by_setting(settings: Settings, database: Mongo, tenant: str) -> None:
    changed = settings.model_copy(update={"protected_identifiers": "urn:passport, urn:tax"})
    async with client_of(changed, database) as http:
        body = patient(identifier("ab-123 456", "urn:passport"), identifier("523-45-6789"))
        assert (await http.put("Patient/p", json=body)).status_code == 201
        for asked in ("urn:passport|AB123456", "ab-123 456", f"{SSN}|523-45-6789"):
            assert await total(http, "Patient", identifier=asked) == 1, asked
    found = [data async for name, data in documents(database, tenant) if name == "Patient"]
    assert b"123 456" not in found[0]
    assert b"523-45-6789" in found[0]


@pytest.mark.parametrize("value", ["000-45-6789", "123-00-6789", "123-45-0000", "12345678", "123-456789", "abc"])
async def test_a_number_that_can_be_none_is_refused_with_its_place(http: httpx.AsyncClient, value: str) -> None:
    answer = await http.put("Patient/p", json=patient(identifier("1", "urn:x"), identifier(value)))
    issue = answer.json()["issue"][0]
    assert (answer.status_code, issue["code"], issue["expression"]) == (422, "value", ["Patient.identifier[1].value"])
    assert value not in answer.text


@pytest.mark.parametrize("value", ["523-45-6789", "523456789", "999-12-3456"])
async def test_a_number_that_may_be_one_is_kept_as_it_is_written(http: httpx.AsyncClient, value: str) -> None:
    assert (await http.put("Patient/p", json=patient(identifier(value)))).json()["identifier"][0]["value"] == value


async def test_an_id_must_not_tell_the_number(http: httpx.AsyncClient) -> None:
    body = patient(identifier("523-45-6789")) | {"id": "523456789"}
    answer = await http.put("Patient/523456789", json=body)
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (422, ["Patient.id"])


async def test_without_a_master_key_only_what_has_to_be_encrypted_is_refused(settings: Settings, database: Mongo) -> None:
    async with client_of(settings.model_copy(update={"master_key": ""}), database) as http:
        assert (await http.put("Patient/q", json={"resourceType": "Patient", "id": "q"})).status_code == 201
        answer = await http.put("Patient/p", json=patient(identifier("523-45-6789")))
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "security")
        assert "FHIR_MASTER_KEY" in answer.text
        assert await total(http, "Patient", identifier="523-45-6789") == 0


async def test_with_another_master_key_what_is_encrypted_can_not_be_read_and_all_else_can(
    http: httpx.AsyncClient, settings: Settings, database: Mongo
) -> None:
    await http.put("Patient/p", json=patient(identifier("523-45-6789")))
    await http.put("Patient/q", json={"resourceType": "Patient", "id": "q"})
    async with client_of(settings.model_copy(update={"master_key": new_master_key()}), database) as other:
        assert (await other.get("Patient/q")).status_code == 200
        for answer in (await other.get("Patient/p"), await other.get("Patient"), await other.get("Patient/p/_history")):
            assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "security")
        assert (await other.put("Patient/r", json=patient(identifier("321-54-9876")) | {"id": "r"})).status_code == 503
    assert (await http.get("Patient/p")).status_code == 200


async def test_a_ciphertext_that_was_changed_is_not_taken_for_a_value(
    http: httpx.AsyncClient, database: Mongo, tenant: str
) -> None:
    await http.put("Patient/p", json=patient(identifier("523-45-6789")))
    found = await database["Patient"].find_one({"t": tenant, "i": "p"})
    assert found is not None
    data = bytearray(found["r"]["identifier"][0]["value"])
    data[-1] ^= 1
    changed = bson.Binary(bytes(data), 0x80)
    await database["Patient"].update_one({"_id": found["_id"]}, {"$set": {"r.identifier.0.value": changed}})
    async with client_of(http_settings(tenant), database) as other:
        assert (await other.get("Patient/p")).status_code == 503


def http_settings(tenant: str) -> Settings:
    import os  # noqa: PLC0415

    from tests.conftest import default_settings  # noqa: PLC0415

    return default_settings(tenant, os.environ["FHIR_TEST_MONGODB_URI"])


async def test_the_same_number_looks_different_each_time_and_in_each_tenant(
    settings: Settings, database: Mongo, tenant: str
) -> None:
    """So who reads the database can neither tell it, nor who shares it with whom in another tenant."""
    tenants = (tenant, f"{tenant}b")
    for name in tenants:
        async with client_of(settings.model_copy(update={"default_tenant": name}), database) as http:
            for id_ in ("p", "q"):
                await http.put(f"Patient/{id_}", json=patient(identifier("523-45-6789")) | {"id": id_})
    found = [one async for one in database["Patient"].find({"t": {"$in": tenants}})]
    assert len({one["r"]["identifier"][0]["value"] for one in found}) == 4
    entries = {(one["t"], one["s"]["identifier"][0]) for one in found}
    assert len(entries) == 2
    assert len({entry for _, entry in entries}) == 2


async def test_a_write_that_does_not_say_how_it_is_indexed_is_no_way_around(settings: Settings, database: Mongo) -> None:
    store = Database(database, settings, index_models)
    repo = Repository(store, Committer(store), settings.default_tenant)
    resource = patient(identifier("523-45-6789"))
    from fhir_server.exchange import utc_now  # noqa: PLC0415

    item = write(resource, {"identifier": ["523-45-6789|" + SSN] * 2}, id_="p", now=utc_now(), method="PUT")
    with pytest.raises(AssertionError, match="has to say how it is indexed"):
        await repo.commit(Unit((item,)))
    assert await repo.current("Patient", "p") is None


async def test_keys_are_wrapped_and_made_once(settings: Settings, database: Mongo, tenant: str) -> None:
    stores = [Database(database, settings, index_models) for _ in range(3)]
    rings = [await store.keyring.ready(tenant) for store in stores]
    assert len({ring.active.id for ring in rings}) == 1
    kept = await database["_keys"].find_one({"_id": f"{tenant}/000001"})
    assert kept is not None
    assert (len(kept["d"]), len(kept["x"]), kept["a"]) == (12 + 32 + 16, 12 + 32 + 16, "active")
    assert rings[0].active.index_key not in bson.encode(kept)
    swapped = {"d": kept["x"], "x": kept["d"]}
    await database["_keys"].update_one({"_id": kept["_id"]}, {"$set": swapped})
    with pytest.raises(FhirError):
        assert (await Database(database, settings, index_models).keyring.ready(tenant)).active
