"""Which patients have been merged into which: `_redirects`, one document for each that is gone into another.

    {_id: "{tenant}/{id}", t: tenant, i: id, to: id of the survivor, merge: id of the merge, u: time}

Every write and search has to know whether it names such a patient, and must not pay for it. So each process remembers who
has been merged, as hashes, and asks what is new at most once a second, for all tenants in one query. What it remembers is
only a hint: whether a patient is merged now, and into whom, the database says. A merge that a process does not know of for
that second is why merges look once more for references to the source, later (docs/merge.md).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

from pymongo import IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from fhir_server.store.database import Database, Document

REDIRECTS: Final = "_redirects"
REFRESH_SECONDS: Final = 1.0
OLDEST_SECONDS: Final = 10.0
"""When MongoDB can not be asked, older knowledge is not relied on."""
OVERLAP: Final = timedelta(seconds=150)
"""So long after its time a redirect may become visible: a transaction takes a minute at most, and clocks differ."""
_INDEXES: Final = (IndexModel([("u", 1)], name="new"), IndexModel([("t", 1), ("to", 1)], name="survivors"))


class Redirects:
    """The redirects of all tenants, as one process knows them."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: set[int] = set()
        self._tenants: set[str] = set()
        self._newest: datetime | None = None
        self._checked = float("-inf")
        self._lock = asyncio.Lock()
        self._prepared = False

    def idle(self, tenant: str) -> bool:
        """Tell whether it is known, as of the last second, that nobody has been merged in a tenant."""
        return tenant not in self._tenants and self._clock() - self._checked < REFRESH_SECONDS

    async def refresh(self, tenant: str) -> bool:
        """Learn what is new, unless that was done in the last second; return whether anybody of the tenant has been merged.

        Raises:
            PyMongoError: MongoDB is away, and what is known is too old to be relied on.
        """
        age = self._clock() - self._checked
        if age >= REFRESH_SECONDS and not (self._lock.locked() and age < OLDEST_SECONDS):
            async with self._lock:
                if self._clock() - self._checked >= REFRESH_SECONDS:
                    await self._ask()
        return tenant in self._tenants

    async def _ask(self) -> None:
        asked = self._clock()
        condition = {"u": {"$gte": self._newest - OVERLAP}} if self._newest else {}
        try:
            found = self._database.collection(REDIRECTS).find(condition, {"t": 1, "u": 1})
            async for document in found:
                self._known.add(hash(document["_id"]))
                self._tenants.add(document["t"])
                if self._newest is None or document["u"] > self._newest:
                    self._newest = document["u"]
        except PyMongoError:
            if asked - self._checked >= OLDEST_SECONDS:
                raise
            return
        self._checked = asked

    def may_be_merged(self, tenant: str, id_: str) -> bool:
        """Tell whether the patient may have been merged into another; False is certain, but for the last second."""
        return hash(f"{tenant}/{id_}") in self._known

    async def survivors(self, tenant: str, ids: Iterable[str]) -> dict[str, str]:
        """Return, for those of the patients that are merged, the patient who is left."""
        asked = {id_ for id_ in ids if self.may_be_merged(tenant, id_)}
        steps: dict[str, str] = {}
        unknown = asked
        while unknown:
            cursor = self._database.collection(REDIRECTS).find({"_id": {"$in": [f"{tenant}/{id_}" for id_ in sorted(unknown)]}})
            found = {document["i"]: document["to"] async for document in cursor}
            steps |= found
            unknown = {id_ for id_ in found.values() if id_ not in steps}
        return {id_: _end(id_, steps) for id_ in asked if id_ in steps}

    async def prepare(self) -> None:
        """Make the collection, before a transaction that writes it."""
        if not self._prepared:
            await self._database.collection(REDIRECTS).create_indexes(list(_INDEXES))
            self._prepared = True

    def note(self, tenant: str, id_: str) -> None:
        """Remember that a patient has been merged; said by whoever did it, after it is durable."""
        self._known.add(hash(f"{tenant}/{id_}"))
        self._tenants.add(tenant)

    async def add(self, redirect: Document, session: AsyncClientSession) -> None:
        """Write a redirect, within a transaction."""
        await self._database.collection(REDIRECTS).replace_one({"_id": redirect["_id"]}, redirect, upsert=True, session=session)

    async def remove(self, tenant: str, id_: str, session: AsyncClientSession) -> None:
        """Take a redirect back, within a transaction."""
        await self._database.collection(REDIRECTS).delete_one({"_id": f"{tenant}/{id_}"}, session=session)

    async def get(self, tenant: str, id_: str, session: AsyncClientSession | None = None) -> Document | None:
        """Return the redirect of a patient as it is now."""
        found: Document | None = await self._database.collection(REDIRECTS).find_one({"_id": f"{tenant}/{id_}"}, session=session)
        return found


def redirect(tenant: str, source: str, target: str, merge: str, now: datetime) -> Document:
    """Return the document that says that `source` has been merged into `target`."""
    return {"_id": f"{tenant}/{source}", "t": tenant, "i": source, "to": target, "merge": merge, "u": now}


def _end(id_: str, steps: dict[str, str]) -> str:
    seen: set[str] = set()
    while id_ in steps and id_ not in seen:
        seen.add(id_)
        id_ = steps[id_]
    return id_


_of: "WeakKeyDictionary[Database, Redirects]" = WeakKeyDictionary()


def redirects_of(database: Database) -> Redirects:
    """Return the redirects of a database as this process knows them."""
    found = _of.get(database)
    if found is None:
        found = _of[database] = Redirects(database)
    return found
