"""Inserts into several collections over a lane, on a real MongoDB, and what is lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from fhir_server.store.client import Client
from fhir_server.store.lanes import LostError
from fhir_server.store.together import Together

DATABASE = "fhir_test"
ONE, OTHER = "together_one", "together_other"
CONCERN = {"w": "majority", "j": True}
Commands = Sequence[Mapping[str, Any]]


class Lossy:
    """Lanes on which answers are lost, before the commands are sent or after, as `loses` says of each of them."""

    def __init__(self, client: Client, *loses: Callable[[Commands], str]) -> None:
        self._lanes = client.lanes
        self._loses = list(loses)

    async def answers(self, database: str, commands: Commands, codec_options: Any) -> list[dict[str, Any]] | None:
        """Send commands, and perhaps lose what comes back."""
        when = self._loses[0](commands) if self._loses else ""
        if when:
            self._loses.pop(0)
        if when == "before":
            raise LostError("on purpose")
        if when == "nothing sent":
            return None
        if when == "broken off":
            await self._lanes.answers(database, commands, codec_options)
            raise asyncio.CancelledError
        found = await self._lanes.answers(database, commands, codec_options)
        if when == "after":
            raise LostError("on purpose")
        return found


def at(name: str, when: str) -> Callable[[Commands], str]:
    """Return what loses the answer to a command."""
    return lambda commands: when if name in commands[0] else ""


@pytest.fixture(scope="session")
async def client(mongodb_uri: str) -> AsyncIterator[Client]:
    """A client whose database has both collections."""
    opened = Client(mongodb_uri)
    async with opened:
        for name in (ONE, OTHER):
            await opened[DATABASE][name].update_one({"_id": "there"}, {"$set": {"n": 1}}, upsert=True)
        yield opened


def inserts(tenant: str, count: int = 2) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return documents for both collections."""
    return [(name, [{"_id": f"{tenant}/{number}"} for number in range(count)]) for name in (ONE, OTHER)]


async def count(client: Client, tenant: str) -> int:
    """Return how many documents of a tenant there are."""
    condition = {"_id": {"$regex": f"^{tenant}/"}}
    return sum([await client[DATABASE][name].count_documents(condition) for name in (ONE, OTHER)])


async def insert(client: Client, tenant: str, *loses: Callable[[Commands], str], seconds: float = 5.0) -> bool:
    """Insert over lanes that lose answers."""
    together = Together(Lossy(client, *loses), DATABASE, CONCERN)  # type: ignore[arg-type]  # it has what is used of lanes
    return await together.insert(inserts(tenant), time.monotonic() + seconds)


async def test_all_are_inserted(client: Client, tenant: str) -> None:
    assert await insert(client, tenant)
    assert await count(client, tenant) == 4


async def test_nothing_is_inserted_where_one_is_there_already(client: Client, tenant: str) -> None:
    await client[DATABASE][OTHER].insert_one({"_id": f"{tenant}/1"})
    assert not await insert(client, tenant)
    assert await count(client, tenant) == 1


async def test_one_session_serves_one_transaction_after_the_other(client: Client, tenant: str) -> None:
    together = Together(client.lanes, DATABASE, CONCERN)
    until = time.monotonic() + 5
    assert await together.insert(inserts(f"{tenant}a"), until)
    assert not await together.insert(inserts(f"{tenant}a"), until)
    assert await together.insert(inserts(f"{tenant}b"), until)
    assert await count(client, f"{tenant}a") == await count(client, f"{tenant}b") == 4


@pytest.mark.parametrize("when", ["before", "after", "nothing sent"])
async def test_where_the_answer_to_the_inserts_is_lost_nothing_is_there_and_all_may_be_inserted_at_once(
    client: Client, tenant: str, when: str
) -> None:
    assert not await insert(client, tenant, at("insert", when))
    assert await count(client, tenant) == 0
    assert await insert(client, tenant)
    assert await count(client, tenant) == 4


@pytest.mark.parametrize("when", ["before", "after", "nothing sent"])
async def test_a_commit_whose_answer_is_lost_is_asked_for_again(client: Client, tenant: str, when: str) -> None:
    assert await insert(client, tenant, *[at("commitTransaction", when)] * 3)
    assert await count(client, tenant) == 4


async def test_a_commit_of_what_was_aborted_meanwhile_inserts_nothing(client: Client, tenant: str) -> None:
    async def end(commands: Commands) -> None:
        shared = {name: commands[0][name] for name in ("lsid", "txnNumber", "autocommit")}
        await client.lanes.answers("admin", [{"abortTransaction": 1, **shared}], client.codec_options)

    class Ended(Lossy):
        async def answers(self, database: str, commands: Commands, codec_options: Any) -> list[dict[str, Any]] | None:
            if "commitTransaction" in commands[0]:
                await end(commands)
            return await super().answers(database, commands, codec_options)

    together = Together(Ended(client), DATABASE, CONCERN)  # type: ignore[arg-type]  # it has what is used of lanes
    assert not await together.insert(inserts(tenant), time.monotonic() + 5)
    assert await count(client, tenant) == 0


async def test_it_is_said_that_the_outcome_is_not_known_where_no_answer_comes_in_time(client: Client, tenant: str) -> None:
    with pytest.raises(AutoReconnect, match="whether a transaction has been committed"):
        await insert(client, tenant, *[at("commitTransaction", "before")] * 1000, seconds=0.1)


async def test_who_gives_up_leaves_nothing_locked(client: Client, tenant: str) -> None:
    with pytest.raises(asyncio.CancelledError):
        await insert(client, tenant, at("insert", "broken off"))
    await client[DATABASE][ONE].insert_one({"_id": f"{tenant}/0"})
    assert await count(client, tenant) == 1
