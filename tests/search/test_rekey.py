"""New keys while the server runs, and master keys that change."""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.search import rekey
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from fhir_server.store.keys import REFRESH_SECONDS
from fhir_server.store.master import LocalKeyService, MasterKeyError, key_service, make_key_file, new_master_key
from tests.conftest import MASTER_KEY, client_of

Mongo = AsyncDatabase[dict[str, Any]]
SSN = "http://hl7.org/fhir/sid/us-ssn"
BASE = "http://test/fhir"


def patient(id_: str, value: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, "identifier": [{"system": SSN, "value": value}]}


async def total(http: httpx.AsyncClient, value: str) -> int:
    found: int = (await http.get("Patient", params={"identifier": f"{SSN}|{value}"})).json()["total"]
    return found


async def states(database: Mongo, tenant: str) -> list[tuple[int, str]]:
    return [(one["n"], one["a"]) async for one in database["_keys"].find({"t": tenant}).sort("n", 1)]


async def numbers_of(database: Mongo, tenant: str) -> set[Any]:
    """Return the generations that anything is encrypted with."""
    return {one.get("k") for name in ("Patient", "Patient_history") for one in await database[name].find({"t": tenant}).to_list()}


async def test_rotation_encrypts_and_indexes_all_versions_anew_and_keeps_them_found(
    http: httpx.AsyncClient, settings: Settings, database: Mongo, tenant: str
) -> None:
    for value in ("523-45-6789", "523-45-6780"):
        await http.put("Patient/p", json=patient("p", value))
    await http.put("Patient/q", json=patient("q", "321-54-9876"))
    before = await database["Patient"].find_one({"t": tenant, "i": "p"})
    steps: list[rekey.Step] = []
    store = Database(database, settings, index_models)
    assert await rekey.rotate(store, tenant, BASE, patience=0, progress=steps.append) == 3
    after = await database["Patient"].find_one({"t": tenant, "i": "p"})
    assert before is not None
    assert after is not None
    assert (await states(database, tenant), await numbers_of(database, tenant)) == ([(1, "retired"), (2, "active")], {2})
    assert after["s"]["identifier"] != before["s"]["identifier"]
    assert {name: after[name] for name in "vuw"} == {name: before[name] for name in "vuw"}
    assert steps[-1].seen >= 1
    async with client_of(settings, database) as fresh:
        assert [await total(fresh, value) for value in ("523-45-6780", "321549876", "523-45-6789")] == [1, 1, 0]
        history = (await fresh.get("Patient/p/_history")).json()
        values = [entry["resource"]["identifier"][0]["value"] for entry in history["entry"]]
        assert values == ["523-45-6780", "523-45-6789"]


