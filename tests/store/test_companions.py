"""Documents that are there before a resource is."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from fhir_server.config import Settings
from fhir_server.store.companions import Known
from fhir_server.store.database import Database


class Letters:
    """Each letter of a text, listed by whether it is a vowel."""

    collection = "_test_letters"
    lists = "_test_vowels"
    indexes = (IndexModel([("t", ASCENDING)]),)

    def keys(self, tenant: str, type_: str, index: Mapping[str, Any]) -> list[str]:
        """Return the letters."""
        return [f"{tenant}/{letter}" for letter in index["text"]] if type_ == "Basic" else []

    def document(self, key: str) -> dict[str, Any]:
        """Return a letter."""
        return {"_id": key, "t": key.partition("/")[0]}

    def listed(self, key: str) -> Iterator[tuple[str, str]]:
        """Return the list of a letter."""
        tenant, _, letter = key.partition("/")
        yield f"{tenant}/{letter in 'aeiou'}", letter


def opened(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> Database:
    return Database(database, settings, lambda _: [], Letters())


async def stored(database: AsyncDatabase[dict[str, Any]], tenant: str) -> tuple[list[str], dict[str, list[str]]]:
    letters = [one["_id"].partition("/")[2] async for one in database["_test_letters"].find({"t": tenant}).sort("_id", 1)]
    lists = database["_test_vowels"].find({"_id": {"$regex": f"^{tenant}/"}})
    return letters, {one["_id"].partition("/")[2]: sorted(one["w"]) async for one in lists}


async def test_companions_are_made_once_and_listed(
    database: AsyncDatabase[dict[str, Any]], settings: Settings, tenant: str
) -> None:
    """Those of other types have none."""
    store = opened(database, settings)
    await store.accompany(tenant, [("Basic", {"text": "banana"}), ("Patient", {"text": "xyz"})])
    assert await stored(database, tenant) == (["a", "b", "n"], {"False": ["b", "n"], "True": ["a"]})
    await store.accompany(tenant, [("Basic", {"text": "bean"})])
    assert await stored(database, tenant) == (["a", "b", "e", "n"], {"False": ["b", "n"], "True": ["a", "e"]})


async def test_processes_that_make_the_same_at_once_lose_nothing(
    database: AsyncDatabase[dict[str, Any]], settings: Settings, tenant: str
) -> None:
    """Each letter is there once, and in its list."""
    texts = ["thequickbrown", "foxjumpsover", "thelazydog", "packmybox", "withfivedozen", "liquorjugs"]
    stores = [opened(database, settings) for _ in range(6)]
    await asyncio.gather(
        *(store.accompany(tenant, [("Basic", {"text": text})]) for store, text in zip(stores, texts, strict=True))
    )
    letters, lists = await stored(database, tenant)
    assert "".join(letters) == "abcdefghijklmnopqrstuvwxyz"
    assert lists == {"True": list("aeiou"), "False": sorted(set(letters) - set("aeiou"))}


async def test_what_is_known_is_not_looked_for_again(
    database: AsyncDatabase[dict[str, Any]], settings: Settings, tenant: str
) -> None:
    """A process that has seen a companion relies on it."""
    store = opened(database, settings)
    await store.accompany(tenant, [("Basic", {"text": "ab"})])
    await database["_test_letters"].delete_many({"t": tenant})
    await store.accompany(tenant, [("Basic", {"text": "ab"})])
    assert (await stored(database, tenant))[0] == []
    await opened(database, settings).accompany(tenant, [("Basic", {"text": "ab"})])
    assert (await stored(database, tenant))[0] == ["a", "b"]


async def test_a_failure_is_told_and_nothing_is_remembered(
    database: AsyncDatabase[dict[str, Any]], settings: Settings, tenant: str
) -> None:
    """The resource is not written then, and the next one tries again."""

    class Faulty(Letters):
        def document(self, key: str) -> dict[str, Any]:
            found = super().document(key)
            return found if self.works else {**found, "_id": [1]}

        works = False

    companions = Faulty()
    store = Database(database, settings, lambda _: [], companions)
    with pytest.raises(BulkWriteError):
        await store.accompany(tenant, [("Basic", {"text": "q"})])
    companions.works = True
    await store.accompany(tenant, [("Basic", {"text": "q"})])
    assert (await stored(database, tenant))[0] == ["q"]


def test_the_memory_of_what_is_known_is_bounded() -> None:
    """What was not asked for while as many others were is forgotten."""
    known = Known(2)
    for key in "abc":
        known.add(key)
    assert "a" in known
    assert "b" in known  # Asking has renewed "a", and begun a new half.
    for key in "defg":
        known.add(key)
    assert "a" not in known
    assert "g" in known
