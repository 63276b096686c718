"""The change feed on a real change stream, and what it falls back on."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from bson.binary import USER_DEFINED_SUBTYPE
from bson.timestamp import Timestamp

from fhir_server.config import Settings
from fhir_server.store import catch_up
from fhir_server.store import feed as module
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.feed import Feed, Interest
from fhir_server.store.positions import Position
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, deletion, write

SSN = "http://hl7.org/fhir/sid/us-ssn"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(client, settings: Settings) -> AsyncIterator[Database]:
    """A database of this test's own: the feed sees all tenants."""
    name = f"feed_{uuid.uuid4().hex[:12]}"
    yield Database(client[name], settings, lambda _: [])
    await client.drop_database(name)


def repo_of(store: Database, tenant: str) -> Repository:
    return Repository(store, Committer(store), tenant)


@pytest.fixture
def repo(store: Database, tenant: str) -> Repository:
    return repo_of(store, tenant)


def now() -> datetime:
    return datetime.now(UTC)


async def create(repo: Repository, id_: str, type_: str = "Patient", **elements: object) -> Version:
    item = write({"resourceType": type_, **elements}, {}, id_=id_, now=now(), method="POST")
    await repo.commit(Unit((item,)))
    return item.version


async def change(repo: Repository, previous: Version, **elements: object) -> Version:
    item = write({"resourceType": previous.type, **elements}, {}, id_=previous.id, now=now(), method="PUT", previous=previous)
    await repo.commit(Unit((item,)))
    return item.version


async def delete(repo: Repository, previous: Version) -> Version:
    item = deletion(previous, now=now())
    await repo.commit(Unit((item,)))
    return item.version


async def start_of(store: Database) -> Position:
    """Return the position of what comes from now on, in the stream."""
    async with aclosing(Feed(store, Interest()).batches(Position(now() + timedelta(hours=1)))) as batches:
        async for batch in batches:
            if batch.position.token:
                return batch.position
    raise AssertionError


async def told(store: Database, position: Position, last: str, interest: Interest = Interest()):  # noqa: B008 -- immutable
    """Return the changes up to the one named, and the position behind it."""
    found = []
    async with asyncio.timeout(30), aclosing(Feed(store, interest).batches(position)) as batches:
        async for batch in batches:
            for one, behind in zip(batch.changes, batch.positions, strict=True):
                found.append(one)
                if named(one) == last:
                    return found, behind
    raise AssertionError


def named(change) -> str:
    return f"{change.reference}/{change.version}"


def names(changes) -> list[str]:
    return [named(change) for change in changes]


async def test_every_version_is_told_once_in_its_order_with_its_kind(store, repo, tenant):
    position = await start_of(store)
    first = await create(repo, "a")
    second = await change(repo, first, active=True)
    await create(repo, "b", "Observation", subject={"reference": "Patient/a"})
    await delete(repo, second)

    found, _ = await told(store, position, "Patient/a/3")

    assert names(found) == ["Patient/a/1", "Patient/a/2", "Observation/b/1", "Patient/a/3"]
    assert [one.kind for one in found] == ["created", "updated", "created", "deleted"]
    assert [one.patient for one in found] == ["Patient/a"] * 4
    assert {one.tenant for one in found} == {tenant}
    assert found[0].moment == first.last_updated


async def test_the_elements_asked_for_come_along_and_no_others(store, repo):
    position = await start_of(store)
    first = await create(repo, "a", active=False, gender="male")
    await change(repo, await delete(repo, await change(repo, first, active=True)), active=True)
    interest = Interest(frozenset({"Patient"}), frozenset({"active"}), frozenset({"Patient"}))

    found, _ = await told(store, position, "Patient/a/4", interest)

    assert [one.elements for one in found] == [{"active": False}, {"active": True}, {}, {"active": True}]
    assert [one.previous for one in found] == [None, {"active": False}, {"active": True}, None]


