"""How far those who follow the change feed have come, and which process follows it for them.

    {_id: name, owner: …, until: …, token: resume token, start_at: timestamp, since: time}

A position is kept by a lease: one process of all holds it for a bounded time, renews it while it works, and can write
the position only as long as it does. Times are those of MongoDB's clock, so that processes need not agree on theirs.
"""

import asyncio
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson.timestamp import Timestamp
from pymongo.errors import DuplicateKeyError

from fhir_server.store.database import Database, Document
from fhir_server.store.tasks import end

POSITIONS: Final = "_feeds"
LEASE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the feed.

    With a `token` it is a place in MongoDB's change stream. Without, or when MongoDB no longer knows the token, the feed
    catches up from history, with all versions from `since` on, and then follows the stream from `start_at`.
    """

    since: datetime
    """Everything that was written before is done; what was written at this moment may be."""
    token: Mapping[str, Any] | None = None
    start_at: Timestamp | None = None


class Lease:
    """The right to follow the feed under a name, of one holder."""

    def __init__(self, database: Database, name: str, *, seconds: float = LEASE_SECONDS) -> None:
        self.name = name
        self.seconds = seconds
        self._positions = database.collection(POSITIONS)
        self._owner = uuid.uuid4().hex

    async def acquire(self) -> bool:
        """Take the lease, or prolong it; False while another holds it."""
        mine_or_over: Document = {"$or": [{"owner": self._owner}, {"$expr": {"$lt": ["$until", "$$NOW"]}}]}
        done = await self._positions.update_one({"_id": self.name, **mine_or_over}, [self._hold()])
        if done.matched_count:
            return True
        try:
            await self._positions.update_one({"_id": self.name, "owner": {"$exists": False}}, [self._hold()], upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def renew(self) -> bool:
        """Prolong the lease; False when another has taken it."""
        done = await self._positions.update_one({"_id": self.name, "owner": self._owner}, [self._hold()])
        return done.matched_count == 1

    async def hold(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do work until it ends, for as long as the acquired lease is held.

        It is cancelled, before another can hold the lease, when that can not be prolonged: False when another has it
        already; what PyMongo raises, or a TimeoutError, when MongoDB is away.
        """
        working = asyncio.create_task(work)
        try:
            while True:
                await asyncio.wait({working}, timeout=self.seconds / 3)
                if working.done():
                    await working
                    return True
                async with asyncio.timeout(self.seconds / 3):
                    if not await self.renew():
                        return False
        finally:
            await end(working)

    async def release(self) -> None:
        """Let another take it at once."""
        await self._positions.update_one({"_id": self.name, "owner": self._owner}, {"$unset": {"owner": "", "until": ""}})

    async def position(self) -> Position | None:
        """Return where the last holder stood; None at the very beginning."""
        found = await self._positions.find_one({"_id": self.name})
        if found is None or "since" not in found:
            return None
        return Position(found["since"], found.get("token"), found.get("start_at"))

    async def save(self, position: Position) -> bool:
        """Remember a position; False, and nothing is remembered, when another holds the lease."""
        values: Document = {"token": position.token, "start_at": position.start_at, "since": position.since}
        done = await self._positions.update_one({"_id": self.name, "owner": self._owner}, {"$set": values})
        return done.matched_count == 1

    def _hold(self) -> Document:
        until = {"$add": ["$$NOW", int(self.seconds * 1000)]}
        return {"$set": {"owner": {"$literal": self._owner}, "until": until}}
