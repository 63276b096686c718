"""Bytes in MongoDB, in the collections of GridFS, encrypted with the key of the tenant.

https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md

Each chunk is encrypted by itself (AES-256-GCM, https://csrc.nist.gov/pubs/sp/800/38/d/final), so that any range can be
read: 12 bytes nonce, ciphertext, 16 bytes tag. The file and the number of the chunk are authenticated with it: chunks can
neither be exchanged nor reordered. Part p of a staging is written to where it will stay, so that nothing is ever copied.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from bson import ObjectId
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import ASCENDING, ReplaceOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from fhir_server.blobs.blob import DamagedError, Staging
from fhir_server.blobs.protocol import PART_BYTES, PartOf


class Ciphers(Protocol):
    """The data keys of tenants."""

    async def active(self, tenant: str) -> tuple[bytes, AESGCM]:
        """Return what to encrypt with, and the id of the key."""
        ...

    async def of(self, tenant: str, key: bytes) -> AESGCM:
        """Return what to decrypt with."""
        ...


CHUNK_BYTES: Final = 256 * 1024
NONCE_BYTES: Final = 12
EXTRA_BYTES: Final = NONCE_BYTES + 16
CHUNKS_OF_PART: Final = PART_BYTES // CHUNK_BYTES
BATCH: Final = 8
"""Chunks of one round trip."""


class GridFS:
    """A BlobStore in MongoDB. A place is the hexadecimal id of a file."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], ciphers: Ciphers) -> None:
        self._files = database["blobs.files"]
        self._chunks = database["blobs.chunks"]
        self._ciphers = ciphers
        self._prepared = False

    async def put(self, tenant: str, key: str, data: bytes, *, sha256: str, mime: str) -> str:
        """Keep bytes in a file of their own."""
        del sha256, mime
        staging = await self._begin(tenant)
        await self._write(staging, 0, data)
        return await self.keep(staging, key, size=len(data), mime="")

    @property
    def copies(self) -> bool:
        """Never: parts lie where they stay."""
        return False

    async def put_parts(self, tenant: str, key: str, part_of: PartOf, *, size: int, mime: str) -> str:
        """Write one part after the other."""
        staging = await self._begin(tenant)
        for number in range(1, -(-size // PART_BYTES) + 1):
            await self.put_part(staging, number, await part_of(number))
        return await self.keep(staging, key, size=size, mime=mime)

    async def begin(self, tenant: str) -> Staging:
        """Make a file."""
        return await self._begin(tenant)

    async def _begin(self, tenant: str) -> Staging:
        if not self._prepared:
            await self._chunks.create_index([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
            await self._files.create_index([("filename", ASCENDING), ("uploadDate", ASCENDING)])
            self._prepared = True
        file = ObjectId()
        key, _ = await self._ciphers.active(tenant)
        metadata = {"tenant": tenant, "staging": True, "key": key}
        moment = datetime.now(UTC)
        await self._files.insert_one(
            {"_id": file, "length": 0, "chunkSize": CHUNK_BYTES + EXTRA_BYTES, "uploadDate": moment, "metadata": metadata}
        )
        return Staging(tenant, str(file), key.hex())

    async def put_part(self, staging: Staging, number: int, data: bytes) -> None:
        """Write the chunks of a part."""
        first = (number - 1) * CHUNKS_OF_PART
        written = -(-len(data) // CHUNK_BYTES)
        await self._write(staging, first, data)
        await self._chunks.delete_many(
            {"files_id": ObjectId(staging.id), "n": {"$gte": first + written, "$lt": first + CHUNKS_OF_PART}}
        )

    async def _write(self, staging: Staging, first: int, data: bytes) -> None:
        file, cipher = ObjectId(staging.id), await self._ciphers.of(staging.tenant, bytes.fromhex(staging.token))
        chunks = _encrypted(cipher, file, first, data)
        while batch := [chunk for _, chunk in zip(range(BATCH), chunks, strict=False)]:
            try:
                await self._chunks.insert_many(batch, ordered=False)
            except BulkWriteError:
                replace = [ReplaceOne({"files_id": file, "n": chunk["n"]}, _without_id(chunk), upsert=True) for chunk in batch]
                await self._chunks.bulk_write(replace, ordered=False)

    async def parts(self, staging: Staging) -> Mapping[int, int]:
        """Add up the sizes of the chunks."""
        size = {"$subtract": [{"$binarySize": "$data"}, EXTRA_BYTES]}
        number = {"$add": [{"$floor": {"$divide": ["$n", CHUNKS_OF_PART]}}, 1]}
        cursor = await self._chunks.aggregate(
            [{"$match": {"files_id": ObjectId(staging.id)}}, {"$group": {"_id": number, "size": {"$sum": size}}}]
        )
        return {int(found["_id"]): int(found["size"]) async for found in cursor}

    async def finish(self, staging: Staging) -> None:
        """Do nothing: the parts lie where they belong."""

    async def is_finished(self, staging: Staging) -> bool:
        """Return False: there is nothing to join."""
        del staging
        return False

    def staged(self, staging: Staging, size: int) -> AsyncIterator[bytes]:
        """Yield what is staged."""
        return self.read(staging.tenant, staging.id, 0, size)

    async def keep(self, staging: Staging, key: str, *, size: int, mime: str) -> str:
        """Give the file its name."""
        del mime
        chunks = -(-size // CHUNK_BYTES)
        change = {"filename": key, "length": size + chunks * EXTRA_BYTES, "metadata.size": size}
        await self._files.update_one({"_id": ObjectId(staging.id)}, {"$set": change, "$unset": {"metadata.staging": ""}})
        return staging.id

    async def discard(self, staging: Staging) -> None:
        """Remove the file, unless it has been kept."""
        file = ObjectId(staging.id)
        if await self._files.find_one({"_id": file, "metadata.staging": None}):
            return
        await self._remove(file)

    async def _remove(self, file: ObjectId) -> None:
        # The file goes last: while it is there, the chunks are found again.
        await self._chunks.delete_many({"files_id": file})
        await self._files.delete_one({"_id": file})

    async def read(self, tenant: str, place: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a range, chunk by chunk."""
        if start >= stop:
            return
        file = ObjectId(place)
        found = await self._files.find_one({"_id": file}, {"metadata.key": 1})
        if found is None:
            raise DamagedError(f"There is no file {place}.")
        cipher = await self._ciphers.of(tenant, bytes(found["metadata"]["key"]))
        first, last = start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
        condition = {"files_id": file, "n": {"$gte": first, "$lte": last}}
        expected = first
        cursor = self._chunks.find(condition).sort("n", ASCENDING).batch_size(BATCH)
        async with cursor:
            async for chunk in cursor:
                if chunk["n"] != expected:
                    break
                data = _decrypted(cipher, file, chunk)
                at = expected * CHUNK_BYTES
                yield data[max(0, start - at) : stop - at]
                expected += 1
        if expected != last + 1:
            raise DamagedError(f"Chunk {expected} of {place} is missing.")

    async def exists(self, tenant: str, place: str) -> bool:
        """Tell whether there is such a file."""
        del tenant
        return await self._files.find_one({"_id": ObjectId(place)}, {"_id": 1}) is not None

    async def delete(self, tenant: str, key: str) -> None:
        """Remove the files of this name."""
        del tenant
        async for file in self._files.find({"filename": key}, {"_id": 1}):
            await self._remove(file["_id"])

    async def stagings(self, before: datetime) -> AsyncIterator[Staging]:
        """Yield files that have no name yet."""
        condition = {"filename": None, "uploadDate": {"$lt": before}, "metadata.staging": True}
        async for found in self._files.find(condition):
            yield Staging(found["metadata"]["tenant"], str(found["_id"]), bytes(found["metadata"]["key"]).hex())

    async def url(self, place: str, *, seconds: int, mime: str, disposition: str) -> str | None:
        """Return None: the server makes URLs of its own."""
        del place, seconds, mime, disposition
        return None

    async def part_url(self, staging: Staging, number: int, *, size: int, seconds: int) -> str | None:
        """Return None likewise."""
        del staging, number, size, seconds
        return None

    async def close(self) -> None:
        """Hold nothing."""


def _encrypted(cipher: AESGCM, file: ObjectId, first: int, data: bytes) -> Iterator[dict[str, Any]]:
    view = memoryview(data)
    for n, at in enumerate(range(0, len(data), CHUNK_BYTES), first):
        nonce = os.urandom(NONCE_BYTES)
        body = nonce + cipher.encrypt(nonce, view[at : at + CHUNK_BYTES], _place(file, n))
        yield {"_id": ObjectId(), "files_id": file, "n": n, "data": body}


def _decrypted(cipher: AESGCM, file: ObjectId, chunk: Mapping[str, Any]) -> bytes:
    body = memoryview(chunk["data"])
    try:
        return cipher.decrypt(bytes(body[:NONCE_BYTES]), body[NONCE_BYTES:], _place(file, chunk["n"]))
    except InvalidTag:
        raise DamagedError(f"Chunk {chunk['n']} of {file} is not what was stored.") from None


def _place(file: ObjectId, n: int) -> bytes:
    return f"{file}/{n}".encode()


def _without_id(chunk: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chunk.items() if name != "_id"}
