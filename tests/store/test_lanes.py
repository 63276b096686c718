"""Reads over lanes, on a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pymongo.errors import ExecutionTimeout

from fhir_server.store.client import Client
from fhir_server.store.counts import ALONE, Count, Counts
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.lanes import Lanes
from fhir_server.store.search import Search
from fhir_server.store.searches import SHARED_LIMIT, Searches

DATABASE = "fhir_test"
COLLECTION = "lanes"


@pytest.fixture(scope="session")
async def opened(mongodb_uri: str) -> AsyncIterator[Client]:
    """A client with room for two lanes."""
    async with Client(mongodb_uri, maxPoolSize=4) as client:
        yield client


@pytest.fixture
async def lanes(opened: Client, tenant: str) -> Lanes:
    """The lanes of a client whose collection holds twenty documents of this tenant."""
    collection = opened.get_database(DATABASE, codec_options=CODEC_OPTIONS)[COLLECTION]
    await collection.insert_many([{"_id": f"{tenant}/{n:02}", "t": tenant, "n": n, "x": Decimal("1.00")} for n in range(20)])
    return opened.lanes


async def read(lanes: Lanes, **command: Any) -> list[dict[str, Any]] | None:
    """Read from the collection."""
    return await lanes.read(DATABASE, {"find": COLLECTION, **command}, CODEC_OPTIONS)


def search(tenant: str, **more: Any) -> Search:
    """Return a search of this tenant's documents."""
    given: dict[str, Any] = {"projection": {"x": 0}, "sort": (("_id", 1),), "limit": 5, "max_time_ms": 5000, **more}
    return Search(COLLECTION, {"t": tenant, **given.pop("filter", {})}, **given)


async def test_a_read_gives_what_pymongo_gives(opened: Client, lanes: Lanes, tenant: str) -> None:
    collection = opened.get_database(DATABASE, codec_options=CODEC_OPTIONS)[COLLECTION]
    found = await read(lanes, filter={"t": tenant}, sort={"n": -1}, limit=3, batchSize=4)
    assert found == await collection.find({"t": tenant}).sort("n", -1).limit(3).to_list()


async def test_decimals_keep_their_digits(lanes: Lanes, tenant: str) -> None:
    found = await read(lanes, filter={"_id": f"{tenant}/03"})
    assert found is not None
    assert str(found[0]["x"]) == "1.00"


async def test_what_does_not_fit_into_one_batch_is_left_to_pymongo(lanes: Lanes, tenant: str) -> None:
    assert await read(lanes, filter={"t": tenant}, batchSize=2) is None


async def test_an_error_of_the_server_is_left_to_pymongo_and_the_next_read_works(lanes: Lanes, tenant: str) -> None:
    assert await read(lanes, filter={"n": {"$nonsense": 1}}) is None
    assert len(await read(lanes, filter={"t": tenant}, limit=1, batchSize=2) or []) == 1


async def test_a_read_that_runs_out_of_time_is_not_repeated(lanes: Lanes, tenant: str) -> None:
    slow = {"t": tenant, "$where": "sleep(50) || true"}
    with pytest.raises(ExecutionTimeout):
        await read(lanes, filter=slow, maxTimeMS=100)
    assert len(await read(lanes, filter={"t": tenant}, limit=1, batchSize=2) or []) == 1


async def test_more_readers_than_lanes_are_left_to_pymongo(lanes: Lanes, tenant: str) -> None:
    found = await asyncio.gather(*(read(lanes, filter={"t": tenant}, limit=1, batchSize=2) for _ in range(5)))
    assert [len(documents) for documents in found if documents is not None] == [1, 1]


async def test_a_cancelled_read_leaves_no_answer_behind_for_the_next(lanes: Lanes, tenant: str) -> None:
    slow = asyncio.create_task(read(lanes, filter={"t": tenant, "$where": "sleep(20) || true"}))
    await asyncio.sleep(0.05)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    for n in range(4):
        found = await read(lanes, filter={"_id": f"{tenant}/{n:02}"})
        assert found is not None
        assert found[0]["n"] == n


async def test_a_lost_connection_is_left_to_pymongo_and_replaced(lanes: Lanes, tenant: str) -> None:
    await read(lanes, filter={"t": tenant}, limit=1)
    lanes._free[-1]._protocol.transport.abort()
    assert await read(lanes, filter={"t": tenant}, limit=1, batchSize=2) is None
    assert len(await read(lanes, filter={"t": tenant}, limit=1, batchSize=2) or []) == 1


