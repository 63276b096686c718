"""Looking whether the trail is whole, and removing what is older than it has to be kept."""

import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from fhir_server.exchange import utc_now
from fhir_server.security.audit.chain import START, Authenticator, code
from fhir_server.security.audit.record import Place, unpacked
from fhir_server.security.audit.trail import PARTITION, keys_of, partitions
from fhir_server.store.database import Database, Document

MARKS: Final = "_audit"
"""How far chains were pruned: `{_id: "{tenant}/{chain}", t, n: last number removed, h: its code, g: id of the key, a: code}`."""
SHOWN: Final = 1000
"""So many findings are kept; there may be more."""
_PROJECTION: Final = {"t": 1, "k": 1, "b": 1, "p": 1, "h": 1, "g": 1}


@dataclass(slots=True)
class Head:
    """How far a chain goes."""

    number: int = -1
    code: bytes = START


Heads = dict[str, Head]
"""By `{tenant}/{chain}`."""


@dataclass(slots=True)
class Verified:
    """What was found."""

    batches: int = 0
    records: int = 0
    heads: Heads = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Keep a finding."""
        if len(self.problems) < SHOWN:
            self.problems.append(problem)


class Verification:
    """One look at the whole trail, or that of a tenant; `expected` are heads that an earlier one found."""

    def __init__(self, database: Database, tenant: str = "", expected: Heads | None = None) -> None:
        self._database = database
        self._authenticator = Authenticator(database)
        self._condition: Document = {"t": tenant} if tenant else {}
        self._expected = expected or {}
        self._found = Verified()
        self._keys: dict[tuple[str, bytes], bytes | None] = {}

    async def run(self) -> Verified:
        """Return what was found."""
        found = self._found
        for name in await partitions(self._database):
            cursor = self._database.collection(name).find(self._condition, _PROJECTION).sort("_id", 1)
            async for document in cursor:
                await self._look(document, name)
        for chain, head in self._expected.items():
            tenant = chain.rpartition("/")[0]
            pruned = {"_id": chain, "n": {"$gte": head.number}}
            if self._condition.get("t", tenant) != tenant or await self._database.collection(MARKS).find_one(pruned):
                continue
            reached = found.heads.get(chain, Head())
            if reached.number < head.number:
                found.add(f"{chain}: batches up to {head.number} were there; now it ends at {reached.number}: removed")
        return found

    async def _look(self, document: Document, partition: str) -> None:
        found, tenant = self._found, str(document["t"])
        key = str(document["_id"])
        try:
            place = Place.parse(key.removeprefix(f"{tenant}/"))
            records = unpacked(document["b"])
        except (ValueError, msgspec.DecodeError):
            found.add(f"{key} in {partition}: it is no batch of the trail: inserted or changed")
            return
        chain = f"{tenant}/{place.chain}"
        head = found.heads.get(chain) or await self._begun(tenant, chain)
        if place.number != head.number + 1:
            what = "inserted" if place.number <= head.number else "before it is missing: removed"
            found.add(f"{key}: number {place.number} follows {head.number}; a batch {what}")
        elif document["p"] != head.code:
            found.add(f"{key}: it does not follow from the batch before it: changed")
        await self._authentic(document, tenant, key, place)
        if document["k"] != keys_of(records):
            found.add(f"{key}: it is found under other keys than it should be: changed")
        expected = self._expected.get(chain)
        if expected is not None and expected.number == place.number and expected.code != document["h"]:
            found.add(f"{key}: it is another batch than the one that was there: changed")
        found.heads[chain] = Head(place.number, document["h"])
        found.batches += 1
        found.records += len(records)

    async def _authentic(self, document: Document, tenant: str, key: str, place: Place) -> None:
        secret = await self._key(tenant, document["g"])
        if secret is None:
            self._found.add(f"{key}: its key is not known here (FHIR_MASTER_KEY), so it can not be verified")
        elif not hmac.compare_digest(code(secret, str(place), document["p"], document["b"]), document["h"]):
            self._found.add(f"{key}: its code is wrong: changed")

    async def _begun(self, tenant: str, chain: str) -> Head:
        """Return where a chain begins: at its start, or after what was pruned."""
        mark = await self._database.collection(MARKS).find_one({"_id": chain})
        if mark is None:
            return Head()
        secret = await self._key(tenant, mark["g"])
        if secret is None or not hmac.compare_digest(_mark_code(secret, chain, mark["n"], mark["h"]), mark["a"]):
            self._found.add(f"{chain}: the mark that it was pruned is not authentic: changed")
            return Head()
        return Head(mark["n"], mark["h"])

    async def _key(self, tenant: str, id_: bytes) -> bytes | None:
        if (tenant, id_) not in self._keys:
            self._keys[tenant, id_] = await self._authenticator.known(tenant, id_)
        return self._keys[tenant, id_]


def read_heads(path: Path) -> Heads:
    """Return the heads that `write_heads` wrote; none where there is no file.

    Raises:
        ValueError: it is no such file.
    """
    if not path.exists():
        return {}
    try:
        return {chain: Head(int(number), bytes.fromhex(text)) for chain, (number, text) in json.loads(path.read_text()).items()}
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def write_heads(path: Path, heads: Heads) -> None:
    """Write heads to a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({chain: [head.number, head.code.hex()] for chain, head in sorted(heads.items())}, indent=1))
    partial.rename(path)


async def prune(database: Database, days: int, now: Callable[[], datetime] = utc_now) -> list[str]:
    """Remove the months that ended more than so many days ago; return the names of their collections."""
    removed = []
    for name in await partitions(database):
        if _end(name) <= now() - timedelta(days=days):
            await _mark(database, name)
            await database.mongodb.drop_collection(name)
            removed.append(name)
    return removed


def _end(name: str) -> datetime:
    year, month = (int(part) for part in name.removeprefix(PARTITION).split("_"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


async def _mark(database: Database, name: str) -> None:
    """Write down how far the chains go of which a part is removed."""
    authenticator = Authenticator(database)
    async for chain, head in _ends(database, name):
        tenant = chain.rpartition("/")[0]
        key, id_ = await authenticator.key(tenant)
        mark = {"t": tenant, "n": head.number, "h": head.code, "g": id_, "a": _mark_code(key, chain, head.number, head.code)}
        await database.collection(MARKS).replace_one({"_id": chain}, mark, upsert=True)


async def _ends(database: Database, name: str) -> AsyncIterator[tuple[str, Head]]:
    ends: Heads = {}
    async for document in database.collection(name).find({}, {"t": 1, "h": 1}).sort("_id", 1):
        place = Place.parse(document["_id"].removeprefix(f"{document['t']}/"))
        ends[f"{document['t']}/{place.chain}"] = Head(place.number, document["h"])
    for chain, head in ends.items():
        yield chain, head


def _mark_code(key: bytes, chain: str, number: int, last: bytes) -> bytes:
    return code(key, f"pruned {chain.rpartition('/')[2]} {number}", last, b"")
