"""What writes that share a round trip owe each other: nobody fails, waits or vanishes for another's sake."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from fhir_server.config import Settings
from fhir_server.exchange import utc_now
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.commit import Committer
from fhir_server.store.database import HISTORY, Database, connect
from fhir_server.store.history import Wanted, find_versions
from fhir_server.store.jobs import job
from fhir_server.store.lanes import Lanes
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version
from fhir_server.store.writes import Unit, VersionConflictError, Write, write

BASIC = {"resourceType": "Basic"}


@pytest.fixture
def store(database: AsyncDatabase[dict[str, Any]], settings: Settings) -> Database:
    return Database(database, settings, lambda _: [])


@pytest.fixture
def repo(store: Database, tenant: str) -> Repository:
    return Repository(store, Committer(store), tenant)


def creation(id_: str, **members: Any) -> Write:
    return write(BASIC | members, {}, id_=id_, now=utc_now(), method="POST")


def change(previous: Version, **members: Any) -> Write:
    return write(BASIC | members, {}, id_=previous.id, now=utc_now(), method="PUT", previous=previous)


async def all_of(repo: Repository, writes: list[Write]) -> list[Any]:
    return await asyncio.gather(*(repo.commit(Unit((item,))) for item in writes), return_exceptions=True)


async def numbers(repo: Repository, id_: str) -> list[int]:
    versions = await find_versions(repo, Wanted(("Basic",), id_), after=None, limit=50, timeout_ms=5000)
    return [version.number for version in versions]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"x": 2**63}, 422),
        ({"x": "\ud800"}, 422),
        ({"x": {"a\x00b": 1}}, 422),
        ({"x": Decimal("1." + "1" * 40)}, 422),
        ({"x": object()}, 422),
        ({"x": "x" * 17_000_000}, 413),
    ],
    ids=["a long integer", "half a surrogate pair", "a name with NUL", "many digits", "no JSON", "over 16 MB"],
)
async def test_what_can_not_be_stored_fails_alone(repo: Repository, content: dict[str, Any], status: int) -> None:
    good = [creation(f"c{number}") for number in range(6)]
    outcomes = await all_of(repo, [*good[:3], creation("bad", **content), *good[3:]])
    assert [outcome for place, outcome in enumerate(outcomes) if place != 3] == [None] * 6
    assert isinstance(outcomes[3], FhirError)
    assert outcomes[3].status == status

    changes = [change(item.version) for item in good]
    outcomes = await all_of(repo, [*changes[:3], change(changes[5].version, **content), *changes[3:]])
    assert [outcome for place, outcome in enumerate(outcomes) if place != 3] == [None] * 6
    assert outcomes[3].status == status
    assert [await numbers(repo, item.version.id) for item in good] == [[2, 1]] * 6
    assert await repo.current("Basic", "bad") is None


async def test_a_transaction_with_what_can_not_be_stored_writes_nothing(repo: Repository) -> None:
    with pytest.raises(FhirError) as refused:
        await repo.commit(Unit((creation("a"), creation("b", x="x" * 17_000_000))))
    assert refused.value.status == 413
    assert await repo.current("Basic", "a") is None


async def test_the_largest_resource_can_be_updated_and_deleted(repo: Repository, tenant: str) -> None:
    """Its copy in history has a longer key, and must still fit."""
    room = 16 * 1024 * 1024 - 1024 - len(job(tenant, Unit((creation("big", x=""),)), repo.database.keyring).items[0].current.raw)
    big = creation("big", x="x" * room)
    await repo.commit(Unit((big,)))
    await repo.commit(Unit((change(big.version),)))
    assert await numbers(repo, "big") == [2, 1]
    with pytest.raises(FhirError):
        await repo.commit(Unit((creation("bigger", x="x" * (room + 100)),)))


async def test_of_writes_that_share_a_round_trip_only_the_one_that_breaks_a_unique_index_fails(
    repo: Repository, store: Database, tenant: str
) -> None:
    await store.collection("Basic").create_index(
        [("t", 1), ("r.mrn", 1)], unique=True, partialFilterExpression={"r.mrn": {"$exists": True}}
    )
    outcomes = await all_of(repo, [creation(f"m{number}", mrn=str(number % 3)) for number in range(4)])
    assert outcomes[:3] == [None] * 3
    assert isinstance(outcomes[3], DuplicateKeyError)

    changes = [change(creation(f"m{number}").version, mrn=["7", "8", "7"][number]) for number in range(3)]
    outcomes = await all_of(repo, changes)
    assert outcomes[:2] == [None] * 2
    assert isinstance(outcomes[2], DuplicateKeyError)
    assert [await numbers(repo, f"m{number}") for number in range(3)] == [[2, 1], [2, 1], [1]]
    assert tenant == repo.tenant


async def test_callers_that_go_away_disturb_nobody(repo: Repository) -> None:
    """A client that closes its connection ends its request, not those that share the round trip."""
    created = [creation(f"g{number}") for number in range(12)]
    for writes in (created, [change(item.version) for item in created]):
        tasks = [asyncio.create_task(repo.commit(Unit((item,)))) for item in writes]
        await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[1::2] == [None] * 6
    for number in range(12):
        shown = await numbers(repo, f"g{number}")
        assert shown == list(range(len(shown), 0, -1))
    assert [await numbers(repo, f"g{number}") for number in range(1, 12, 2)] == [[2, 1]] * 6


async def test_a_transaction_updates_what_an_update_has_left_a_copy_of(repo: Repository, store: Database, tenant: str) -> None:
    first = creation("left")
    await repo.commit(Unit((first,)))
    left = job(tenant, Unit((change(first.version),)), repo.database.keyring).items[0].superseded
    assert left is not None
    await store.collection("Basic" + HISTORY).insert_one(left)
    assert await numbers(repo, "left") == [1]

    async def work(inner: Repository) -> None:
        current = await inner.current("Basic", "left")
        assert current is not None
        await inner.commit(Unit((change(current, now="2"), creation("beside"))))

    await repo.transact(work)
    assert await numbers(repo, "left") == [2, 1]


async def test_transactions_and_single_updates_of_one_resource_lose_no_version(repo: Repository) -> None:
    await repo.commit(Unit((creation("both"),)))
    won = 0

    async def alone() -> None:
        nonlocal won
        for _ in range(10):
            current = await repo.current("Basic", "both")
            assert current is not None
            try:
                await repo.commit(Unit((change(current),)))
                won += 1
            except VersionConflictError:
                await asyncio.sleep(0.002)

    async def together() -> None:
        nonlocal won

        async def work(inner: Repository) -> None:
            current = await inner.current("Basic", "both")
            assert current is not None
            await inner.commit(Unit((change(current),)))

        for _ in range(5):
            try:
                await repo.transact(work)
                won += 1
            except FhirError as error:
                assert error.status == 409

    await asyncio.gather(alone(), alone(), together(), together())
    assert won > 5
    assert await numbers(repo, "both") == list(range(won + 1, 0, -1))


@pytest.fixture
async def direct(mongodb_uri: str, database: AsyncDatabase[dict[str, Any]], settings: Settings) -> AsyncIterator[Database]:
    """The same database over a client that has lanes."""
    async with connect(mongodb_uri, settings) as client:
        yield Database(client[database.name], settings, lambda _: [])


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands whose answers get lost; what they ask for is done."""
    lost: list[str] = []
    ask = Lanes._ask

    async def unheard(self: Lanes, database: str, command: Any, codec_options: Any) -> Any:
        answer = await ask(self, database, command, codec_options)
        name = next(iter(command))
        if name not in ("insert", "update"):
            return answer
        lost.append(name)
        return None, None

    monkeypatch.setattr(Lanes, "_ask", unheard)
    return lost


