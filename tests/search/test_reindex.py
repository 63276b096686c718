"""Reindexing knows no tenants, so each test has a database of its own."""

import pytest

from fhir_server.search.index import entries, index_models
from fhir_server.search.reindex import PROGRESS, _update, reindex
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database

BASE = "http://test/fhir"


@pytest.fixture
async def database(client, tenant):
    """A database of this test's own."""
    name = f"fhir_test_{tenant}"
    yield client[name]
    await client.drop_database(name)


@pytest.fixture
def store(database, settings):
    """The database as the store sees it."""
    return Database(database, settings, index_models, WORDS)


def computed(_tenant, resource):
    """Return the entries of R4's own parameters."""
    return entries(resource, None, BASE)


async def write(http, type_, count, **rest):
    for number in range(count):
        answer = await http.put(f"{type_}/r{number:03}", json={"resourceType": type_, "id": f"r{number:03}"} | rest)
        assert answer.status_code == 201


async def test_lost_entries_are_computed_again_and_the_resource_stays(http, store, tenant):
    await write(http, "Flag", 3, status="active", code={"text": "x"}, subject={"reference": "Patient/p"})
    before = await store.collection("Flag").find({"t": tenant}).to_list()
    await store.collection("Flag").update_many({"t": tenant}, {"$set": {"s": {}}})
    assert (await http.get("Flag?subject=Patient/p")).json().get("total", 0) == 0

    steps = []
    assert await reindex(store, computed, types=["Flag"], progress=steps.append) == 3

    assert await store.collection("Flag").find({"t": tenant}).to_list() == before
    assert (await http.get("Flag?subject=Patient/p")).json()["total"] == 3
    assert (steps[-1].type, steps[-1].seen, steps[-1].changed, steps[-1].total) == ("Flag", 3, 3, 3)
    assert await reindex(store, computed, types=["Flag"]) == 0
    assert await store.collection(PROGRESS).find_one({"_id": "Flag"}) is None


async def test_an_interrupted_run_goes_on_where_it_stood(http, store, tenant, monkeypatch):
    monkeypatch.setattr("fhir_server.search.reindex.BATCH", 2)
    await write(http, "Account", 5, status="active")
    await store.collection("Account").update_many({"t": tenant}, {"$set": {"s": {}}})
    seen = []

    def cut(_tenant, resource):
        seen.append(resource["id"])
        if len(seen) == 4:
            raise KeyboardInterrupt
        return computed(_tenant, resource)

    with pytest.raises(KeyboardInterrupt):
        await reindex(store, cut, types=["Account"])
    assert await store.collection("Account").count_documents({"t": tenant, "s": {}}) == 3

    assert await reindex(store, computed, types=["Account"]) == 3
    assert await store.collection("Account").count_documents({"t": tenant, "s": {}}) == 0


async def test_a_finished_type_of_an_interrupted_run_is_passed_over_unless_restarted(http, store, tenant):
    await write(http, "Media", 1, status="completed", content={"title": "x"})
    await store.collection("Media").update_many({"t": tenant}, {"$set": {"s": {}}})
    await store.collection(PROGRESS).update_one({"_id": "Media"}, {"$set": {"done": True}}, upsert=True)
    assert await reindex(store, computed, types=["Media"]) == 0
    await store.collection(PROGRESS).update_one({"_id": "Media"}, {"$set": {"done": True}}, upsert=True)
    assert await reindex(store, computed, types=["Media"], restart=True) == 1


async def test_what_is_written_meanwhile_keeps_the_entries_of_that_write(http, store, tenant):
    times = {"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T11:00:00Z"}
    await write(http, "Slot", 1, status="free", schedule={"reference": "Schedule/s"}, **times)
    slots = store.collection("Slot")
    await slots.update_many({"t": tenant}, {"$set": {"s": {}}})
    [read_before] = await slots.find({"t": tenant}).to_list()
    await slots.update_one({"_id": read_before["_id"]}, {"$inc": {"v": 1}, "$set": {"s": {"written": 1}}})

    result = await slots.bulk_write([_update(read_before, computed(tenant, read_before["r"]))])

    assert result.matched_count == 0
    [now] = await slots.find({"t": tenant}).to_list()
    assert now["s"] == {"written": 1}


async def test_missing_indexes_are_made(http, store):
    await write(http, "Library", 1, status="draft", type={"text": "x"})
    await store.collection("Library").drop_index("changed")
    await reindex(Database(store.mongodb, store.settings, index_models, WORDS), computed, types=["Library"])
    assert "changed" in await store.collection("Library").index_information()


async def test_an_index_that_a_longer_one_has_replaced_is_dropped(http, store):
    await write(http, "ChargeItem", 1, status="billed", code={"text": "x"}, subject={"reference": "Patient/p"})
    charges = store.collection("ChargeItem")
    old = await charges.create_index([("t", 1), ("s.code", 1), ("_id", 1)], partialFilterExpression={"s.code": {"$exists": True}})
    assert await reindex(store, computed, types=["ChargeItem"]) == 0
    names = await charges.index_information()
    assert old not in names
    assert f"{old}_s.subject_1" in names
