"""Versions, history and transactions on a real MongoDB."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.commit import Committer
from fhir_server.store.database import Database
from fhir_server.store.history import After, Wanted, count_versions, find_versions
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version, history_document
from fhir_server.store.writes import Unit, VersionConflictError, Write, deletion, write

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


@pytest.fixture
def store(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> Database:
    return Database(database, settings, lambda _: [])


@pytest.fixture
def repo(store: Database, tenant: str) -> Repository:
    return Repository(store, Committer(store), tenant)


def creation(id_: str = "a", **members: Any) -> Write:
    return write({"resourceType": "Basic", **members}, {"x": ["1"]}, id_=id_, now=NOW, method="POST")


def change(previous: Version, **members: Any) -> Write:
    return write({"resourceType": "Basic", **members}, {}, id_=previous.id, now=NOW, method="PUT", previous=previous)


async def test_what_is_created_comes_back_with_its_stamp(repo: Repository) -> None:
    await repo.commit(Unit((creation(meta={"tag": [{"code": "t"}], "versionId": "99"}),)))
    found = await repo.current("Basic", "a")
    assert found is not None
    assert found.resource == {
        "resourceType": "Basic",
        "id": "a",
        "meta": {"versionId": "1", "lastUpdated": "2024-05-06T07:08:09.123Z", "tag": [{"code": "t"}]},
    }
    assert (found.number, found.last_updated, found.method) == (1, NOW.replace(microsecond=123000), "POST")


async def test_decimals_keep_their_digits(repo: Repository) -> None:
    await repo.commit(Unit((creation(extension=[{"url": "u", "valueDecimal": Decimal("1.00")}]),)))
    found = await repo.current("Basic", "a")
    assert found is not None
    assert found.resource is not None
    assert str(found.resource["extension"][0]["valueDecimal"]) == "1.00"


async def test_a_second_creation_under_the_same_id_is_a_conflict(repo: Repository) -> None:
    await repo.commit(Unit((creation(),)))
    with pytest.raises(VersionConflictError):
        await repo.commit(Unit((creation(),)))


async def test_of_creations_in_one_batch_only_the_one_in_conflict_fails(repo: Repository) -> None:
    await repo.commit(Unit((creation("b"),)))
    results = await asyncio.gather(*(repo.commit(Unit((creation(name),))) for name in "abcd"), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), VersionConflictError, type(None), type(None)]


async def test_an_update_keeps_the_old_version_in_history(repo: Repository) -> None:
    first = creation(language="de")
    await repo.commit(Unit((first,)))
    second = change(first.version, language="fr")
    await repo.commit(Unit((second,)))
    old, new = await repo.version("Basic", "a", 1), await repo.version("Basic", "a", 2)
    assert old == first.version
    assert new == second.version
    assert await repo.version("Basic", "a", 3) is None


def test_versions_follow_each_other_in_time_even_when_the_clock_stands_still() -> None:
    first = creation()
    second = change(first.version)
    assert second.version.last_updated - first.version.last_updated == timedelta(milliseconds=1)


async def test_an_update_of_a_version_that_is_not_current_is_a_conflict_and_changes_nothing(repo: Repository) -> None:
    first = creation()
    await repo.commit(Unit((first,)))
    await repo.commit(Unit((change(first.version, language="de"),)))
    with pytest.raises(VersionConflictError):
        await repo.commit(Unit((change(first.version, language="fr"),)))
    current = await repo.current("Basic", "a")
    assert current is not None
    assert (current.number, current.resource and current.resource["language"]) == (2, "de")


async def test_of_concurrent_updates_of_one_version_exactly_one_wins(repo: Repository) -> None:
    first = creation()
    await repo.commit(Unit((first,)))
    attempts = [repo.commit(Unit((change(first.version, language=f"l{number}"),))) for number in range(12)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, VersionConflictError) for result in results) == 11


async def test_updates_of_different_resources_share_round_trips_and_all_succeed(repo: Repository) -> None:
    firsts = [creation(f"r{number}") for number in range(20)]
    await asyncio.gather(*(repo.commit(Unit((item,))) for item in firsts))
    await asyncio.gather(*(repo.commit(Unit((change(item.version),))) for item in firsts))
    found = await repo.currents(("Basic", f"r{number}") for number in range(20))
    assert {version.number for version in found} == {2}
    assert len(found) == 20


async def test_of_updates_by_several_processes_exactly_one_wins_and_history_has_each_version_once(
    repo: Repository, store: Database
) -> None:
    processes = [Repository(store, Committer(store), repo.tenant) for _ in range(4)]
    items = [creation(f"p{number}") for number in range(6)]
    await asyncio.gather(*(repo.commit(Unit((item,))) for item in items))
    attempts = [
        process.commit(Unit((change(item.version, language=f"l{number}"),)))
        for item in items
        for number, process in enumerate(processes)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for place in range(6):
        of_one = results[4 * place : 4 * place + 4]
        assert sorted(type(result).__name__ for result in of_one) == ["NoneType"] + ["VersionConflictError"] * 3
        current = await repo.current("Basic", f"p{place}")
        assert current is not None
        assert current.resource is not None
        assert current.resource["language"] == f"l{of_one.index(None)}"
    assert await count_versions(repo, Wanted(("Basic",)), timeout_ms=5000) == 12


async def test_a_copy_that_a_killed_update_left_is_shown_once_and_ends_with_the_next_update(
    repo: Repository, store: Database
) -> None:
    first = creation()
    await repo.commit(Unit((first,)))
    left = history_document(repo.tenant, first.version, NOW + timedelta(seconds=1))
    await store.collection("Basic_history").insert_one(left)
    assert [version.number for version in await _history(repo)] == [1]
    second = change(first.version)
    await repo.commit(Unit((second,)))
    assert [version.number for version in await _history(repo)] == [2, 1]
    copy = await store.collection("Basic_history").find_one({"_id": left["_id"]})
    assert copy is not None
    assert copy["e"] == second.version.last_updated


async def test_a_deletion_is_a_version_and_counting_goes_on_after_it(repo: Repository) -> None:
    first = creation()
    await repo.commit(Unit((first,)))
    gone = deletion(first.version, now=NOW)
    await repo.commit(Unit((gone,)))
    tombstone = await repo.current("Basic", "a")
    assert tombstone is not None
    assert (tombstone.deleted, tombstone.number) == (True, 2)
    await repo.commit(Unit((change(tombstone),)))
    again = await repo.current("Basic", "a")
    assert again is not None
    assert (again.deleted, again.number) == (False, 3)
    assert [version.number for version in await _history(repo)] == [3, 2, 1]


async def test_a_unit_is_written_as_a_whole_or_not_at_all(repo: Repository) -> None:
    await repo.commit(Unit((creation("taken"),)))
    with pytest.raises(VersionConflictError):
        await repo.commit(Unit((creation("fresh"), creation("taken"))))
    assert await repo.current("Basic", "fresh") is None


async def test_a_transaction_that_raises_leaves_nothing(repo: Repository) -> None:
    await repo.prepare(["Basic"])

    async def work(inner: Repository) -> None:
        await inner.commit(Unit((creation("half"),)))
        assert await inner.current("Basic", "half") is not None
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await repo.transact(work)
    assert await repo.current("Basic", "half") is None


async def test_of_transactions_under_one_guard_the_later_ones_see_what_the_first_wrote(repo: Repository) -> None:
    await repo.prepare(["Basic"])

    async def create_unless_there(inner: Repository) -> bool:
        condition = {"t": inner.tenant, "s.x": "1"}
        if await inner.collection("Basic").find_one(condition, session=inner.session):
            return False
        await inner.commit(Unit((creation(f"g{id(inner)}"),), ("condition",)))
        return True

    made = await asyncio.gather(*(repo.transact(create_unless_there) for _ in range(10)))
    assert made.count(True) == 1


async def test_a_transaction_that_always_loses_ends_in_409(repo: Repository, store: Database) -> None:
    store.settings = store.settings.model_copy(update={"transaction_retries": 1})

    async def lose(_: Repository) -> None:
        raise VersionConflictError("Basic", "a")

    with pytest.raises(FhirError) as caught:
        await repo.transact(lose)
    assert caught.value.status == 409


async def test_tenants_do_not_see_each_other(repo: Repository, store: Database) -> None:
    await repo.commit(Unit((creation(),)))
    other = Repository(store, Committer(store), repo.tenant + "x")
    assert await other.current("Basic", "a") is None
    await other.commit(Unit((creation(),)))
    assert len(await _history(other)) == 1


async def test_history_pages_neither_repeat_nor_lose_a_version(repo: Repository) -> None:
    items = [creation(f"h{number}") for number in range(5)]
    await repo.commit(Unit(tuple(items)))
    await repo.commit(Unit(tuple(change(item.version) for item in items)))
    seen: list[tuple[str, int]] = []
    after: After | None = None
    while page := await find_versions(repo, Wanted(("Basic",)), after=after, limit=3, timeout_ms=5000):
        seen += [(version.id, version.number) for version in page]
        last = page[-1]
        after = After(last.last_updated, last.type, last.id, last.number)
    assert seen == [(f"h{number}", 2) for number in range(5)] + [(f"h{number}", 1) for number in range(5)]
    assert await count_versions(repo, Wanted(("Basic",)), timeout_ms=5000) == 10


async def test_history_at_a_time_shows_what_was_current_then(repo: Repository) -> None:
    first = creation()
    await repo.commit(Unit((first,)))
    later = NOW + timedelta(days=10)
    second = write({"resourceType": "Basic"}, {}, id_="a", now=later, method="PUT", previous=first.version)
    await repo.commit(Unit((second,)))

    async def at(low: datetime, high: datetime) -> list[int]:
        wanted = replace(Wanted(("Basic",), "a"), at=(low, high))
        return [version.number for version in await find_versions(repo, wanted, after=None, limit=9, timeout_ms=5000)]

    day = timedelta(days=1)
    assert await at(NOW - day, NOW - day / 2) == []
    assert await at(NOW + day, NOW + 2 * day) == [1]
    assert await at(later + day, later + 2 * day) == [2]
    assert await at(later - day, later + day) == [2, 1]


async def test_a_secret_is_made_once_and_is_the_same_for_everyone(
    store: Database, database: AsyncDatabase[dict[str, Any]], settings: Settings
) -> None:
    other = Database(database, settings, lambda _: [])
    assert await store.secret("s") == await other.secret("s")
    assert len(await store.secret("s")) == 32


async def _history(repo: Repository) -> list[Version]:
    return await find_versions(repo, Wanted(("Basic",), "a"), after=None, limit=100, timeout_ms=5000)
