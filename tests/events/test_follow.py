"""Delivery to sinks, through failures: real change streams, a real Valkey."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from fhir_server.events import follow
from fhir_server.events.consumer import Consumer, ConsumerSink
from fhir_server.events.event import Named, Naming
from fhir_server.events.follow import Follower
from fhir_server.events.redis_stream import RedisStream
from fhir_server.fhir.codec import decode
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.positions import POSITIONS, Lease, Position
from fhir_server.store.repository import Repository
from fhir_server.store.tasks import end
from fhir_server.store.valkey import EmbeddedValkey
from fhir_server.store.writes import Unit, write


class Remembering:
    """A sink that remembers what it took; `failing` and `stopping` say before which event it raises, or waits for ever."""

    resource_types = frozenset()

    def __init__(self, name: str = "remembering", batch: int = 2) -> None:
        self.name = name
        self.batch = batch
        self.taken: list[str] = []
        self.failing: dict[str, int] = {}
        self.stopping = ""
        self.closed = False

    async def deliver(self, events):
        """Take, fail or wait."""
        for event in events:
            if event.id == self.stopping:
                await asyncio.Event().wait()
            if self.failing.get(event.id, 0):
                self.failing[event.id] -= 1
                raise RuntimeError(event.id)
            self.taken.append(event.id)

    async def close(self):
        """Remember that too."""
        self.closed = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(follow, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(follow, "IDLE_SAVE_SECONDS", 0.05)
    monkeypatch.setattr("fhir_server.store.feed.AWAIT_MS", 50)


@pytest.fixture
async def store(client, settings):
    name = f"follow_{uuid.uuid4().hex[:12]}"
    yield Database(client[name], settings, lambda _: [])
    await client.drop_database(name)


@pytest.fixture
def repo(store, tenant):
    return Repository(store, Committer(store), tenant)


async def create(repo, *ids: str, type_: str = "Patient") -> None:
    for id_ in ids:
        item = write({"resourceType": type_}, {}, id_=id_, now=datetime.now(UTC), method="POST")
        await repo.commit(Unit((item,)))


@asynccontextmanager
async def following(store, sink, *, namings=None, lease_seconds=3.0, since=None):
    start = since or datetime.now(UTC) - timedelta(seconds=5)
    task = asyncio.create_task(Follower(store, sink, namings or {}, since=start, lease_seconds=lease_seconds).run())
    try:
        yield task
    finally:
        await end(task)


async def until(what, seconds=30):
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 -- what changes is in the hands of others
            await asyncio.sleep(0.01)


async def published(url, stream, last) -> list[dict]:
    """Return the events of the stream as soon as the one named is among them."""
    async with asyncio.timeout(30):
        while True:
            found = await entries(url, stream)
            if any(event.get("id") == last for event in found):
                return found
            await asyncio.sleep(0.02)


async def in_stream(store, name="remembering"):
    """Wait until what is written from now on is told once: while it catches up it may be twice."""
    async with asyncio.timeout(20):
        while True:
            found = await store.collection(POSITIONS).find_one({"_id": name})
            if found and found.get("token"):
                return
            await asyncio.sleep(0.02)


def ids(*names: str) -> list[str]:
    return [f"Patient/{name}/1" for name in names]


async def test_what_was_written_before_and_after_the_start_is_delivered_in_order(store, repo):
    sink = Remembering()
    await create(repo, "a", "b")
    async with following(store, sink):
        await in_stream(store)
        await create(repo, "c", "d", "e")
        await until(lambda: len(sink.taken) == 5)
    assert sink.taken == ids("a", "b", "c", "d", "e")
    assert sink.closed


async def test_a_sink_that_fails_gets_the_same_events_again_and_those_behind_them_later(store, repo):
    sink = Remembering(batch=1)
    sink.failing = {"Patient/b/1": 3}
    async with following(store, sink):
        await in_stream(store)
        await create(repo, "a", "b", "c")
        await until(lambda: len(sink.taken) == 3)
    assert sink.taken == ids("a", "b", "c")
    assert sink.failing == {"Patient/b/1": 0}


async def test_one_that_is_killed_in_the_middle_goes_on_where_it_was(store, repo):
    first = Remembering(batch=1)
    first.stopping = "Patient/c/1"
    await create(repo, "a")
    async with following(store, first):
        await in_stream(store)
        await create(repo, "b", "c", "d")
        await until(lambda: first.taken == ids("a", "b"))
    second = Remembering(batch=1)
    async with following(store, second):
        await until(lambda: "Patient/d/1" in second.taken)
    assert second.taken == ids("c", "d")


async def test_a_lost_token_makes_it_catch_up_from_the_history(store, repo):
    first = Remembering()
    await create(repo, "a")
    async with following(store, first):
        await in_stream(store)
        await create(repo, "b")
        await until(lambda: first.taken == ids("a", "b"))
    await create(repo, "c")
    await store.collection(POSITIONS).update_one({"_id": "remembering"}, {"$set": {"token": {"_data": "8200"}}})
    second = Remembering()
    async with following(store, second):
        await until(lambda: "Patient/c/1" in second.taken)
    # Catching up begins ten minutes earlier, since clocks differ: these are told again.
    assert second.taken == ids("a", "b", "c")


async def test_of_several_processes_one_leads_and_another_takes_over(store, repo):
    one, other = Remembering(), Remembering()
    async with following(store, one, lease_seconds=1.0) as leading:
        await in_stream(store)
        await create(repo, "a")
        await until(lambda: one.taken == ids("a"))
        async with following(store, other, lease_seconds=1.0):
            await create(repo, "b")
            await until(lambda: one.taken == ids("a", "b"))
            await asyncio.sleep(1.5)
            assert other.taken == []
            await end(leading)
            await create(repo, "c")
            await until(lambda: other.taken == ids("c"))
    assert one.taken == ids("a", "b")


async def test_a_leader_whose_lease_was_taken_stops_and_writes_nothing_down(store, repo):
    sink = Remembering(batch=1)
    sink.stopping = "Patient/a/1"
    await create(repo, "a")
    thief = Lease(store, sink.name, seconds=60)
    async with following(store, sink, lease_seconds=0.6):
        await until(lambda: sink.stopping)
        await asyncio.sleep(0.3)
        await store.collection(POSITIONS).update_one({"_id": sink.name}, {"$unset": {"owner": "", "until": ""}})
        assert await thief.acquire()
        taken = Position(datetime.now(UTC).replace(microsecond=0), {"_data": "thief"})
        assert await thief.save(taken)
        await asyncio.sleep(1)
        assert await thief.position() == taken
        assert await thief.renew()
    assert sink.taken == []


async def test_what_fails_for_other_reasons_is_taken_up_again(store, repo, monkeypatch):
    sink = Remembering()
    broken = [ValueError("once"), ValueError("twice")]
    take = Follower._take

    async def take_or_break(self, batch):
        if batch.changes and broken:
            raise broken.pop()
        await take(self, batch)

    monkeypatch.setattr(Follower, "_take", take_or_break)
    async with following(store, sink, lease_seconds=1.0):
        await in_stream(store)
        await create(repo, "a")
        await until(lambda: sink.taken)
    assert (sink.taken, broken) == (ids("a"), [])


async def test_namings_name_events_and_one_that_fails_leaves_the_general_name(store, repo):
    seen = []

    class Seeing(Remembering):
        async def deliver(self, events):
            seen.extend((event.id, event.type, dict(event.data), event.patient) for event in events)

    def name(change):
        if change.id == "odd":
            raise KeyError(change.id)
        return Named("PATIENT_CREATED", {"more": "x"}, "Patient/other") if change.id == "a" else None

    async with following(store, Seeing(), namings={"Patient": Naming(name)}):
        await in_stream(store)
        await create(repo, "a", "odd", "plain")
        await until(lambda: len(seen) == 3)
    general = "org.fhir.patient.created"
    assert seen == [
        (
            "Patient/a/1",
            "PATIENT_CREATED",
            {"resourceType": "Patient", "id": "a", "versionId": "1", "more": "x"},
            "Patient/other",
        ),
        ("Patient/odd/1", general, {"resourceType": "Patient", "id": "odd", "versionId": "1"}, "Patient/odd"),
        ("Patient/plain/1", general, {"resourceType": "Patient", "id": "plain", "versionId": "1"}, "Patient/plain"),
    ]


async def test_a_consumer_is_handed_the_events_it_is_interested_in_with_the_context_of_their_tenant(store, repo, tenant):
    handled = []

    async def handle(ctx, event):
        handled.append((ctx, event.id))

    async def context_of(wanted):
        return f"context of {wanted}"

    consumer = Consumer("mine", handle, frozenset({"Patient"}), frozenset({"org.fhir.patient.created"}))
    async with following(store, ConsumerSink(consumer, context_of)):
        await in_stream(store, "mine")
        await create(repo, "o", type_="Observation")
        await create(repo, "a")
        await until(lambda: handled)
    assert handled == [(f"context of {tenant}", "Patient/a/1")]


async def entries(url: str, stream: str) -> list[dict]:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        return [decode(fields["event"].encode()) for _, fields in await client.xrange(stream)]


async def test_events_stand_in_the_stream_as_cloudevents_without_health_data(store, repo, redis_url, tenant):
    stream = f"{tenant}:events"
    async with following(store, RedisStream(redis_url, stream, kept=1000)):
        await in_stream(store, "redis")
        item = write(
            {"resourceType": "Patient", "name": [{"family": "Curie"}]}, {}, id_="a", now=datetime.now(UTC), method="POST"
        )
        await repo.commit(Unit((item,)))
        found = await published(redis_url, stream, "Patient/a/1")
    assert found == [
        {
            "specversion": "1.0",
            "id": "Patient/a/1",
            "source": f"urn:fhir-server:{tenant}",
            "type": "org.fhir.patient.created",
            "subject": "Patient/a",
            "time": item.version.resource["meta"]["lastUpdated"],
            "datacontenttype": "application/json",
            "tenant": tenant,
            "change": "created",
            "partitionkey": "Patient/a",
            "data": {"resourceType": "Patient", "id": "a", "versionId": "1"},
        }
    ]


async def test_the_stream_may_hold_the_resource_where_that_is_asked_for(store, repo, redis_url, tenant):
    stream = f"{tenant}:events"

    async def read(event):
        return {"resourceType": "Patient", "id": event.change.id}

    async with following(store, RedisStream(redis_url, stream, kept=1000, read=read)):
        await create(repo, "a")
        found = await published(redis_url, stream, "Patient/a/1")
    assert found[0]["data"]["resource"] == {"resourceType": "Patient", "id": "a"}


async def test_valkey_that_goes_away_and_comes_back_misses_nothing(store, repo, tenant, tmp_path):
    with EmbeddedValkey(tmp_path) as valkey:
        valkey.wait()
        stream = f"{tenant}:events"
        async with following(store, RedisStream(valkey.url, stream, kept=1000)):
            await in_stream(store, "redis")
            await create(repo, "a")
            await published(valkey.url, stream, "Patient/a/1")
            # Its log is written once a second.
            await asyncio.sleep(1.2)
            valkey._process.kill()
            valkey._process.wait()
            with pytest.raises(RedisConnectionError):
                await entries(valkey.url, stream)
            await create(repo, "b", "c")
            await asyncio.sleep(0.2)
            assert valkey.restart_if_dead()
            valkey.wait()
            await create(repo, "d")
            found = await published(valkey.url, stream, "Patient/d/1")
    assert [event["id"] for event in found] == ids("a", "b", "c", "d")


async def test_a_valkey_that_is_full_loses_the_oldest_events_and_takes_the_new(store, repo, tenant, tmp_path):
    with EmbeddedValkey(tmp_path) as valkey:
        valkey.wait()
        stream = f"{tenant}:events"
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            for number in range(40):
                await client.xadd(stream, {"event": b'{"id": "%d"}' % number + b" " * 100_000})
            used = (await client.info("memory"))["used_memory"]
            await client.config_set("maxmemory", used - 500_000)
        async with following(store, RedisStream(valkey.url, stream, kept=100_000)):
            await create(repo, "a")
            found = await published(valkey.url, stream, "Patient/a/1")
        assert [event["id"] for event in found][:21] == [*map(str, range(20, 40)), "Patient/a/1"]
