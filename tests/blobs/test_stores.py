"""What both stores of bytes have to do alike: GridFS in MongoDB, and S3."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from fhir_server.blobs import Blobs, DamagedError
from fhir_server.blobs.gridfs import GridFS
from fhir_server.blobs.protocol import PART_BYTES

SIZE = 3 * PART_BYTES + 12_345


async def collected(pieces) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_a_few_bytes_are_kept_and_given_back(blobs: Blobs, tenant: str) -> None:
    data = os.urandom(70_000)
    key = f"uploads/{tenant}/x.bin"
    place = await blobs.store.put(tenant, key, data, sha256=hashlib.sha256(data).hexdigest(), mime="image/png")
    assert await collected(blobs.store.read(tenant, place, 0, len(data))) == data
    assert await blobs.store.exists(tenant, place)
    await blobs.store.delete(tenant, key)
    assert not await blobs.store.exists(tenant, place)


async def test_parts_become_one_whatever_their_order_and_how_often_they_are_sent(blobs: Blobs, tenant: str) -> None:
    data = os.urandom(SIZE)
    parts = {number + 1: data[number * PART_BYTES : (number + 1) * PART_BYTES] for number in range(4)}
    staging = await blobs.store.begin(tenant)
    await blobs.store.put_part(staging, 2, os.urandom(PART_BYTES))
    for number in (4, 2, 1, 3):
        await blobs.store.put_part(staging, number, parts[number])
    assert await blobs.store.parts(staging) == {number: len(part) for number, part in parts.items()}
    await blobs.store.finish(staging)
    await blobs.store.finish(staging)
    assert hashlib.sha256(await collected(blobs.store.staged(staging, SIZE))).digest() == hashlib.sha256(data).digest()
    place = await blobs.store.keep(staging, f"uploads/{tenant}/y.bin", size=SIZE, mime="image/png")
    edges = [(0, 1), (SIZE - 1, SIZE), (PART_BYTES - 3, PART_BYTES + 3), (262_143, 262_145), (5, 5), (0, SIZE)]
    for start, stop in edges:
        assert await collected(blobs.store.read(tenant, place, start, stop)) == data[start:stop]


async def test_what_is_discarded_is_gone_and_what_was_kept_stays(blobs: Blobs, tenant: str) -> None:
    staging = await blobs.store.begin(tenant)
    await blobs.store.put_part(staging, 1, b"x" * 1000)
    await blobs.store.discard(staging)
    with pytest.raises(DamagedError):
        await collected(blobs.store.read(tenant, staging.id, 0, 10))
    kept = await blobs.store.begin(tenant)
    await blobs.store.put_part(kept, 1, b"y" * 1000)
    await blobs.store.finish(kept)
    place = await blobs.store.keep(kept, f"uploads/{tenant}/z.bin", size=1000, mime="text/plain")
    await blobs.store.discard(kept)
    assert await collected(blobs.store.read(tenant, place, 0, 1000)) == b"y" * 1000


async def test_stagings_that_nobody_finished_are_found_by_their_age(blobs: Blobs, tenant: str) -> None:
    staging = await blobs.store.begin(tenant)
    await blobs.store.put_part(staging, 1, b"x" * 1000)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert staging.id in [one.id async for one in blobs.store.stagings(later) if one.tenant == tenant]
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    assert [one async for one in blobs.store.stagings(earlier) if one.tenant == tenant] == []


async def test_chunks_in_mongodb_are_encrypted_and_can_be_neither_changed_nor_exchanged(contexts, tenant: str) -> None:
    blobs = contexts.blobs
    if not isinstance(blobs.store, GridFS):
        return
    data = b"plain text of a patient " * 40_000
    place = await blobs.store.put(tenant, f"uploads/{tenant}/e.bin", data, sha256="", mime="text/plain")
    chunks = contexts.database.mongodb["blobs.chunks"]
    from bson import ObjectId  # noqa: PLC0415

    first = await chunks.find_one({"files_id": ObjectId(place), "n": 0})
    second = await chunks.find_one({"files_id": ObjectId(place), "n": 1})
    assert b"patient" not in first["data"] + second["data"]
    assert len(first["data"]) == 262_144 + 28
    await chunks.update_one({"_id": first["_id"]}, {"$set": {"data": second["data"]}})
    with pytest.raises(DamagedError, match="Chunk 0"):
        await collected(blobs.store.read(tenant, place, 0, 10))
    await chunks.update_one({"_id": first["_id"]}, {"$set": {"data": first["data"]}})
    assert await collected(blobs.store.read(tenant, place, 0, 5)) == b"plain"
    await chunks.delete_one({"_id": second["_id"]})
    with pytest.raises(DamagedError, match="Chunk 1"):
        await collected(blobs.store.read(tenant, place, 0, 300_000))


async def test_another_tenant_s_key_opens_nothing(contexts, tenant: str) -> None:
    if not isinstance(contexts.blobs.store, GridFS):
        return
    place = await contexts.blobs.store.put(tenant, f"uploads/{tenant}/k.bin", b"secret", sha256="", mime="text/plain")
    await contexts.blobs.store._files.update_one({"filename": f"uploads/{tenant}/k.bin"}, {"$set": {"metadata.key": b""}})
    with pytest.raises(DamagedError):
        await collected(contexts.blobs.store.read(tenant + "x", place, 0, 6))
