"""From a stream to bytes that are kept: once, judged, scanned, whatever happens on the way."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from fhir_server.blobs import Blobs, Claim, RejectedError
from fhir_server.blobs.passing import pieces
from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.fhir.outcome import FhirError
from tests.media_files import image, located_jpeg


async def slices(data: bytes, size: int = 300_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def content(blobs: Blobs, blob) -> bytes:
    return b"".join([piece async for piece in blobs.read(blob)])


def large() -> bytes:
    return image() + os.urandom(2 * PART_BYTES)


async def keys(blobs: Blobs, tenant: str) -> list[str]:
    """Return what the store has of a tenant."""
    if blobs.settings.blob_store == "gridfs":
        return [
            file["filename"] async for file in blobs.store._files.find({"metadata.tenant": tenant, "filename": {"$ne": None}})
        ]
    found = await blobs.store._call("list_objects_v2", Prefix=f"uploads/{tenant}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


async def stagings(blobs: Blobs, tenant: str) -> list[str]:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    return [one.id async for one in blobs.store.stagings(datetime.now(UTC) + timedelta(minutes=1)) if one.tenant == tenant]


@pytest.mark.parametrize("make", [image, large], ids=["small", "large"])
async def test_the_second_upload_of_the_same_bytes_stores_nothing_and_says_so(blobs: Blobs, tenant: str, make) -> None:
    data = make()
    first = await blobs.receive(tenant, slices(data), Claim("image/png", len(data)))
    second = await blobs.receive(tenant, slices(data), Claim("application/octet-stream"))
    assert (first.deduplicated, second.deduplicated) == (False, True)
    digest = hashlib.sha256(data).hexdigest()
    assert first.blob.key == second.blob.key == f"uploads/{tenant}/{digest}.png"
    assert (first.blob.size, first.blob.sha1) == (len(data), hashlib.sha1(data).hexdigest())
    assert first.blob.facts == {"width": 64, "height": 48}
    assert await content(blobs, first.blob) == data
    assert await keys(blobs, tenant) == [first.blob.key]
    assert await stagings(blobs, tenant) == []


async def test_uploads_of_the_same_bytes_at_the_same_time_store_them_once(blobs: Blobs, tenant: str) -> None:
    data = large()
    found = await asyncio.gather(*(blobs.receive(tenant, slices(data), Claim("image/png")) for _ in range(4)))
    assert sorted(one.deduplicated for one in found) == [False, True, True, True]
    assert await keys(blobs, tenant) == [found[0].blob.key]
    assert await stagings(blobs, tenant) == []
    assert await content(blobs, found[0].blob) == data


async def test_the_bytes_of_one_tenant_are_not_those_of_another(blobs: Blobs, tenant: str) -> None:
    data = image()
    assert not (await blobs.receive_bytes(tenant, data, "image/png")).deduplicated
    other = await blobs.receive_bytes(tenant + "b", data, "image/png")
    assert not other.deduplicated
    assert other.blob.key.startswith(f"uploads/{tenant}b/")
    with pytest.raises(FhirError) as caught:
        await blobs.served(tenant + "c", other.blob.sha256)
    assert caught.value.status == 410


@pytest.mark.parametrize(
    ("claim", "status", "code"),
    [
        (Claim("image/png", 5), 400, "incomplete"),
        (Claim("image/png", None, "0" * 64), 400, "value"),
        (Claim("application/pdf"), 422, "invalid"),
    ],
)
async def test_what_is_not_as_announced_is_refused_and_nothing_of_it_stays(blobs, tenant, claim, status, code) -> None:
    with pytest.raises(FhirError) as caught:
        await blobs.receive(tenant, slices(large()), claim)
    assert (caught.value.status, caught.value.issues[0].code) == (status, code)
    assert await keys(blobs, tenant) == []
    assert await stagings(blobs, tenant) == []


async def test_nothing_and_too_much_are_refused(settings, database, tenant) -> None:
    from fhir_server.contexts import Contexts  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database  # noqa: PLC0415

    limited = settings.model_copy(update={"upload_max_bytes": 1_000_000, "media_limits": '{"image": 500}'})
    blobs = Contexts(Database(database, limited, index_models), limited).blobs
    with pytest.raises(FhirError) as nothing:
        await blobs.receive(tenant, pieces(b""), Claim("image/png"))
    assert nothing.value.status == 400
    with pytest.raises(FhirError) as over:
        await blobs.receive(tenant, slices(bytes(1_000_001)), Claim("image/png"))
    assert (over.value.status, over.value.issues[0].code) == (413, "too-long")
    with pytest.raises(RejectedError) as kind:
        await blobs.receive_bytes(tenant, image() + bytes(500), "image/png")
    assert (kind.value.status, kind.value.reason) == (413, "size")


async def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs, tenant: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield image() + os.urandom(2 * PART_BYTES)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await blobs.receive(tenant, broken(), Claim("image/png"))
    assert await keys(blobs, tenant) == []
    assert await stagings(blobs, tenant) == []


async def test_the_place_where_a_picture_was_taken_is_removed_where_a_setting_says_so(settings, database, tenant) -> None:
    import io  # noqa: PLC0415

    from PIL import Image  # noqa: PLC0415

    from fhir_server.contexts import Contexts  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database  # noqa: PLC0415

    stripping = settings.model_copy(update={"media_strip_location": True})
    blobs = Contexts(Database(database, stripping, index_models), stripping).blobs
    data = located_jpeg()
    found = await blobs.receive_bytes(tenant, data, "image/jpeg")
    kept = await content(blobs, found.blob)
    assert hashlib.sha256(kept).hexdigest() == found.blob.sha256 != hashlib.sha256(data).hexdigest()
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(kept))
    assert 0x8825 in before.getexif()
    assert 0x8825 not in after.getexif()
    assert after.getexif()[0x010F] == "Camera"
    assert before.tobytes() == after.tobytes()


async def test_bytes_whose_storing_was_given_up_are_stored_by_the_next(blobs: Blobs, tenant: str) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    data = image(color="blue")
    digest = hashlib.sha256(data).hexdigest()
    first = await blobs.receive_bytes(tenant, data, "image/png")
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    left = {"state": "storing", "since": long_ago, "owner": "x", "place": ""}
    await blobs.records.blobs.update_one({"_id": f"{tenant}/{digest}"}, {"$set": left})
    again = await blobs.receive_bytes(tenant, data, "image/png")
    assert not again.deduplicated
    assert await content(blobs, again.blob) == data
    assert await keys(blobs, tenant) == [first.blob.key]


@pytest.mark.parametrize("spool", [8, 16, 64])
async def test_what_is_too_large_for_the_file_that_uploads_wait_in_is_staged(
    s3_endpoint, settings, database, tenant, spool
) -> None:
    from fhir_server.contexts import Contexts  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database  # noqa: PLC0415
    from tests.conftest import s3_settings  # noqa: PLC0415

    found = s3_settings(settings, s3_endpoint).model_copy(update={"upload_spool_mb": spool})
    blobs = Contexts(Database(database, found, index_models), found).blobs
    data = image() + os.urandom(4 * PART_BYTES)
    received = await blobs.receive(tenant, slices(data), Claim("image/png"))
    assert hashlib.sha256(await content(blobs, received.blob)).digest() == hashlib.sha256(data).digest()
    assert await stagings(blobs, tenant) == []
    await blobs.close()
