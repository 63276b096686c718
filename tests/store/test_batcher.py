"""Calls that share round trips."""

import asyncio
from collections.abc import Sequence

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.store.batcher import Batcher


async def test_a_call_alone_is_run_at_once_and_alone() -> None:
    batches: list[list[int]] = []

    async def double(items: list[int]) -> list[int]:
        batches.append(items)
        return [item * 2 for item in items]

    assert await Batcher(double)(21) == 42
    assert batches == [[21]]


async def test_calls_that_arrive_while_others_are_under_way_go_together() -> None:
    batches: list[list[int]] = []
    release = asyncio.Event()

    async def run(items: list[int]) -> list[int]:
        batches.append(items)
        await release.wait()
        return items

    batcher = Batcher(run, parallel=1)
    calls = [asyncio.create_task(batcher(0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls += [asyncio.create_task(batcher(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4, 5]
    assert batches == [[0], [1, 2, 3, 4, 5]]


async def test_no_batch_is_larger_than_the_limit() -> None:
    sizes: list[int] = []

    async def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        await asyncio.sleep(0)
        return items

    batcher = Batcher(run, parallel=1, limit=4)
    assert await asyncio.gather(*(batcher(number) for number in range(11))) == list(range(11))
    assert max(sizes) == 4


async def test_an_exception_among_the_results_is_raised_to_its_own_caller_only() -> None:
    async def run(items: list[int]) -> Sequence[int | BaseException]:
        return [ValueError(str(item)) if item % 2 else item for item in items]

    batcher = Batcher(run)
    results = await asyncio.gather(*(batcher(number) for number in range(4)), return_exceptions=True)
    assert [results[0], results[2]] == [0, 2]
    assert [str(results[1]), str(results[3])] == ["1", "3"]


async def test_a_batch_that_fails_fails_for_all_its_callers_and_for_no_later_ones() -> None:
    failing = True

    async def run(items: list[int]) -> list[int]:
        if failing:
            raise RuntimeError("away")
        return items

    batcher = Batcher(run)
    results = await asyncio.gather(*(batcher(number) for number in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["away"] * 3
    failing = False
    assert await batcher(7) == 7


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    release = asyncio.Event()

    async def run(items: list[int]) -> list[int]:
        await release.wait()
        return items

    batcher = Batcher(run)
    given_up, kept = asyncio.create_task(batcher(1)), asyncio.create_task(batcher(2))
    await asyncio.sleep(0.01)
    given_up.cancel()
    release.set()
    assert await kept == 2
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_a_caller_that_comes_back_at_once_is_served_again() -> None:
    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return items

    async def come_back(batcher: Batcher[int, int], number: int) -> list[int]:
        return [await batcher(number) for _ in range(50)]

    for parallel in (1, 2):
        batcher = Batcher(run, parallel=parallel)
        async with asyncio.timeout(5):
            found = await asyncio.gather(*(come_back(batcher, number) for number in range(5)))
        assert found == [[number] * 50 for number in range(5)]


async def test_a_caller_waits_no_longer_than_its_patience() -> None:
    release = asyncio.Event()
    ran: list[int] = []

    async def run(items: list[int]) -> list[int]:
        ran.extend(items)
        await release.wait()
        return items

    batcher = Batcher(run, parallel=1, patience=0.05)
    first, second = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
    for refused in (first, second):
        assert isinstance(refused, FhirError)
        assert refused.status == 503
        assert refused.headers == {"Retry-After": "5"}
    release.set()
    assert await batcher(3) == 3
    assert ran == [1, 2, 3]


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    release = asyncio.Event()
    ran: list[int] = []

    async def run(items: list[int]) -> list[int]:
        ran.extend(items)
        await release.wait()
        return items

    batcher = Batcher(run, parallel=1)
    kept = asyncio.create_task(batcher(1))
    await asyncio.sleep(0)
    given_up = asyncio.create_task(batcher(2))
    await asyncio.sleep(0)
    given_up.cancel()
    release.set()
    assert await kept == 1
    assert await batcher(3) == 3
    assert ran == [1, 3]
