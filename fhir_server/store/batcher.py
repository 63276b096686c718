"""Calls that arrive while others are under way share one round trip.

A round trip to MongoDB costs this process about 200 µs of work, whether it carries one document or twenty
(docs/decisions/0004-shared-round-trips.md). A `Batcher` starts the first call at once; what arrives while it is under
way waits for the next trip, and goes together. So one client alone never waits, and a hundred cost little more
than one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from fhir_server.fhir.outcome import unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Hands items to `run` in batches of at most `limit`, with at most `parallel` batches under way.

    `run` answers with one result or exception for each item, in their order. An item that its caller no longer waits
    for, after `patience` seconds or because the caller was cancelled, is not run any more; what runs already runs on.

    Where the batch before had several items, and fewer wait by now, the next one lingers so many seconds: its callers are
    about to come back. A caller that is alone lingers once at most.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result | BaseException]]],
        *,
        parallel: int = 2,
        limit: int = 64,
        linger: float = 0.0,
        patience: float | None = None,
    ) -> None:
        self._run = run
        self._parallel = parallel
        self._limit = limit
        self._linger = linger
        self._patience = patience
        self._company = 1
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._running = 0

    async def __call__(self, item: Item) -> Result:
        """Return the result for the item, or raise its exception.

        Raises:
            FhirError: 503, when there is none within the patience.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._running < self._parallel:
            self._running += 1
            task = asyncio.create_task(self._drain())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if self._patience is None:
            return await future
        # A timer of its own: `asyncio.timeout` costs ten times as much.
        timer = loop.call_later(self._patience, _expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def _drain(self) -> None:
        while self._waiting:
            if self._linger and len(self._waiting) < self._company:
                await asyncio.sleep(self._linger)
            self._company = min(len(self._waiting), self._limit)
            batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            batch = [(item, future) for item, future in batch if not future.done()]
            if batch:
                await self._process(batch)
        # In the same step as the look at what waits: whoever comes next must not rely on this task, not even before the
        # event loop has seen that it is done.
        self._running -= 1

    async def _process(self, batch: "list[tuple[Item, asyncio.Future[Result]]]") -> None:
        results: Sequence[Result | BaseException]
        try:
            results = await self._run([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001 (whoever waits must hear of it, cancellation included)
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)


def _expire(future: "asyncio.Future[Result]") -> None:
    text = "The database did not answer in time; whether it did what was asked is not known."
    _settle(future, unavailable(text))


def _settle(future: "asyncio.Future[Result]", result: Result | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, asyncio.CancelledError):
        future.cancel()
    elif isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