async def test_what_others_write_and_ask_meanwhile_is_found_all_the_time(
    settings: Settings, database: Mongo, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers that learn of the keys at different times."""
    monkeypatch.setattr("fhir_server.store.keys.REFRESH_SECONDS", 0.4)
    async with client_of(settings, database) as one, client_of(settings, database) as other:
        for place in range(6):
            await (one, other)[place % 2].put(f"Patient/p{place}", json=patient(f"p{place}", f"523-45-67{place}0"))
        store = Database(database, settings, index_models)
        rotation = asyncio.create_task(rekey.rotate(store, tenant, BASE, patience=0.8))
        turns = 0
        while not rotation.done():
            server = (one, other)[turns % 2]
            place = turns % 6
            value = f"523-45-67{place}{turns % 10}"
            assert (await server.put(f"Patient/p{place}", json=patient(f"p{place}", value))).status_code == 200
            assert await total((one, other)[turns // 2 % 2], value) == 1
            turns += 1
            await asyncio.sleep(0.02)
        await rotation
        assert await numbers_of(database, tenant) == {2}
    assert turns > 10


@pytest.mark.parametrize("stop", [1, 2, 3])
async def test_an_interrupted_rotation_goes_on_where_it_stood(
    http: httpx.AsyncClient, settings: Settings, database: Mongo, tenant: str, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    for id_ in "pq":
        await http.put(f"Patient/{id_}", json=patient(id_, "523-45-6789"))
    calls = 0
    sleep = asyncio.sleep

    async def dies(seconds: float) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise RuntimeError
        await sleep(seconds)

    def shows(_: rekey.Step) -> None:
        if stop == 3:
            raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("fhir_server.search.rekey.sleep", dies)
        with pytest.raises(RuntimeError):
            await rekey.rotate(Database(database, settings, index_models), tenant, BASE, patience=0, progress=shows)
    await rekey.rotate(Database(database, settings, index_models), tenant, BASE, patience=0)
    assert (await states(database, tenant), await numbers_of(database, tenant)) == ([(1, "retired"), (2, "active")], {2})
    async with client_of(settings, database) as fresh:
        assert await total(fresh, "523-45-6789") == 2


async def test_by_itself_it_waits_twice_until_all_processes_know_the_keys(
    http: httpx.AsyncClient, settings: Settings, database: Mongo, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await http.put("Patient/p", json=patient("p", "523-45-6789"))
    waited: list[tuple[float, list[tuple[int, str]]]] = []

    async def notes(seconds: float) -> None:
        waited.append((seconds, await states(database, tenant)))

    monkeypatch.setattr("fhir_server.search.rekey.sleep", notes)
    await rekey.rotate(Database(database, settings, index_models), tenant, BASE)
    long = 2 * REFRESH_SECONDS
    assert waited == [(long, [(1, "active"), (2, "new")]), (long, [(1, "old"), (2, "active")])]


async def test_what_was_stored_in_clear_is_encrypted_when_its_system_becomes_protected(
    settings: Settings, database: Mongo, tenant: str
) -> None:
    async with client_of(settings.model_copy(update={"protected_identifiers": ""}), database) as http:
        for value in ("523-45-6789", "321-54-9876"):
            await http.put("Patient/p", json=patient("p", value))
        assert await numbers_of(database, tenant) == {None}
    store = Database(database, settings, index_models)
    assert [await rekey.apply(store, tenant, BASE) for _ in range(2)] == [2, 0]
    assert await numbers_of(database, tenant) == {1}
    async with client_of(settings, database) as http:
        assert await total(http, "321549876") == 1
    opened = Database(database, settings.model_copy(update={"protected_identifiers": ""}), index_models)
    await rekey.rotate(opened, tenant, BASE, patience=0)
    assert await numbers_of(database, tenant) == {None}


async def test_keys_are_wrapped_anew_when_the_master_key_changes(
    http: httpx.AsyncClient, settings: Settings, database: Mongo, tenant: str
) -> None:
    await http.put("Patient/p", json=patient("p", "523-45-6789"))
    fresh = new_master_key()
    both = settings.model_copy(update={"master_key": fresh, "master_keys_previous": MASTER_KEY})
    keyring = Database(database, both, index_models).keyring
    for document in await keyring.generations(tenant):
        assert keyring.service is not None
        await keyring._rewrap(keyring.service, document)
    async with client_of(settings.model_copy(update={"master_key": fresh}), database) as other:
        assert (await other.get("Patient/p")).json()["identifier"][0]["value"] == "523-45-6789"
        assert await total(other, "523-45-6789") == 1
    async with client_of(settings, database) as old:
        assert (await old.get("Patient/p")).status_code == 503


async def test_a_local_master_key_opens_only_what_it_has_wrapped_and_only_in_its_place() -> None:
    service, other = LocalKeyService([b"a" * 32]), LocalKeyService([b"b" * 32, b"a" * 32])
    wrapped = await service.wrap(b"key", "here")
    assert await other.unwrap(service.key_id, wrapped, "here") == b"key"
    assert other.key_id != service.key_id
    for key_id, data, context in (
        (other.key_id, wrapped, "here"),
        (service.key_id, wrapped, "there"),
        (service.key_id, wrapped[:-1], "here"),
    ):
        with pytest.raises(MasterKeyError):
            await service.unwrap(key_id, data, context)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"master_key": "short"}, "32 bytes in base64"),
        ({"master_key": MASTER_KEY, "master_keys_previous": "x"}, "32 bytes in base64"),
        ({"master_key": "", "master_key_file": "/nowhere/master.key"}, "can not be read"),
        ({"key_service": "no.such:module"}, "can not be imported"),
    ],
)
def test_a_master_key_that_is_none_is_refused(settings: Settings, changes: dict[str, Any], text: str) -> None:
    changes = {name: Path(value) if name == "master_key_file" else value for name, value in changes.items()}
    with pytest.raises(MasterKeyError, match=text):
        key_service(settings.model_copy(update=changes))


def test_a_key_file_is_made_once_and_for_its_owner_only(settings: Settings, tmp_path: Any) -> None:
    path = tmp_path / "data" / "master.key"
    make_key_file(path)
    text = path.read_text()
    make_key_file(path)
    assert (path.read_text(), oct(path.stat().st_mode & 0o777)) == (text, "0o600")
    path.write_text(f"{new_master_key()}\n{text}")
    found = key_service(settings.model_copy(update={"master_key": "", "master_key_file": path}))
    assert found is not None
    assert found.key_id != LocalKeyService([base64.b64decode(text)]).key_id


class Cloud:
    """A key management service that keeps its keys to itself."""

    key_id = "cloud/1"

    async def wrap(self, key: bytes, context: str) -> bytes:
        """Hide the key."""
        return f"{context}:".encode() + bytes(byte ^ 0x55 for byte in key)

    async def unwrap(self, key_id: str, wrapped: bytes, context: str) -> bytes:
        """Give it back."""
        if key_id != self.key_id or not wrapped.startswith(f"{context}:".encode()):
            raise MasterKeyError("not by me")
        return bytes(byte ^ 0x55 for byte in wrapped.removeprefix(f"{context}:".encode()))


def cloud(_: Settings) -> Cloud:
    return Cloud()


async def test_a_key_management_service_may_wrap_them_instead(
    settings: Settings, database: Mongo, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "a_cloud", sys.modules[__name__])
    changed = settings.model_copy(update={"key_service": "a_cloud:cloud", "master_key": ""})
    async with client_of(changed, database) as http:
        assert (await http.put("Patient/p", json=patient("p", "523-45-6789"))).status_code == 201
        assert await total(http, "523-45-6789") == 1
    found = await database["_keys"].find_one({"t": tenant})
    assert found is not None
    assert found["m"] == "cloud/1"