async def test_what_is_encrypted_is_told_as_it_is_stored_by_a_process_that_knows_no_key(store, tenant, client, settings):
    """Behind, and as it comes; also of the version before."""
    repo = repo_of(store, tenant)
    patient = {"resourceType": "Patient", "identifier": [{"system": SSN, "value": "219-09-9999"}]}
    interest = Interest(elements=frozenset({"identifier"}), previous=frozenset({"Patient"}))
    for position in (Position(LONG_AGO), await start_of(store)):
        version = None
        for _ in range(2):
            id_ = version.id if version else uuid.uuid4().hex
            item = write(patient, {}, id_=id_, now=now(), method="PUT", previous=version, indexer=lambda _: {})
            await repo.commit(Unit((item,)))
            version = item.version
        other = Database(client[store.mongodb.name], settings, lambda _: [])
        found, _ = await told(other, position, f"{version.reference}/2", interest)
        assert [one.kind for one in found[-2:]] == ["created", "updated"]
        for elements in (found[-2].elements, found[-1].elements, found[-1].previous):
            assert elements["identifier"][0]["system"] == SSN
            assert elements["identifier"][0]["value"].subtype == USER_DEFINED_SUBTYPE
            assert b"219" not in elements["identifier"][0]["value"]


async def test_only_the_types_asked_for_are_told(store, repo):
    position = await start_of(store)
    await create(repo, "a", "Observation")
    await create(repo, "b", "Patient")
    found, _ = await told(store, position, "Patient/b/1", Interest(frozenset({"Patient"})))
    assert names(found) == ["Patient/b/1"]


async def test_what_is_stored_beside_resources_is_no_change(store, repo):
    position = await start_of(store)
    await store.collection("_something").insert_one({"w": 1, "t": repo.tenant, "i": "x", "v": 1, "u": now()})
    await create(repo, "a")
    await store.collection("Patient").update_one({"i": "a"}, {"$set": {"s": {"new": ["1"]}}})
    await create(repo, "b")
    found, _ = await told(store, position, "Patient/b/1")
    assert names(found) == ["Patient/a/1", "Patient/b/1"]


async def test_it_goes_on_behind_each_change(store, repo):
    position = await start_of(store)
    for number in range(5):
        await create(repo, str(number))
    _, behind = await told(store, position, "Patient/1/1")
    found, _ = await told(store, behind, "Patient/4/1")
    assert names(found) == ["Patient/2/1", "Patient/3/1", "Patient/4/1"]


async def test_a_transaction_is_told_whole_and_many_changes_come_in_few_batches(store, repo):
    position = await start_of(store)
    writes = [write({"resourceType": "Patient"}, {}, id_=f"p{n:03}", now=now(), method="POST") for n in range(120)]
    await repo.commit(Unit(tuple(writes)))
    sizes, found = [], []
    async with asyncio.timeout(30), aclosing(Feed(store, Interest()).batches(position)) as batches:
        async for batch in batches:
            sizes.append(len(batch.changes))
            found += names(batch.changes)
            if len(found) == 120:
                break
    assert sorted(found) == [f"Patient/p{n:03}/1" for n in range(120)]
    assert len([size for size in sizes if size]) < 12


@pytest.mark.parametrize("lost", [{"_data": "8200"}, {"_data": "not a token"}])
async def test_without_its_token_it_catches_up_from_the_history_and_follows_the_stream(store, repo, lost):
    first = await create(repo, "a")
    third = await change(repo, await change(repo, first, active=True), active=False)
    await create(repo, "b", "Observation")
    position = Position(now() - timedelta(minutes=1), lost)
    batches = Feed(store, Interest()).batches(position)
    async with asyncio.timeout(30), aclosing(batches):
        caught_up = await anext(batches)
        assert names(caught_up.changes) == ["Patient/a/1", "Patient/a/2", "Patient/a/3", "Observation/b/1"]
        await delete(repo, third)
        assert names((await anext(batches)).changes) == ["Patient/a/4"]


async def test_an_oplog_that_no_longer_reaches_back_makes_it_catch_up(store, repo):
    await create(repo, "a")
    ancient = Position(now() - timedelta(minutes=1), start_at=Timestamp(1, 1))
    found, _ = await told(store, replace(ancient, token={"_data": "820000000100000001"}), "Patient/a/1")
    assert names(found) == ["Patient/a/1"]
    found, _ = await told(store, ancient, "Patient/a/1")
    assert "Patient/a/1" in names(found)


