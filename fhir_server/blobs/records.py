"""What is known of the bytes of each tenant, and what refers to them: two collections of MongoDB.

    _blobs      {_id: "tenant/sha256", t, h: sha256, s: sha1, size, mime, key, place, state, scan, facts, thumb, created, touched,
                 since, owner}
    _blob_links {_id: "tenant/sha256/Type/id", t, h, y: type, i: id, at}

The order of writes keeps both right whatever is killed when. Bytes are received: record `storing`, bytes, record `ready`. A
resource refers to bytes: link, `touched`, resource. Bytes are removed: record `deleting`, links looked at again, bytes, record.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, ReturnDocument, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from fhir_server.blobs.blob import Blob, Scan

Document = dict[str, Any]
LEASE: Final = timedelta(seconds=90)
"""How long one who stores or deletes is waited for after the last sign of life."""
RENEW_SECONDS: Final = 20.0
PLAIN: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True, tzinfo=UTC)


class Records:
    """The collections."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        plain = database.with_options(codec_options=PLAIN)
        self.blobs = plain["_blobs"]
        self.links = plain["_blob_links"]
        self._prepared = False

    async def prepare(self) -> None:
        """Make the indexes, once."""
        if not self._prepared:
            await self.blobs.create_index([("touched", ASCENDING)])
            await self.blobs.create_index("scan", partialFilterExpression={"scan": "unscanned"}, name="unscanned")
            await self.links.create_index([("t", ASCENDING), ("h", ASCENDING)])
            self._prepared = True

    async def document(self, tenant: str, sha256: str) -> Document | None:
        """Return a record as it is stored."""
        return await self.blobs.find_one({"_id": f"{tenant}/{sha256}"})

    async def find(self, tenant: str, sha256: str) -> Blob | None:
        """Return what is known of bytes."""
        found = await self.blobs.find_one({"_id": f"{tenant}/{sha256}"}, {"thumb": 0})
        return blob_of(found) if found else None

    async def keys(self, tenant: str, digests: Iterable[str]) -> dict[str, str]:
        """Return the keys of bytes, by digest, as far as they are there."""
        ids = [f"{tenant}/{one}" for one in digests]
        return {found["h"]: found["key"] async for found in self.blobs.find({"_id": {"$in": ids}}, {"h": 1, "key": 1})}

    async def touch(self, tenant: str, sha256: str) -> Blob | None:
        """Return what is known of bytes that are ready, and keep them from being removed for a while."""
        found = await self.blobs.find_one_and_update(
            {"_id": f"{tenant}/{sha256}", "state": "ready"},
            {"$set": {"touched": _now()}},
            projection={"thumb": 0},
            return_document=ReturnDocument.AFTER,
        )
        return blob_of(found) if found else None

    async def begin(self, blob: Blob, thumbnail: bytes) -> str:
        """Note that bytes are about to be stored; return a token of ownership, "" where there is a record of them."""
        owner, now = secrets.token_hex(8), _now()
        document = {
            "_id": f"{blob.tenant}/{blob.sha256}",
            "t": blob.tenant,
            "h": blob.sha256,
            "s": blob.sha1,
            "size": blob.size,
            "mime": blob.mime,
            "key": blob.key,
            "place": blob.place,
            "state": "storing",
            "scan": blob.scan,
            "facts": dict(blob.facts),
            "thumb": thumbnail,
            "created": now,
            "touched": now,
            "since": now,
            "owner": owner,
        }
        try:
            await self.blobs.insert_one(document)
        except DuplicateKeyError:
            return ""
        return owner

    async def take_over(self, tenant: str, sha256: str) -> Document | None:
        """Become the owner of what somebody began to store or to delete and never finished; None where nobody gave up."""
        now = _now()
        return await self.blobs.find_one_and_update(
            {"_id": f"{tenant}/{sha256}", "state": {"$in": ["storing", "deleting"]}, "since": {"$lt": now - LEASE}},
            {"$set": {"state": "deleting", "since": now, "owner": secrets.token_hex(8)}},
            return_document=ReturnDocument.AFTER,
        )

    @asynccontextmanager
    async def owned(self, tenant: str, sha256: str, owner: str) -> AsyncIterator[None]:
        """Give signs of life while the owner works."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(RENEW_SECONDS)
                await self.blobs.update_one({"_id": f"{tenant}/{sha256}", "owner": owner}, {"$set": {"since": _now()}})

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()

    async def settle(self, tenant: str, sha256: str, owner: str, changes: Mapping[str, Any]) -> Blob | None:
        """End the ownership with these changes; None where it has been lost."""
        found = await self.blobs.find_one_and_update(
            {"_id": f"{tenant}/{sha256}", "owner": owner},
            {"$set": {**changes, "touched": _now()}, "$unset": {"owner": "", "since": ""}},
            projection={"thumb": 0},
            return_document=ReturnDocument.AFTER,
        )
        return blob_of(found) if found else None

    async def forget(self, tenant: str, sha256: str, owner: str) -> None:
        """Remove a record that is owned."""
        await self.blobs.delete_one({"_id": f"{tenant}/{sha256}", "owner": owner})

    async def begin_deleting(self, document: Document) -> str:
        """Become the owner of bytes that have not been touched since they were looked at; "" where they have been."""
        owner = secrets.token_hex(8)
        changed = await self.blobs.update_one(
            {"_id": document["_id"], "state": document["state"], "touched": document["touched"]},
            {"$set": {"state": "deleting", "since": _now(), "owner": owner}},
        )
        return owner if changed.modified_count else ""

    async def scanned(self, tenant: str, sha256: str, scan: Scan) -> None:
        """Note what a scan has found in bytes that are ready."""
        await self.blobs.update_one({"_id": f"{tenant}/{sha256}", "state": "ready"}, {"$set": {"scan": scan}})

    async def quarantine(self, tenant: str, sha256: str, virus: str) -> None:
        """Never serve bytes again that were ready."""
        changes = {"state": "quarantined", "virus": virus, "touched": _now()}
        await self.blobs.update_one({"_id": f"{tenant}/{sha256}", "state": "ready"}, {"$set": changes})

    async def link(self, tenant: str, digests: Iterable[str], type_: str, id_: str) -> list[str]:
        """Note that a resource is about to refer to bytes; return those that are not ready."""
        wanted = list(dict.fromkeys(digests))
        now = _now()
        links = [
            UpdateOne(
                {"_id": f"{tenant}/{one}/{type_}/{id_}"},
                {"$set": {"at": now}, "$setOnInsert": {"t": tenant, "h": one, "y": type_, "i": id_}},
                upsert=True,
            )
            for one in wanted
        ]
        await self.links.bulk_write(links, ordered=False)
        touched = await self.blobs.update_many(
            {"_id": {"$in": [f"{tenant}/{one}" for one in wanted]}, "state": "ready"}, {"$set": {"touched": now}}
        )
        if touched.matched_count == len(wanted):
            return []
        ready = self.blobs.find({"_id": {"$in": [f"{tenant}/{one}" for one in wanted]}, "state": "ready"}, {"h": 1})
        there = {document["h"] async for document in ready}
        return [one for one in wanted if one not in there]

    async def pending(self) -> AsyncIterator[Document]:
        """Yield the records of what has not been scanned."""
        async for document in self.blobs.find({"scan": "unscanned", "state": "ready"}, {"t": 1, "h": 1}):
            yield document

    async def thumbnail(self, tenant: str, sha256: str) -> bytes:
        """Return the JPEG that shows what the bytes are; b"" where there is none."""
        found = await self.blobs.find_one({"_id": f"{tenant}/{sha256}"}, {"thumb": 1})
        return bytes(found["thumb"]) if found else b""


def blob_of(document: Mapping[str, Any]) -> Blob:
    """Return the Blob of a record."""
    return Blob(
        tenant=document["t"],
        sha256=document["h"],
        sha1=document["s"],
        size=document["size"],
        mime=document["mime"],
        key=document["key"],
        place=document["place"],
        created=document["created"],
        state=document["state"],
        scan=document["scan"],
        facts=document["facts"],
    )


def _now() -> datetime:
    return datetime.now(UTC)
