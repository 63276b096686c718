"""A sign of life of processes that answer no requests: a file whose time is that of the last beat."""

import asyncio
from pathlib import Path
from typing import Final

BEAT_SECONDS: Final = 5.0


async def beat(file: Path | None) -> None:
    """Touch a file every few seconds until cancelled; nothing where none is named."""
    while file is not None:
        await asyncio.to_thread(file.touch)
        await asyncio.sleep(BEAT_SECONDS)