async def test_it_catches_up_page_by_page_with_all_tenants_and_each_version_once(store, tenant, monkeypatch):
    monkeypatch.setattr(catch_up, "PAGE", 3)
    repos = [repo_of(store, f"{tenant}{n}") for n in range(3)]
    expected = []
    for number in range(4):
        for repo in repos:
            first = await create(repo, f"p{number}")
            await change(repo, first)
            await create(repo, f"o{number}", "Observation")
            expected += [(repo.tenant, f"Patient/p{number}/{v}") for v in (1, 2)] + [(repo.tenant, f"Observation/o{number}/1")]
    found, pages = [], 0
    async with asyncio.timeout(30), aclosing(Feed(store, Interest()).batches(Position(LONG_AGO))) as batches:
        async for batch in batches:
            pages += 1
            found += [(one.tenant, named(one)) for one in batch.changes]
            if batch.position.since == LONG_AGO or not batch.changes or batch.position.token:
                break
            if len(found) >= len(expected):
                break
    assert sorted(found) == sorted(expected)
    assert pages > 4
    moments = {}
    for where, name in found:
        resource, _, version = name.rpartition("/")
        assert moments.get((where, resource), 0) < int(version)
        moments[where, resource] = int(version)


async def test_many_versions_of_one_moment_are_all_caught_up_with(store, repo, monkeypatch):
    monkeypatch.setattr(catch_up, "PAGE", 2)
    moment = now()
    writes = [write({"resourceType": "Patient"}, {}, id_=f"p{n}", now=moment, method="POST") for n in range(9)]
    await repo.commit(Unit(tuple(writes)))
    await create(repo, "last")
    found, _ = await told(store, Position(moment - timedelta(minutes=1)), "Patient/last/1")
    assert sorted(set(names(found))) == sorted([*(f"Patient/p{n}/1" for n in range(9)), "Patient/last/1"])


async def test_an_interrupted_catch_up_goes_on_where_it_was(store, repo, monkeypatch):
    monkeypatch.setattr(catch_up, "PAGE", 4)
    for number in range(12):
        await create(repo, f"p{number:02}")
    _, behind = await told(store, Position(LONG_AGO), "Patient/p05/1")
    assert behind.token is None
    assert behind.start_at is not None
    found, _ = await told(store, behind, "Patient/p11/1")
    assert names(found) == [f"Patient/p{n:02}/1" for n in range(5, 12)]


async def test_a_version_that_is_superseded_while_it_catches_up_is_not_overseen(store, repo, monkeypatch):
    versions = [await create(repo, f"p{n}") for n in range(4)]
    read = catch_up.CatchUp._read

    async def read_and_disturb(self, name, *rest):
        found = await read(self, name, *rest)
        if name == "Patient" and versions:
            await change(repo, versions.pop(), active=True)
        return found

    monkeypatch.setattr(catch_up.CatchUp, "_read", read_and_disturb)
    found, _ = await told(store, Position(LONG_AGO), "Patient/p3/2")
    assert {*names(found)} >= {"Patient/p0/1", "Patient/p1/1", "Patient/p2/1", "Patient/p3/1", "Patient/p3/2"}


async def test_a_database_that_is_dropped_and_made_again_is_followed_again(store, repo, client):
    position = await start_of(store)
    await create(repo, "a")
    batches = Feed(store, Interest()).batches(position)
    async with asyncio.timeout(60), aclosing(batches):
        assert names((await anext(batches)).changes) == ["Patient/a/1"]
        await client.drop_database(store.mongodb.name)
        await asyncio.sleep(0.5)
        await create(repo_of(Database(client[store.mongodb.name], store.settings, lambda _: []), repo.tenant), "b")
        while not (found := names((await anext(batches)).changes)):
            pass
        assert found == ["Patient/b/1"]


async def test_an_empty_batch_moves_the_position_on_while_nothing_of_interest_happens(store, monkeypatch):
    monkeypatch.setattr(module, "AWAIT_MS", 50)
    position = await start_of(store)
    await store.collection("_other").insert_one({})
    async with asyncio.timeout(30), aclosing(Feed(store, Interest()).batches(position)) as batches:
        async for batch in batches:
            if batch.position.token != position.token:
                assert batch.changes == []
                break
