"""Several feeds that read one change stream."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fhir_server.config import Settings
from fhir_server.store import feed as module
from fhir_server.store import shared_stream
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.feed import Feed, Interest, Sharing
from fhir_server.store.positions import Position
from fhir_server.store.repository import Repository
from fhir_server.store.stream import ChangeStream
from fhir_server.store.tasks import end
from fhir_server.store.writes import Unit, write

PATIENTS = Interest(frozenset({"Patient"}), frozenset({"active"}))


@pytest.fixture
async def store(client, settings: Settings) -> AsyncIterator[Database]:
    """A database of this test's own: the feed sees all tenants."""
    name = f"shared_{uuid.uuid4().hex[:12]}"
    yield Database(client[name], settings, lambda _: [])
    await client.drop_database(name)


@pytest.fixture
def repo(store: Database, tenant: str) -> Repository:
    return Repository(store, Committer(store), tenant)


@pytest.fixture
def opened(monkeypatch) -> list[bool]:
    """The streams that were opened: whether each had a place to go on from."""
    found: list[bool] = []
    open_ = ChangeStream.open

    async def noted(self, position, pipeline):
        found.append(bool(position.token))
        await open_(self, position, pipeline)

    monkeypatch.setattr(ChangeStream, "open", noted)
    return found


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(module, "AWAIT_MS", 50)


async def create(repo: Repository, *names: str) -> None:
    """Create resources, such as `Patient/a`, one after the other."""
    for name in names:
        type_, id_ = name.split("/")
        resource = {"resourceType": type_, "active": True, "gender": "male"}
        await repo.commit(Unit((write(resource, {}, id_=id_, now=datetime.now(UTC), method="POST"),)))


class Following:
    """Follows a feed, remembering what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.elements: list[dict] = []
        self.position = Position(datetime.now(UTC) + timedelta(hours=1))
        self.held: asyncio.Event | None = None

    async def run(self, feed: Feed) -> None:
        """Follow until cancelled."""
        async with aclosing(feed.batches(self.position)) as batches:
            async for batch in batches:
                if batch.changes and self.held:
                    await self.held.wait()
                self.told += [one.reference for one in batch.changes]
                self.elements += [dict(one.elements) for one in batch.changes]
                self.position = batch.position


@asynccontextmanager
async def following(*feeds: Feed):
    found = [Following() for _ in feeds]
    tasks = [asyncio.create_task(one.run(feed)) for one, feed in zip(found, feeds, strict=True)]
    try:
        await until(lambda: all(one.position.token for one in found))
        yield found
    finally:
        await end(*tasks)


async def until(what) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 -- what changes is in the hands of others
            await asyncio.sleep(0.01)


async def shared(sharing: Sharing, readers: int) -> None:
    """Wait until so many read the shared stream."""
    await until(lambda: sharing.stream._readers == readers)


async def test_those_who_have_caught_up_read_one_stream_and_are_told_what_they_asked_for(store, repo, opened):
    sharing = Sharing(store)
    feeds = [Feed(store, interest, sharing) for interest in (PATIENTS, Interest(), Interest(frozenset({"Basic"})))]
    async with following(*feeds) as (patients, everything, basics):
        await shared(sharing, 3)
        before = len(opened)
        await create(repo, "Patient/a", "Basic/b", "Observation/c", "Patient/d")
        await until(lambda: len(everything.told) == 4 and len(patients.told) == 2 and basics.told)
        assert len(opened) == before
    assert everything.told == ["Patient/a", "Basic/b", "Observation/c", "Patient/d"]
    assert patients.told == ["Patient/a", "Patient/d"]
    assert basics.told == ["Basic/b"]
    assert patients.elements == [{"active": True}] * 2
    assert everything.elements == [{}] * 4
    assert sharing.stream._reading is None


async def test_who_stands_at_a_change_that_is_of_no_interest_to_it_goes_on_there(store, repo):
    sharing = Sharing(store)
    feeds = [Feed(store, Interest(), sharing), Feed(store, Interest(frozenset({"Basic"})), sharing)]
    async with following(*feeds) as (_, basics):
        await shared(sharing, 2)
        await create(repo, "Patient/a", "Patient/b")
        token = sharing.stream.token
        await until(lambda: basics.position.token and basics.position.token["_data"] > token["_data"])
    again = Following()
    again.position = basics.position
    await create(repo, "Basic/c")
    task = asyncio.create_task(again.run(Feed(store, Interest(frozenset({"Basic"})))))
    await until(lambda: again.told)
    await end(task)
    assert again.told == ["Basic/c"]


async def test_who_comes_later_gets_what_is_kept_and_each_change_once(store, repo):
    sharing = Sharing(store)
    first, second = Feed(store, Interest(), sharing), Feed(store, Interest(), sharing)
    async with following(first) as (early,):
        await shared(sharing, 1)
        await create(repo, *(f"Patient/p{n}" for n in range(6)))
        await until(lambda: len(early.told) == 6)
        place = sharing.stream._kept[2]["_id"]
        late = Following()
        late.position = replace(early.position, token=place)
        task = asyncio.create_task(late.run(second))
        await until(lambda: len(late.told) == 3)
        await shared(sharing, 2)
        await create(repo, "Patient/last")
        await until(lambda: len(late.told) == 4 and len(early.told) == 7)
        await end(task)
    assert late.told == ["Patient/p3", "Patient/p4", "Patient/p5", "Patient/last"]
    assert early.told == [*(f"Patient/p{n}" for n in range(6)), "Patient/last"]


async def test_who_is_too_slow_reads_a_stream_of_its_own_and_misses_nothing(store, repo, monkeypatch):
    monkeypatch.setattr(shared_stream, "KEPT", 3)
    sharing = Sharing(store)
    async with following(Feed(store, Interest(), sharing), Feed(store, Interest(), sharing)) as (fast, slow):
        await shared(sharing, 2)
        slow.held = asyncio.Event()
        await create(repo, *(f"Patient/p{n:02}" for n in range(12)))
        await until(lambda: len(fast.told) == 12)
        slow.held.set()
        await until(lambda: len(slow.told) == 12)
    assert slow.told == fast.told == [f"Patient/p{n:02}" for n in range(12)]


async def test_when_the_shared_stream_ends_they_go_on_by_themselves_and_come_together_again(store, repo, monkeypatch):
    monkeypatch.setattr(module, "ALONE_SECONDS", 0.1)
    sharing = Sharing(store)
    async with following(Feed(store, Interest(), sharing), Feed(store, PATIENTS, sharing)) as (one, other):
        await shared(sharing, 2)
        await create(repo, "Patient/a")
        await until(lambda: one.told and other.told)
        ended = sharing.stream._reading
        ended.cancel()
        await until(ended.done)
        await create(repo, "Patient/b")
        await until(lambda: len(one.told) == len(other.told) == 2)
        await shared(sharing, 2)
        await create(repo, "Patient/c")
        await until(lambda: len(one.told) == len(other.told) == 3)
    assert one.told == other.told == ["Patient/a", "Patient/b", "Patient/c"]


async def test_of_what_is_no_version_nothing_comes_from_mongodb(store, repo, monkeypatch):
    came = []
    read = ChangeStream.read

    async def noted(self):
        found = await read(self)
        came.extend(event["ns"]["coll"] for event in found)
        return found

    monkeypatch.setattr(ChangeStream, "read", noted)
    async with following(Feed(store, Interest())) as (one,):
        await store.collection("_words_less").insert_one({"_id": "x/-adams", "w": ["adams"]})
        await create(repo, "Patient/a")
        await until(lambda: one.told)
    assert came == ["Patient"]
