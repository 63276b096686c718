"""Bytes go when nothing has needed them for long enough, and never before."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fhir_server.blobs import Blobs
from fhir_server.blobs.verifying import verify
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.resources.blob_gc import Collected, Collector
from fhir_server.search.index import index_models
from fhir_server.store.database import Database
from tests.conftest import client_of
from tests.media_files import image

RAW = {"Accept": "*/*"}
DAYS = timedelta(days=1)


class Of(Collector):
    """A run that looks only at what one tenant has: others are at work in the same database."""

    def __init__(self, database: Database, blobs: Blobs, now: datetime, tenant: str, *, dry: bool = False) -> None:
        super().__init__(database, blobs, now, dry=dry)
        self._tenant = tenant

    async def run(self) -> Collected:
        """Look at what the tenant has."""
        condition = {"touched": {"$lt": self._unused_since}, "t": self._tenant}
        async for document in self._records.blobs.find(condition, {"thumb": 0}):
            self.found.seen += 1
            await self._look_at(document)
        return self.found


@pytest.fixture
def contexts(media_settings: Settings, database) -> Contexts:
    """The contexts of a process, over each store."""
    return Contexts(Database(database, media_settings, index_models), media_settings)


@pytest.fixture
async def media(media_settings: Settings, database):
    """A client of an application over each store."""
    async with client_of(media_settings, database) as opened:
        yield opened


def collector(contexts: Contexts, tenant: str, after: timedelta, *, dry: bool = False) -> Of:
    return Of(contexts.database, contexts.blobs, datetime.now(UTC) + after, tenant, dry=dry)


async def binary(client: httpx.AsyncClient, data: bytes, id_: str = "b") -> None:
    answer = await client.put(f"Binary/{id_}", content=data, headers={"Content-Type": "image/png"})
    assert answer.status_code in (200, 201), answer.text


async def test_bytes_that_are_referred_to_stay_for_ever(media, contexts: Contexts, tenant: str) -> None:
    await binary(media, image())
    found = await collector(contexts, tenant, 1000 * DAYS).run()
    assert (found.seen, found.removed, found.links) == (1, 0, 0)
    assert (await media.get("Binary/b", headers=RAW)).content == image()


async def test_bytes_that_nothing_refers_to_go_after_the_grace_period(contexts: Contexts, tenant: str) -> None:
    blob = (await contexts.blobs.receive_bytes(tenant, image(), "image/png")).blob
    assert (await collector(contexts, tenant, timedelta(hours=23)).run()).seen == 0
    dry = await collector(contexts, tenant, timedelta(hours=25), dry=True).run()
    assert (dry.removed, dry.freed) == (1, len(image()))
    assert await contexts.blobs.store.exists(tenant, blob.place)
    assert (await collector(contexts, tenant, timedelta(hours=25)).run()).removed == 1
    assert not await contexts.blobs.store.exists(tenant, blob.place)
    assert await contexts.blobs.records.find(tenant, blob.sha256) is None


@pytest.mark.parametrize("end", ["delete", "replace"])
async def test_what_is_no_longer_referred_to_goes_after_the_retention_period(media, contexts: Contexts, tenant: str, end) -> None:
    await binary(media, image())
    if end == "delete":
        await media.delete("Binary/b")
    else:
        await binary(media, image(color="blue"))
    assert (await collector(contexts, tenant, 29 * DAYS).run()).removed == 0
    assert (await media.get("Binary/b/_history/1", headers=RAW)).content == image()
    assert (await collector(contexts, tenant, 32 * DAYS).run()).removed == 1
    gone = await media.get("Binary/b/_history/1", headers=RAW)
    assert (gone.status_code, gone.json()["issue"][0]["code"]) == (410, "not-found")


async def test_the_last_of_several_references_counts(media, contexts: Contexts, tenant: str) -> None:
    for id_ in ("b1", "b2"):
        await binary(media, image(), id_)
    photo = {"contentType": "image/png", "data": base64.b64encode(image() + bytes(70_000)).decode()}
    await media.put("Patient/p", json={"resourceType": "Patient", "id": "p", "photo": [photo]})
    await media.delete("Binary/b1")
    found = await collector(contexts, tenant, 40 * DAYS).run()
    assert (found.seen, found.removed, found.links) == (2, 0, 1)
    await media.delete("Binary/b2")
    await media.delete("Patient/p")
    assert (await collector(contexts, tenant, 40 * DAYS).run()).removed == 2


async def test_a_write_that_was_killed_before_it_was_stored_leaves_no_bytes_for_ever(contexts: Contexts, tenant: str) -> None:
    blob = (await contexts.blobs.receive_bytes(tenant, image(), "image/png")).blob
    await contexts.blobs.link(tenant, [blob.sha256], "Patient", "never-stored")
    found = await collector(contexts, tenant, 2 * DAYS).run()
    assert (found.links, found.removed) == (1, 1)


async def test_uploads_and_removals_at_the_same_time_never_lose_bytes(contexts: Contexts, tenant: str) -> None:
    data = image(color="green")

    async def upload(number: int) -> None:
        await asyncio.sleep(number * 0.01)
        blob = (await contexts.blobs.receive_bytes(tenant, data, "image/png")).blob
        try:
            await contexts.blobs.link(tenant, [blob.sha256], "Binary", f"x{number}")
        except Exception:  # noqa: BLE001 -- refused: then nothing refers to it
            return
        assert b"".join([piece async for piece in contexts.blobs.read(await contexts.blobs.served(tenant, blob.sha256))]) == data

    async def remove() -> None:
        for _ in range(25):
            # As if a long time had passed since each step.
            await collector(contexts, tenant, timedelta(minutes=1441, seconds=-0.05)).run()
            await asyncio.sleep(0.005)

    await contexts.blobs.receive_bytes(tenant, data, "image/png")
    await asyncio.gather(remove(), *(upload(number) for number in range(12)))
    found = [item async for item in verify(contexts.blobs, tenant)]
    assert [item.problem for item in found if item.problem and item.size] == []


async def test_a_removal_that_was_cut_short_is_finished(contexts: Contexts, tenant: str) -> None:
    blob = (await contexts.blobs.receive_bytes(tenant, image(), "image/png")).blob
    document: dict[str, Any] = await contexts.blobs.records.document(tenant, blob.sha256)
    assert await contexts.blobs.records.begin_deleting(document)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    await contexts.blobs.records.blobs.update_one({"_id": document["_id"]}, {"$set": {"since": long_ago}})
    assert (await collector(contexts, tenant, 2 * DAYS).run()).removed == 1
    assert not await contexts.blobs.store.exists(tenant, blob.place)


async def test_damage_and_loss_are_found(contexts: Contexts, tenant: str) -> None:
    blobs = contexts.blobs
    good = (await blobs.receive_bytes(tenant, image(), "image/png")).blob
    lost = (await blobs.receive_bytes(tenant, image(color="blue"), "image/png")).blob
    await blobs.store.delete(tenant, lost.key)
    await blobs.records.link(tenant, ["f" * 64], "Patient", "1")
    found = {item.sha256: item.problem async for item in verify(blobs, tenant)}
    assert found[good.sha256] == ""
    assert found[lost.sha256] != ""
    assert "Patient/1" in found["f" * 64]


async def test_unfinished_uploads_are_removed_with_their_time(contexts: Contexts, tenant: str) -> None:
    from fhir_server.blobs import Claim  # noqa: PLC0415

    upload = await contexts.blobs.uploads.begin(tenant, "me", Claim("image/png", 100))
    await contexts.blobs.store.put_part(upload.staging, 1, bytes(100))
    assert await contexts.blobs.uploads.is_open(upload.staging)
    expired = [one.id async for one in contexts.blobs.uploads.expired(datetime.now(UTC) + 2 * DAYS)]
    assert upload.id in expired
    await contexts.blobs.uploads.abort(upload)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert upload.staging.id not in [one.id async for one in contexts.blobs.store.stagings(later)]
