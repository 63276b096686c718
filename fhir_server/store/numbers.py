"""Numbers that are handed out once.

A sequence is a document `{_id: "{tenant}/{name}", n: last}`. Processes take blocks of it, so that handing out a number
costs no round trip; what a process has not handed out when it ends is lost, which leaves gaps. Each number of a block is
claimed before it is handed out (`fhir_server.store.claims`): whatever somebody else brought along is left out.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from pymongo import ReturnDocument

from fhir_server.store.claims import reserve
from fhir_server.store.database import Database, Document
from fhir_server.store.writes import claim_key

_numbers: "WeakKeyDictionary[Database, Numbers]" = WeakKeyDictionary()

SEQUENCES: Final = "_sequences"
SMALLEST: Final = 4
LARGEST: Final = 256
QUICK_SECONDS: Final = 10.0
"""A block that was used up within this time is followed by one of twice its size."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence of a tenant."""

    tenant: str
    name: str
    start: int
    text: Callable[[int], str] = field(compare=False)
    """How a number is written."""
    key: Callable[[str], str] = field(compare=False)
    """What is claimed for a written number."""


@dataclass(slots=True)
class _Pool:
    free: deque[str] = field(default_factory=deque)
    size: int = SMALLEST // 2
    taken_at: float = float("-inf")


class Numbers:
    """Hands out numbers of a database in this process."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._pools: dict[tuple[str, str], _Pool] = {}

    async def take(self, sequence: Sequence) -> str:
        """Return the next number, as it is written."""
        pool = self._pools.setdefault((sequence.tenant, sequence.name), _Pool())
        while not pool.free:
            async with self._database.lock(f"{sequence.tenant}/{sequence.name}"):
                if not pool.free:
                    pool.free.extend(await self._block(sequence, pool))
        return pool.free.popleft()

    async def _block(self, sequence: Sequence, pool: _Pool) -> list[str]:
        now = self._clock()
        pool.size = min(LARGEST, 2 * pool.size) if now - pool.taken_at < QUICK_SECONDS else SMALLEST
        pool.taken_at = now
        last = await self._advance(sequence, pool.size)
        texts = {
            claim_key(sequence.tenant, sequence.key(text)): text
            for text in map(sequence.text, range(last - pool.size + 1, last + 1))
        }
        return [texts[key] for key in await reserve(self._database, list(texts))]

    async def _advance(self, sequence: Sequence, size: int) -> int:
        before = {"$max": ["$n", sequence.start - 1]}
        found: Document | None = await self._database.collection(SEQUENCES).find_one_and_update(
            {"_id": claim_key(sequence.tenant, sequence.name)},
            [{"$set": {"n": {"$add": [before, size]}}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise AssertionError
        return int(found["n"])


def numbers_of(database: Database) -> Numbers:
    """Return what hands out the numbers of a database in this process."""
    found = _numbers.get(database)
    if found is None:
        found = _numbers[database] = Numbers(database)
    return found
