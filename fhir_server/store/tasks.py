"""Ending tasks that talk to MongoDB.

PyMongo may answer a cancellation by finishing what it does, so that the task which it was meant for goes on.
"""

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 1.0
"""Long enough for what a task does at its end, which another cancellation would cut short."""


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, as often as it takes, and return when all have ended; how they ended is left to others."""
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
