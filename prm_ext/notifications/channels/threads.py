"""Threads for SDKs that wait. The event loop's own are too few: `cpu_count + 4`, whatever a worker is told to send at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A bounded number of threads; what comes when all are taken waits for its turn."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="provider")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work in a thread, under the context variables of whoever calls."""
        inside = partial(copy_context().run, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, inside)

    def close(self) -> None:
        """Take no more; what runs is let end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
