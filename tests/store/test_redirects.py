"""Which patients have been merged into which, as one process knows it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import ConnectionFailure

from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from fhir_server.store.redirects import REDIRECTS, Redirects, redirect, redirects_of


class Clock:
    """A clock that tests move on."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Any, settings: Any) -> Database:
    return Database(database, settings, index_models)


@pytest.fixture
def redirects(store: Database, clock: Clock) -> Redirects:
    return Redirects(store, clock)


async def add(store: Database, tenant: str, source: str, target: str) -> None:
    found = redirect(tenant, source, target, "m", datetime.now(UTC))
    await store.collection(REDIRECTS).replace_one({"_id": found["_id"]}, found, upsert=True)


async def test_what_is_new_is_asked_for_once_a_second(store: Database, redirects: Redirects, clock: Clock, tenant: str) -> None:
    await redirects.refresh(tenant)
    await add(store, tenant, "s", "t")
    await redirects.refresh(tenant)
    assert not redirects.may_be_merged(tenant, "s")
    assert redirects.idle(tenant)
    clock.now += 1
    assert not redirects.idle(tenant)
    assert await redirects.refresh(tenant)
    assert not await redirects.refresh(f"{tenant}x")
    assert redirects.idle(f"{tenant}x")
    assert redirects.may_be_merged(tenant, "s")
    assert not redirects.may_be_merged(f"{tenant}x", "s")


async def test_survivors_are_followed_to_the_end(store: Database, redirects: Redirects, tenant: str) -> None:
    for source, target in (("a", "b"), ("b", "c"), ("c", "d"), ("x", "y")):
        await add(store, tenant, source, target)
    await redirects.refresh(tenant)
    assert await redirects.survivors(tenant, ["a", "c", "x", "d", "unknown"]) == {"a": "d", "c": "d", "x": "y"}


async def test_the_database_decides_whether_a_patient_is_merged(store: Database, redirects: Redirects, tenant: str) -> None:
    await add(store, tenant, "s", "t")
    await redirects.refresh(tenant)
    await store.collection(REDIRECTS).delete_one({"_id": f"{tenant}/s"})
    assert redirects.may_be_merged(tenant, "s")
    assert await redirects.survivors(tenant, ["s"]) == {}


async def test_a_circle_ends(store: Database, redirects: Redirects, tenant: str) -> None:
    for source, target in (("a", "b"), ("b", "a")):
        await add(store, tenant, source, target)
    await redirects.refresh(tenant)
    assert set(await redirects.survivors(tenant, ["a"])) == {"a"}


async def test_without_mongodb_what_is_known_is_relied_on_for_ten_seconds(
    store: Database, redirects: Redirects, clock: Clock, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(store, tenant, "s", "t")
    await redirects.refresh(tenant)

    def away(_: str) -> None:
        raise ConnectionFailure

    monkeypatch.setattr(store, "collection", away)
    clock.now += 9
    assert await redirects.refresh(tenant)
    clock.now += 1
    with pytest.raises(ConnectionFailure):
        await redirects.refresh(tenant)


async def test_what_this_process_did_it_knows_at_once(redirects: Redirects, tenant: str) -> None:
    redirects.note(tenant, "s")
    assert redirects.may_be_merged(tenant, "s")
    assert not redirects.idle(tenant)


def test_one_process_has_one_memory_for_each_database(store: Database, database: Any, settings: Any) -> None:
    assert redirects_of(store) is redirects_of(store)
    assert redirects_of(store) is not redirects_of(Database(database, settings, index_models))
