"""Whether what was done to the trail shows, and what is removed in time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.search.index import index_models
from fhir_server.security.audit.record import Record, unpacked
from fhir_server.security.audit.trail import Trail, partition, partitions
from fhir_server.security.audit.upkeep import Verification, Verified, prune, read_heads, write_heads
from fhir_server.store.database import Database, connect


@pytest.fixture
async def alone(settings: Settings, mongodb_uri: str, tenant: str) -> AsyncIterator[Database]:
    """A database of its own, since pruning is about all tenants."""
    async with connect(mongodb_uri, settings) as client:
        yield Database(client[f"audit_{tenant}"], settings, index_models)
        await client.drop_database(f"audit_{tenant}")


async def written(database: Database, tenant: str, batches: int = 4) -> Trail:
    """Return a trail with so many batches."""
    trail = Trail(database)
    for number in range(batches):
        await trail.record(tenant, [Record(number, "rest", "read", 200, "Patient", str(number), patients=(str(number),))])
    return trail


async def verified(database: Database, tenant: str = "", **more: Any) -> Verified:
    """Return what is found."""
    return await Verification(database, tenant, **more).run()


async def collection(database: Database) -> Any:
    """Return the one partition."""
    (name,) = await partitions(database)
    return database.collection(name)


async def test_a_trail_as_it_was_written_is_whole(alone: Database, tenant: str) -> None:
    """Chains of several processes and tenants are verified."""
    for name in (tenant, tenant, "another"):
        await written(alone, name)
    found = await verified(alone)
    assert (found.problems, found.batches, found.records, len(found.heads)) == ([], 12, 12, 3)


@pytest.mark.parametrize("member", ["b", "k", "p", "h", "g"])
async def test_a_change_shows(alone: Database, tenant: str, member: str) -> None:
    """Whatever is changed of a batch is found."""
    await written(alone, tenant)
    batches = await collection(alone)
    one, other = await batches.find().sort("_id", 1).skip(1).limit(2).to_list()
    value = other[member] if member != "g" else b"12345678"
    await batches.update_one({"_id": one["_id"]}, {"$set": {member: value}})
    assert any(one["_id"] in problem for problem in (await verified(alone)).problems)


async def test_a_removal_shows(alone: Database, tenant: str) -> None:
    """A batch that is missing at the beginning or in the middle is found."""
    for place in (0, 2):
        await written(alone, tenant)
        batches = await collection(alone)
        chain = (await batches.find().sort("_id", -1).limit(1).to_list())[0]["_id"].split("-")[1]
        of_chain = await batches.find({"_id": {"$regex": chain}}).sort("_id", 1).to_list()
        await batches.delete_one({"_id": of_chain[place]["_id"]})
        assert any("removed" in one and chain in one for one in (await verified(alone)).problems)


async def test_an_insertion_shows(alone: Database, tenant: str) -> None:
    """A copy of a batch under another key, or one that somebody made up, is found."""
    await written(alone, tenant)
    batches = await collection(alone)
    (one,) = await batches.find().sort("_id", 1).skip(1).limit(1).to_list()
    head, chain, number = one["_id"].rsplit("-", 2)
    await batches.insert_one(one | {"_id": f"{head}-{chain}-{int(number, 16) + 7:08x}"})
    assert any("wrong" in problem for problem in (await verified(alone)).problems)


async def test_a_removed_end_shows_by_heads(alone: Database, tenant: str, tmp_path: Path) -> None:
    """Heads that were kept elsewhere tell that the end of a chain, or all of it, is gone."""
    await written(alone, tenant)
    heads = tmp_path / "heads.json"
    write_heads(heads, (await verified(alone)).heads)
    assert (await verified(alone, expected=read_heads(heads))).problems == []
    batches = await collection(alone)
    (last,) = await batches.find().sort("_id", -1).limit(1).to_list()
    await batches.delete_one({"_id": last["_id"]})
    assert (await verified(alone)).problems == []
    (problem,) = (await verified(alone, expected=read_heads(heads))).problems
    assert problem.endswith("batches up to 3 were there; now it ends at 2: removed")


async def test_months_are_removed_when_they_are_old_enough(alone: Database, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pruned leaves a mark, so that the rest of a chain is still verified; a forged mark is found."""
    trail = await written(alone, tenant, 2)
    monkeypatch.setattr(
        "fhir_server.security.audit.trail.time.time_ns", lambda: int(datetime(2099, 3, 5, tzinfo=UTC).timestamp()) * 10**9
    )
    for number in range(2):
        await trail.record(tenant, [Record(number, "rest", "read", 200)])
    first, second = await partitions(alone)
    assert second == partition(datetime(2099, 3, 1, tzinfo=UTC))
    assert await prune(alone, 30, lambda: datetime(2099, 3, 6, tzinfo=UTC)) == [first]
    assert await partitions(alone) == [second]
    found = await verified(alone)
    assert (found.problems, found.batches) == ([], 2)
    await alone.collection("_audit").update_one({}, {"$set": {"n": 0}})
    assert any("not authentic" in problem for problem in (await verified(alone)).problems)
    assert await prune(alone, 30, lambda: datetime(2099, 4, 30, tzinfo=UTC)) == []
    assert await prune(alone, 30, lambda: datetime(2099, 5, 1, tzinfo=UTC)) == [second]


async def test_patient_records_wait_for_others_until_one_is_in_a_hurry(
    alone: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody waits for goes together with what comes meanwhile, and keeps nobody waiting."""
    monkeypatch.setattr("fhir_server.security.audit.trail.PATIENT_SECONDS", 3600)
    trail = Trail(alone)

    def record(number: int) -> list[Record]:
        return [Record(number, "rest", "update", 200, "Patient", str(number))]

    async with asyncio.timeout(60):
        patient = [asyncio.create_task(trail.record(tenant, record(number), patient=True)) for number in range(3)]
        await asyncio.sleep(0)
        await trail.record(tenant, record(3))
        await asyncio.gather(*patient)
    batches = await (await collection(alone)).find({"t": tenant}).to_list()
    assert [len(unpacked(one["b"])) for one in batches] == [4]