async def test_writes_whose_answers_get_lost_are_made_once(direct: Database, tenant: str, losing: list[str]) -> None:
    repo = Repository(direct, Committer(direct), tenant)
    first = [creation(f"c{number}") for number in range(4)]
    assert await all_of(repo, first) == [None] * 4
    second = [change(item.version, x=1) for item in first]
    assert await all_of(repo, second) == [None] * 4
    assert await all_of(repo, [change(item.version, x=2) for item in second]) == [None] * 4
    assert [await numbers(repo, item.version.id) for item in first] == [[3, 2, 1]] * 4
    assert {*losing} == {"insert", "update"}


async def test_of_two_that_write_the_same_one_loses_also_where_answers_get_lost(
    direct: Database, tenant: str, losing: list[str]
) -> None:
    repo = Repository(direct, Committer(direct), tenant)
    other = Repository(direct, Committer(direct), tenant)
    outcomes = [*await all_of(repo, [creation("same", x=1)]), *await all_of(other, [creation("same", x=2)])]
    assert outcomes[0] is None
    assert isinstance(outcomes[1], VersionConflictError)

    current = await repo.current("Basic", "same")
    assert current is not None
    found = await asyncio.gather(
        all_of(repo, [change(current, x=3)]), all_of(other, [change(current, x=4)]), all_of(repo, [change(current, x=5)])
    )
    outcomes = [outcome for some in found for outcome in some]
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, VersionConflictError) for outcome in outcomes) == 2
    assert await numbers(repo, "same") == [2, 1]
    assert losing
