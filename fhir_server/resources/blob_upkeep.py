"""What happens to binary data by itself: late scans, and the removal of what is not needed any more."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from fhir_server.exchange import Context
from fhir_server.resources.blob_gc import collect

SCAN_SECONDS: Final = 30.0
COLLECT_ROUNDS: Final = 720
"""Removal is done every so many rounds of scanning: four times a day."""


async def keep_blobs(context_of: Callable[[str], Awaitable[Context]]) -> None:
    """Do so for as long as the server runs, in one process of all."""
    ctx = await context_of("default")
    log = structlog.get_logger()
    rounds = 0
    while ctx.blobs is not None:
        await asyncio.sleep(SCAN_SECONDS)
        rounds += 1
        if ctx.settings.clamd:
            scanned, infected = await ctx.blobs.scan_pending()
            if scanned:
                log.info("content was scanned late", scanned=scanned, infected=infected)
        if rounds % COLLECT_ROUNDS == 0:
            found = await collect(ctx.repo.database, ctx.blobs, datetime.now(UTC))
            log.info("content was removed", removed=found.removed, freed=found.freed, stagings=found.stagings)
