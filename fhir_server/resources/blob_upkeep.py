"""What happens to binary data by itself: late scans, and the removal of what is not needed any more."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from fhir_server.blobs import Blobs
from fhir_server.exchange import Context
from fhir_server.jobs import JobQueue, QueueError
from fhir_server.resources.blob_gc import collect

SCAN_JOB: Final = "scan-content"
SCAN_SECONDS: Final = 30.0
COLLECT_ROUNDS: Final = 720
"""Removal is done every so many rounds of scanning: four times a day."""


async def keep_blobs(context_of: Callable[[str], Awaitable[Context]]) -> None:
    """Do so for as long as the server runs, in one process of all; workers scan where there is a queue for them."""
    ctx = await context_of("default")
    settings, log = ctx.settings, structlog.get_logger()
    queue = JobQueue(settings.redis_url, settings.mongodb_database) if settings.redis_url else None
    rounds = 0
    while ctx.blobs is not None:
        await asyncio.sleep(SCAN_SECONDS)
        rounds += 1
        if settings.clamd and not (queue is not None and await queue_scans(ctx.blobs, queue)):
            scanned, infected = await ctx.blobs.scan_pending()
            if scanned:
                log.info("content was scanned late", scanned=scanned, infected=infected)
        if rounds % COLLECT_ROUNDS == 0:
            found = await collect(ctx.repo.database, ctx.blobs, datetime.now(UTC))
            log.info("content was removed", removed=found.removed, freed=found.freed, stagings=found.stagings)


async def queue_scans(blobs: Blobs, queue: JobQueue) -> bool:
    """Queue what is to be scanned late, unless workers are still busy; False where it can not be queued."""
    try:
        if not await queue.waiting():
            pieces = [(document["t"], document["h"]) async for document in blobs.records.pending()]
            await queue.put(SCAN_JOB, pieces)
    except QueueError:
        return False
    return True


async def scan(context_of: Callable[[str], Awaitable[Context]], tenant: str, sha256: str) -> None:
    """Scan one content that was kept without: a worker's piece of work."""
    ctx = await context_of(tenant)
    if ctx.blobs is not None and ctx.settings.clamd:
        outcome = await ctx.blobs.scan_late(tenant, sha256)
        structlog.get_logger().info("content was scanned late", outcome=outcome)
