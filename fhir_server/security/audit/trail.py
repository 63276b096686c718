"""The trail: records go in, durable before the answer leaves; documents come out.

docs/decisions/0036-audit-trail.md. A batch of records is one document of the collection of its month:

    {_id: "{tenant}/{ms}-{chain}-{n}", t: tenant, k: [keys], b: records, p: code before, h: code, g: id of the key}

Whoever records waits until the batch is acknowledged. What comes meanwhile waits for the next batch, and goes together; so
the trail slows requests down where it must, and loses none.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from pymongo import ASCENDING
from pymongo.errors import BulkWriteError, DuplicateKeyError

from fhir_server.fhir.outcome import unavailable
from fhir_server.security.audit.chain import START, Authenticator, code
from fhir_server.security.audit.record import Place, Record, packed
from fhir_server.store.database import Database, Document

PARTITION: Final = "_audit_"
"""What the names of the collections begin with; the year and the month follow."""
MOST_RECORDS: Final = 500
MOST_KEYS: Final = 2000
"""A batch is cut into documents of about so many."""
DUPLICATE: Final = 11000

LINGER_SECONDS: Final = 0.003
"""So long a batch waits for Calls that are under way."""
PATIENT_SECONDS: Final = 0.01
"""So long a batch waits where nobody waits for an answer: alone, a record costs as much as several together."""


class Item(NamedTuple):
    """What one caller wants recorded."""

    tenant: str
    records: Sequence[Record]
    future: "asyncio.Future[None]"
    patient: bool


def partition(moment: datetime) -> str:
    """Return the name of the collection of a time."""
    return f"{PARTITION}{moment:%Y_%m}"


@dataclass(slots=True)
class _Chain:
    """Where this process stands in the chain of one tenant."""

    name: str = field(default_factory=lambda: secrets.token_hex(4))
    number: int = 0
    ms: int = 0
    last: bytes = START


class Trail:
    """Writes the audit trail of one process; `everything` says whether reads and searches are recorded too."""

    def __init__(self, database: Database, *, everything: bool = True) -> None:
        self.everything = everything
        self.database = database
        self.authenticator = Authenticator(database)
        self._chains: dict[str, _Chain] = {}
        self._prepared: set[str] = set()
        self._unsettled: list[tuple[str, Document]] = []
        self._waiting: list[Item] = []
        self._writing: asyncio.Task[None] | None = None
        self._gate: asyncio.Future[None] | None = None
        self.under_way = 0
        """How many Calls are under way that will be recorded."""

    async def record(self, tenant: str, records: Sequence[Record], *, patient: bool = False) -> None:
        """Return when the records are durable; one that is `patient` waits a little for others first.

        Raises:
            FhirError: 503, the database did not confirm it in time.
        """
        if not records:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Item(tenant, records, future, patient))
        if self._writing is None:
            self._writing = asyncio.create_task(self._drain())
        elif self._gate is not None and not patient and len(self._waiting) >= self.under_way and not self._gate.done():
            self._gate.set_result(None)
        await future

    async def _drain(self) -> None:
        """Write what waits, batch by batch."""
        while self._waiting:
            if all(item.patient for item in self._waiting):
                await self._linger(PATIENT_SECONDS)
            elif len(self._waiting) < self.under_way:
                await self._linger(LINGER_SECONDS)
            batch, self._waiting = self._waiting[:MOST_RECORDS], self._waiting[MOST_RECORDS:]
            problem: BaseException | None = None
            try:
                async with asyncio.timeout(self.database.patience):
                    await self._write(batch)
            except TimeoutError:
                problem = unavailable("The audit trail can not be written at the moment, so nothing is answered; try again.")
            except BaseException as error:  # noqa: BLE001 -- whoever waits must hear of it, cancellation included
                problem = error
            for item in batch:
                _settle(item.future, problem)
        self._writing = None

    async def _linger(self, seconds: float) -> None:
        """Wait for those that are about to come, so that they share the round trip."""
        loop = asyncio.get_running_loop()
        gate = self._gate = loop.create_future()
        timer = loop.call_later(seconds, _settle, gate, None)
        await gate
        timer.cancel()
        self._gate = None

    async def _write(self, items: list[Item]) -> None:
        """Write a batch. What was not confirmed of the one before is written first, under the same keys."""
        by_tenant: dict[str, list[Record]] = {}
        for item in items:
            by_tenant.setdefault(item.tenant, []).extend(item.records)
        await self._settle()
        for tenant, together in by_tenant.items():
            key, id_ = await self.authenticator.key(tenant)
            for part in _parts(together):
                self._unsettled.append(self._document(tenant, part, key, id_))
        await self._settle()

    async def _settle(self) -> None:
        while self._unsettled:
            name = self._unsettled[0][0]
            documents = [document for other, document in self._unsettled if other == name]
            await self._prepare(name)
            await self._insert(name, documents)
            self._unsettled = [one for one in self._unsettled if one[0] != name]

    async def _insert(self, name: str, documents: list[Document]) -> None:
        if await self.database.insert(name, documents):
            return
        collection = self.database.collection(name)
        try:
            if len(documents) == 1:
                await collection.insert_one(documents[0])
            else:
                await collection.insert_many(documents, ordered=False)
        except DuplicateKeyError:
            pass  # It had been written, and the confirmation was lost.
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors") or any(one["code"] != DUPLICATE for one in error.details["writeErrors"]):
                raise

    async def _prepare(self, name: str) -> None:
        if name not in self._prepared:
            await self.database.collection(name).create_index([("t", ASCENDING), ("k", ASCENDING)], name="keys")
            self._prepared.add(name)

    def _document(self, tenant: str, records: Sequence[Record], key: bytes, id_: bytes) -> tuple[str, Document]:
        chain = self._chains.get(tenant)
        if chain is None:
            chain = self._chains[tenant] = _Chain()
        chain.ms = max(chain.ms, time.time_ns() // 1_000_000)
        place = Place(chain.ms, chain.name, chain.number)
        data, text = packed(records), str(place)
        found: dict[str, Any] = {"_id": f"{tenant}/{text}", "t": tenant, "k": keys_of(records), "b": data, "p": chain.last}
        found["h"] = chain.last = code(key, text, chain.last, data)
        found["g"] = id_
        chain.number += 1
        return partition(place.moment), found

    async def partitions(self) -> list[str]:
        """Return the collections that there are, the oldest first."""
        return await partitions(self.database)


async def partitions(database: Database) -> list[str]:
    """Return the collections of the trail, the oldest first."""
    return sorted(name for name in await database.mongodb.list_collection_names() if name.startswith(PARTITION))


def keys_of(records: Sequence[Record]) -> list[str]:
    """Return what a batch of records is found by."""
    return list({key: None for record in records for key in record.keys})


def _settle(future: "asyncio.Future[None]", problem: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(problem, asyncio.CancelledError):
        future.cancel()
    elif problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(None)


def _parts(records: list[Record]) -> list[list[Record]]:
    """Cut records into parts that are small enough for a document."""
    found: list[list[Record]] = [[]]
    keys = 0
    for record in records:
        size = len(record.patients) + 4
        if found[-1] and (len(found[-1]) >= MOST_RECORDS or keys + size > MOST_KEYS):
            found.append([])
            keys = 0
        found[-1].append(record)
        keys += size
    return found
