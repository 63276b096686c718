"""Access tokens that hold no more although they have not expired.

They are signed and are not looked up one by one, so a resource server asks here: the ids of revoked grants and tokens are
few, live no longer than an access token does, and are read by each process every two seconds at most, in one query.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.security.authorization.collections import REVOKED, collection
from fhir_server.store.database import Database

FRESH: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(hours=1, minutes=5)
"""How long an id is kept: the longest life of an access token, and the leeway of those who verify."""


class Revoked:
    """The ids of grants and of single tokens that were revoked."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._revoked = collection(database, REVOKED)
        self._now = now
        self._known: frozenset[str] = frozenset()
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()

    async def add(self, id_: str) -> None:
        """Revoke a grant, or a token by its `jti`; this process knows it at once, others within two seconds."""
        await self._revoked.update_one({"_id": id_}, {"$set": {"expires": self._now() + LONGEST}}, upsert=True)
        self._known |= {id_}

    async def has(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether the token of these claims was revoked, by itself or with its grant."""
        now = self._now()
        if self._read_at is None or now - self._read_at > FRESH:
            async with self._reading:
                if self._read_at is None or now - self._read_at > FRESH:
                    self._known = frozenset([found["_id"] async for found in self._revoked.find({"expires": {"$gt": now}})])
                    self._read_at = now
        return claims.get("jti") in self._known or claims.get("grant") in self._known