async def test_a_pymongo_with_other_insides_has_no_lanes(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Client(mongodb_uri) as client:
        monkeypatch.setattr(Client, "_conn_for_reads", None)
        assert await client.lanes.read(DATABASE, {"find": COLLECTION}, CODEC_OPTIONS) is None


async def test_closing_gives_every_connection_back(mongodb_uri: str) -> None:
    async with Client(mongodb_uri) as client:
        await client.lanes.read(DATABASE, {"find": COLLECTION, "limit": 1}, CODEC_OPTIONS)
        lane = client.lanes._free[0]
    assert lane._protocol.transport.is_closing()
    assert await client.lanes.read(DATABASE, {"find": COLLECTION}, CODEC_OPTIONS) is None


async def test_searches_at_the_same_time_each_get_their_own_documents_in_order(lanes: Lanes, tenant: str) -> None:
    searches = Searches(lanes, DATABASE, CODEC_OPTIONS)
    asked = [search(tenant, filter={"n": {"$gte": n}}, sort=(("n", -1),), limit=4) for n in range(12)]
    found = await asyncio.gather(*(searches.find(one) for one in asked))
    assert found == [[{"_id": f"{tenant}/{n:02}", "t": tenant, "n": n} for n in (19, 18, 17, 16)] for _ in range(12)]


async def test_a_search_that_finds_nothing_gets_nothing_of_its_neighbours(lanes: Lanes, tenant: str) -> None:
    searches = Searches(lanes, DATABASE, CODEC_OPTIONS)
    found = await asyncio.gather(*(searches.find(search(tenant, filter={"n": n})) for n in (3, 99, 4, 98)))
    assert [[document["n"] for document in documents or []] for documents in found] == [[3], [], [4], []]


async def test_slow_searches_are_no_longer_shared(lanes: Lanes, tenant: str) -> None:
    searches = Searches(lanes, DATABASE, CODEC_OPTIONS)
    slow = search(tenant, filter={"$where": "sleep(20) || true"})
    await searches.find(slow)
    assert slow.shape() in searches._slow
    assert search(tenant, filter={"n": 1}).shape() not in searches._slow


async def test_one_that_runs_out_of_time_does_not_fail_its_neighbours(lanes: Lanes, tenant: str) -> None:
    searches = Searches(lanes, DATABASE, CODEC_OPTIONS)
    work = {"$gte": [{"$size": {"$range": [0, {"$add": ["$n", 2_000_000]}]}}, 0]}
    asked = [search(tenant, filter={"$expr": {"$gte": ["$n", 0]}}) for _ in range(3)]
    asked.append(search(tenant, filter={"$expr": work}, limit=5, max_time_ms=5))
    found = await asyncio.gather(*(searches.find(one) for one in asked), return_exceptions=True)
    assert found == [None] * 4
    with pytest.raises(ExecutionTimeout):
        await searches.find(asked[-1])


async def test_large_pages_go_alone(lanes: Lanes, tenant: str) -> None:
    searches = Searches(lanes, DATABASE, CODEC_OPTIONS)
    found = await asyncio.gather(*(searches.find(search(tenant, limit=SHARED_LIMIT + 1)) for _ in range(2)))
    assert [len(documents or []) for documents in found] == [20, 20]
    assert searches._batchers == {}


def counted(tenant: str, filter_: dict[str, Any], *, limit: int = 10, max_time_ms: int = 10_000) -> Count:
    return Count(COLLECTION, {"t": tenant, **filter_}, limit, max_time_ms)


async def test_counts_at_the_same_time_each_get_their_own_number(lanes: Lanes, tenant: str) -> None:
    """Also those of nothing, of more than their limit, and of another collection; without a limit they are alone."""
    counts = Counts(lanes, DATABASE)
    asked = [counted(tenant, {"n": {"$gte": n}}) for n in range(8, 24)]
    asked.append(Count(f"{COLLECTION}_none", {"t": tenant}, 10, 1000))
    found = await asyncio.gather(*(counts.count(one) for one in asked))
    assert found == [*(min(10, max(0, 20 - n)) for n in range(8, 24)), 0]
    assert await counts.count(counted(tenant, {}, limit=0)) == 20


async def test_a_count_that_runs_out_of_time_does_so_alone(lanes: Lanes, tenant: str) -> None:
    """Its neighbours get their numbers, and all that were with it are counted alone for a while."""
    counts = Counts(lanes, DATABASE)
    work = {"$expr": {"$gte": [{"$size": {"$range": [0, {"$add": ["$n", 2_000_000]}]}}, 0]}}
    slow = counted(tenant, work, max_time_ms=5)
    found = await asyncio.gather(
        *(counts.count(counted(tenant, {"n": n}, max_time_ms=5)) for n in range(4)), counts.count(slow), return_exceptions=True
    )
    assert found[:4] == [1] * 4
    assert isinstance(found[4], ExecutionTimeout)
    assert counts._is_slow(slow.shape())
    assert not counts._is_slow(counted(tenant, {"x": 1}).shape())
    for _ in range(ALONE):
        counts._is_slow(slow.shape())
    assert not counts._is_slow(slow.shape())


async def test_counts_are_left_to_pymongo_where_there_are_no_lanes(
    mongodb_uri: str, monkeypatch: pytest.MonkeyPatch, tenant: str
) -> None:
    async with Client(mongodb_uri) as client:
        monkeypatch.setattr(Client, "_conn_for_reads", None)
        counts = Counts(client.lanes, DATABASE)
        assert await asyncio.gather(*(counts.count(counted(tenant, {"n": n})) for n in range(4))) == [None] * 4
