"""Follows the change feed for one sink: in one process of all, from where the last one stopped.

A position is written after the events that it follows are delivered, twice a second at most. So a process that is killed
leaves at most that much to be delivered again, by itself or by another that takes over when the lease has run out.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.events.consumer import Sink
from fhir_server.events.event import Event, Naming, event_of
from fhir_server.store.database import Database
from fhir_server.store.feed import Batch, Feed, Interest, Sharing
from fhir_server.store.positions import LEASE_SECONDS, Lease, Position

SAVE_SECONDS: Final = 0.5
IDLE_SAVE_SECONDS: Final = 60.0
"""So often the position is written while nothing happens, so that the oplog does not outrun it."""
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 60.0


class Follower:
    """Delivers events to a sink, for as long as `run()` runs."""

    def __init__(
        self,
        database: Database,
        sink: Sink,
        namings: Mapping[str, Naming],
        *,
        since: datetime,
        lease_seconds: float = LEASE_SECONDS,
        shared: Sharing | None = None,
    ) -> None:
        self._sink = sink
        self._namings = namings
        self._since = since
        self._lease = Lease(database, sink.name, seconds=lease_seconds)
        self._feed = Feed(database, _interest(sink, namings), shared)
        self._log = structlog.get_logger().bind(sink=sink.name)
        self._done: Position | None = None
        self._saved_at = 0.0
        self._unsaved = False

    async def run(self) -> None:
        """Follow whenever no other process does, until cancelled."""
        pause = SHORTEST_PAUSE
        try:
            while True:
                began = time.monotonic()
                try:
                    if await self._lease.acquire():
                        await self._lead()
                except (PyMongoError, TimeoutError) as error:
                    self._log.warning("the change feed is interrupted and taken up again", reason=type(error).__name__)
                except Exception as error:  # noqa: BLE001 -- whatever it is, the others go on, and so do we
                    self._log.error("the change feed has failed and is taken up again", exc_info=error)
                pause = (
                    SHORTEST_PAUSE if time.monotonic() - began > self._lease.seconds else min(2 * pause, self._lease.seconds / 3)
                )
                await asyncio.sleep(pause)
        finally:
            await self._sink.close()

    async def _lead(self) -> None:
        """Follow as long as the lease is ours."""
        try:
            if not await self._lease.hold(self._follow()):
                self._log.warning("another process follows the change feed now")
        finally:
            await self._leave()

    async def _follow(self) -> None:
        position = await self._lease.position()
        if position is None:
            position = Position(self._since)
            await self._lease.save(position)
        self._done, self._unsaved, self._saved_at = position, False, time.monotonic()
        async with contextlib.aclosing(self._feed.batches(position)) as batches:
            async for batch in batches:
                await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        size = self._sink.batch
        for start in range(0, len(batch.changes), size):
            changes = batch.changes[start : start + size]
            await self._deliver([event_of(change, self._namings) for change in changes])
            self._done, self._unsaved = batch.positions[start + len(changes) - 1], True
            await self._save_sometimes()
        self._done = batch.position
        await self._save_sometimes()

    async def _deliver(self, events: Sequence[Event]) -> None:
        """Deliver until it succeeds: the order of events allows to leave none out."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                await self._sink.deliver(events)
            except Exception as error:  # noqa: BLE001 -- whatever a consumer may raise
                tenants = {event.change.tenant for event in events}
                self._log.warning(
                    "events could not be delivered and will be again",
                    first=events[0].id,
                    count=len(events),
                    pause=pause,
                    exc_info=error,
                    **({"tenant": tenants.pop()} if len(tenants) == 1 else {}),
                )
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                return

    async def _save_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._saved_at < (SAVE_SECONDS if self._unsaved else IDLE_SAVE_SECONDS) or self._done is None:
            return
        await self._lease.save(self._done)
        self._saved_at, self._unsaved = now, False

    async def _leave(self) -> None:
        """Write down where we stand, and let others lead; both only spare work."""
        try:
            async with asyncio.timeout(self._lease.seconds / 3):
                if self._done is not None:
                    await self._lease.save(self._done)
                await self._lease.release()
        except (PyMongoError, TimeoutError):
            return


def _interest(sink: Sink, namings: Mapping[str, Naming]) -> Interest:
    known = {type_: naming for type_, naming in namings.items() if not sink.resource_types or type_ in sink.resource_types}
    return Interest(
        types=sink.resource_types,
        elements=frozenset(name for naming in known.values() for name in naming.elements),
        previous=frozenset(type_ for type_, naming in known.items() if naming.previous),
    )
