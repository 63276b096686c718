"""Between Authlib, which is not asynchronous, and the database driver, which is (docs/decisions/0024-authlib-in-threads.md).

A request to an OAuth endpoint runs in a worker thread; where Authlib asks for data, the thread waits for the event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter, from_thread, to_thread

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 8
"""Per event loop. They wait for the database, or hash passwords; more would not make two cores faster."""
_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in one of our threads."""
    return await to_thread.run_sync(partial(work, *args, **kwargs), limiter=_limiter())


def wait(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `work` on the event loop, from a thread that `in_thread` runs."""
    call: Callable[[], Any] = partial(work, *args, **kwargs)
    result: T = from_thread.run(call)
    return result


def _limiter() -> CapacityLimiter:
    loop = asyncio.get_running_loop()
    found = _limiters.get(loop)
    if found is None:
        found = _limiters[loop] = CapacityLimiter(THREADS)
    return found
