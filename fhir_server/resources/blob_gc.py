"""Removes bytes that nothing needs any more: `fhir-server blobs gc`, also while the server runs.

docs/media.md

Bytes are needed while a current resource refers to them, and for `blob_retention_days` after the last one has ceased to, so that
old versions keep their content for as long. Bytes that nothing has ever referred to go after `blob_grace_minutes`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fhir_server.blobs import Blobs
from fhir_server.blobs.elements import digests
from fhir_server.store.database import HISTORY, Database
from fhir_server.store.stored import resource_of
from fhir_server.store.versions import current_key

Document = dict[str, Any]


@dataclass(slots=True)
class Collected:
    """What was done, or would be."""

    seen: int = 0
    """Bytes that were looked at."""
    removed: int = 0
    freed: int = 0
    """How many bytes those had."""
    links: int = 0
    """References that had ceased."""
    stagings: int = 0
    """What was left of uploads that were never finished."""


class Collector:
    """One run; a dry one changes nothing."""

    def __init__(self, database: Database, blobs: Blobs, now: datetime, *, dry: bool = False) -> None:
        self._database = database
        self._blobs = blobs
        self._records = blobs.records
        self._now = now
        self._dry = dry
        settings = blobs.settings
        self._unused_since = now - timedelta(minutes=settings.blob_grace_minutes)
        self._needed_since = now - timedelta(days=settings.blob_retention_days)
        self.found = Collected()

    async def run(self) -> Collected:
        """Remove what is not needed."""
        await self._records.prepare()
        await self._remove_stagings()
        async for document in self._records.blobs.find({"touched": {"$lt": self._unused_since}}, {"thumb": 0}):
            self.found.seen += 1
            await self._look_at(document)
        return self.found

    async def _remove_stagings(self) -> None:
        async for upload in self._blobs.uploads.expired(self._now):
            self.found.stagings += 1
            if not self._dry:
                await self._blobs.uploads.abort(upload)
        async for staging in self._blobs.store.stagings(self._unused_since):
            if await self._blobs.uploads.is_open(staging):
                continue
            self.found.stagings += 1
            if not self._dry:
                await self._blobs.store.discard(staging)

    async def _look_at(self, document: Document) -> None:
        if document["state"] in ("storing", "deleting"):
            left = document if self._dry else await self._records.take_over(document["t"], document["h"])
            if left is not None:
                await self._remove(left)
        elif document["state"] == "quarantined":
            if document["touched"] < self._needed_since:
                await self._remove_unless_touched(document)
        elif not await self._is_needed(document):
            await self._remove_unless_touched(document)

    async def _is_needed(self, document: Document) -> bool:
        needed = False
        async for link in self._records.links.find({"t": document["t"], "h": document["h"]}):
            if await self._holds(link):
                needed = True
            else:
                self.found.links += 1
                if not self._dry:
                    # Who links at this moment has changed `at`.
                    await self._records.links.delete_one({"_id": link["_id"], "at": link["at"]})
        return needed

    async def _holds(self, link: Document) -> bool:
        """Tell whether a resource refers to the bytes, or has done so a short time ago."""
        if link["at"] >= self._unused_since:
            return True
        current = await self._database.collection(link["y"]).find_one({"_id": current_key(link["t"], link["i"])}, {"s": 0})
        if current is None:
            return False
        if not current.get("d") and _refers(current, link["h"]):
            return True
        first = f"{link['t']}/{link['i']}/"
        condition = {"_id": {"$gte": first, "$lt": first + ":"}, "e": {"$gte": self._needed_since}}
        async for version in self._database.collection(link["y"] + HISTORY).find(condition):
            if not version.get("d") and _refers(version, link["h"]):
                return True
        return False

    async def _remove_unless_touched(self, document: Document) -> None:
        if self._dry:
            await self._remove(document)
            return
        owner = await self._records.begin_deleting(document)
        if not owner:
            return
        tenant, sha256 = document["t"], document["h"]
        if document["state"] == "ready" and await self._records.links.find_one({"t": tenant, "h": sha256}):
            await self._records.settle(tenant, sha256, owner, {"state": "ready"})
            return
        await self._remove(document | {"owner": owner})

    async def _remove(self, document: Document) -> None:
        self.found.removed += 1
        self.found.freed += document["size"]
        if not self._dry:
            await self._blobs.receiver.remove(document)


def _refers(document: Document, sha256: str) -> bool:
    return sha256 in digests(resource_of(document))


async def collect(database: Database, blobs: Blobs, now: datetime, *, dry: bool = False) -> Collected:
    """Run once."""
    return await Collector(database, blobs, now, dry=dry).run()


def shown(collected: Collected) -> Iterable[str]:
    """Yield sentences about what was done."""
    yield f"Looked at {collected.seen:,} contents: {collected.removed:,} removed ({collected.freed / 1e6:,.1f} MB)."
    yield f"{collected.links:,} references had ceased; {collected.stagings:,} unfinished uploads are gone."
