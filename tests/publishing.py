"""The publisher in this process: it tells what happens, and what follows from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from fhir_server import publisher
from fhir_server.config import Settings


@asynccontextmanager
async def publishing(settings: Settings) -> AsyncIterator[None]:
    """Publish what was written since a minute ago, and what comes."""
    stop = asyncio.Event()
    task = asyncio.create_task(publisher.publish(settings, datetime.now(UTC) - timedelta(minutes=1), stop))
    try:
        yield
    finally:
        stop.set()
        await task
