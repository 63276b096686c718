"""Throttling of whatever can be guessed: https://www.rfc-editor.org/rfc/rfc9700#section-4 and NIST SP 800-63B section 5.2.2.

Failures are counted by key (a login name from an address, an address, a login name) for an hour that each failure
renews. Past the number that a key allows, every further failure doubles the time in which nobody is listened to, so that
guessing on is hopeless while the owner of the account waits minutes, not days.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pymongo import ReturnDocument

from fhir_server.security.authorization.collections import ATTEMPTS, collection, digest
from fhir_server.store.database import Database

MEMORY: Final = timedelta(hours=1)
"""How long a failure counts; longer than any pause, so that nobody starts anew by waiting for one."""
LONGEST_PAUSE: Final = timedelta(minutes=15)
FIRST_PAUSE: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Key:
    """What failures are counted by; `free` of them cost no time."""

    value: str
    free: int


def login_keys(name: str, address: str) -> tuple[Key, ...]:
    """Return the keys of a login: the pair is tight, address and name alone leave room for the others behind them."""
    return Key(f"login:{name}@{address}", 5), Key(f"address:{address}", 50), Key(f"name:{name}", 30)


class Attempts:
    """Failures, as all processes of the server see them."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._attempts = collection(database, ATTEMPTS)
        self._now = now

    async def pause(self, keys: Iterable[Key]) -> int:
        """Return for how many more seconds attempts under any of the keys are refused; 0 when they are listened to."""
        now = self._now()
        wanted = {"$in": [digest(key.value) for key in keys]}
        untils = [found["until"] async for found in self._attempts.find({"_id": wanted, "until": {"$gt": now}})]
        return max((int((until - now).total_seconds()) + 1 for until in untils), default=0)

    async def failed(self, keys: Iterable[Key]) -> None:
        """Count a failure under each of the keys."""
        now = self._now()
        for key in keys:
            id_ = digest(key.value)
            # What is past its hour counts no more, whether MongoDB has removed it yet or not.
            await self._attempts.delete_one({"_id": id_, "expires": {"$lte": now}})
            counted = await self._attempts.find_one_and_update(
                {"_id": id_},
                {"$inc": {"n": 1}, "$set": {"expires": now + MEMORY}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            over = (counted or {"n": 1})["n"] - key.free
            if over >= 0:
                pause = min(FIRST_PAUSE * 2 ** min(over, 12), LONGEST_PAUSE)
                await self._attempts.update_one({"_id": id_}, {"$set": {"until": now + pause}})

    async def succeeded(self, keys: Iterable[Key]) -> None:
        """Forget the failures under the keys."""
        await self._attempts.delete_many({"_id": {"$in": [digest(key.value) for key in keys]}})
