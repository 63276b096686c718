"""The store, the scanner, or the process itself dies while content is on its way.

Afterwards no document leads to bytes that are not there, no bytes stay for ever that nothing leads to, and nothing that has not
been scanned is served.
"""

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fault_server import FaultServer

from fhir_server.blobs import Claim
from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.blobs.verifying import verify
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.fhir.outcome import FhirError
from fhir_server.resources.blob_gc import collect
from fhir_server.search.index import index_models
from fhir_server.store.database import Database, connect
from tests.conftest import client_of, s3_settings
from tests.media_files import image

RAW = {"Accept": "*/*"}
PNG = {"Content-Type": "image/png"}


class Line:
    """The way to the S3 server, which can be cut after some bytes, and mended."""

    def __init__(self, endpoint: str) -> None:
        self._host, self._port = endpoint.removeprefix("http://").split(":")
        self.left: float = float("inf")
        self._connections: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        """Listen, and return the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Listen no more."""
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.left <= 0:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection(self._host, int(self._port))
        self._connections |= {writer, forth}
        await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))
        for one in (writer, forth):
            one.transport.abort()
            self._connections.discard(one)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.left -= len(data)
                if self.left <= 0:
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


async def slices(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 500_000):
        yield data[start : start + 500_000]


async def collect_later(contexts: Contexts) -> None:
    """Do what the removal does when all periods have passed, to what this tenant has and to the leavings of its uploads."""
    await collect(contexts.database, contexts.blobs, datetime.now(UTC) + timedelta(days=40))


@pytest.mark.parametrize("after", [1000, PART_BYTES, 2 * PART_BYTES + 100_000, 3 * PART_BYTES + 4000])
async def test_a_store_that_dies_during_an_upload_leaves_nothing_behind(
    settings: Settings, database, s3_endpoint: str, tenant: str, after: int
) -> None:
    line = Line(s3_endpoint)
    address = await line.open()
    found = s3_settings(settings, address).model_copy(update={"s3_timeout_seconds": 2})
    data = image() + os.urandom(3 * PART_BYTES)
    async with client_of(found, database) as client:
        line.left = after
        answer = await client.post("Binary", content=slices(data), headers=PNG, timeout=120)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "transient")
        assert answer.headers["Retry-After"]
        assert (await client.get("Binary?_summary=count")).json()["total"] == 0
        line.left = float("inf")
        answer = await client.post("Binary", content=slices(data), headers=PNG, timeout=120)
        assert answer.status_code == 201, answer.text
        content = (await client.get(f"Binary/{answer.json()['id']}", headers=RAW)).content
        assert hashlib.sha256(content).digest() == hashlib.sha256(data).digest()
    await line.close()
    blobs = Contexts(
        Database(database, s3_settings(settings, s3_endpoint), index_models), s3_settings(settings, s3_endpoint)
    ).blobs
    later = datetime.now(UTC) + timedelta(minutes=1)
    for staging in [one async for one in blobs.store.stagings(later) if one.tenant == tenant]:
        await blobs.store.discard(staging)  # What `fhir-server blobs gc` does after the grace period.
    assert [one async for one in blobs.store.stagings(later) if one.tenant == tenant] == []
    assert [item.problem async for item in verify(blobs, tenant) if item.problem] == []


async def test_a_store_that_is_away_says_so_and_reads_work_again_when_it_is_back(
    settings: Settings, database, s3_endpoint: str
) -> None:
    line = Line(s3_endpoint)
    found = s3_settings(settings, await line.open()).model_copy(update={"s3_timeout_seconds": 2})
    async with client_of(found, database) as client:
        id_ = (await client.post("Binary", content=image(), headers=PNG)).json()["id"]
        line.left = 0
        await asyncio.sleep(0)
        for writer in list(line._connections):
            writer.transport.abort()
        answer = await client.get(f"Binary/{id_}", headers=RAW, timeout=60)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "transient")
        # All else works without it.
        assert (await client.get("Binary?_summary=count")).json()["total"] == 1
        line.left = float("inf")
        assert (await client.get(f"Binary/{id_}", headers=RAW)).content == image()
    await line.close()


async def test_nothing_is_kept_or_served_while_the_scanner_hangs(settings: Settings, database, tmp_path: Path) -> None:
    connected: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_unix_server(lambda _, writer: connected.append(writer), tmp_path / "silent")
    found = settings.model_copy(update={"clamd": str(tmp_path / "silent"), "clamd_seconds": 1})
    async with client_of(found, database) as client:
        answer = await client.post("Binary", content=image(), headers=PNG, timeout=60)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert (await client.get("Binary?_summary=count")).json()["total"] == 0
    later = found.model_copy(update={"clamd_absent": "later"})
    async with client_of(later, database) as client:
        id_ = (await client.post("Binary", content=image(), headers=PNG, timeout=60)).json()["id"]
        assert (await client.get(f"Binary/{id_}", headers=RAW)).status_code == 503
        assert (await client.get(f"Binary/{id_}/$presign")).status_code == 503
        assert (await client.get(f"Binary/{id_}")).status_code == 503
    for writer in connected:
        writer.transport.abort()
    silent.close()


async def test_a_connection_that_is_cut_during_an_upload_leaves_nothing(media_settings: Settings, database, tenant: str) -> None:
    contexts = Contexts(Database(database, media_settings, index_models), media_settings)

    async def cut() -> AsyncIterator[bytes]:
        yield image() + os.urandom(PART_BYTES)
        yield os.urandom(PART_BYTES)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await contexts.blobs.receive(tenant, cut(), Claim("image/png"))
    with pytest.raises(FhirError):
        await contexts.blobs.served(tenant, "0" * 64)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert [one async for one in contexts.blobs.store.stagings(later) if one.tenant == tenant] == []
    assert await contexts.blobs.records.blobs.count_documents({"t": tenant}) == 0


@pytest.mark.slow
async def test_a_process_that_is_killed_during_uploads_leaves_no_document_without_bytes(tmp_path: Path) -> None:
    server = FaultServer(tmp_path, FHIR_BLOB_GRACE_MINUTES="1")
    dice = random.Random(5)
    files = {
        hashlib.sha256(data).hexdigest(): data for data in (image() + dice.randbytes(size) for size in (10, 10**6, 2 * 10**7))
    }
    acknowledged: dict[str, str] = {}

    async def upload(client: httpx.AsyncClient) -> None:
        while True:
            digest, data = dice.choice(list(files.items()))
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post(f"{server.base}/Binary", content=data, headers=PNG)
                if answer.status_code == 201:
                    acknowledged[answer.json()["id"]] = digest

    await server.start()
    async with httpx.AsyncClient(timeout=30) as client:
        for _ in range(3):
            uploading = [asyncio.create_task(upload(client)) for _ in range(3)]
            before = len(acknowledged)
            async with asyncio.timeout(60):
                while len(acknowledged) == before:  # noqa: ASYNC110 -- it may take any of the tasks
                    await asyncio.sleep(0.05)
            await asyncio.sleep(dice.uniform(0.1, 1))
            server.kill()
            for task in uploading:
                task.cancel()
            await asyncio.gather(*uploading, return_exceptions=True)
            await server.start()
        assert acknowledged
        for id_, digest in list(acknowledged.items())[-40:]:
            content = (await client.get(f"{server.base}/Binary/{id_}", headers=RAW)).content
            assert hashlib.sha256(content).hexdigest() == digest
    await _nothing_is_lost_or_left(server, set(acknowledged))
    server.stop()


async def _nothing_is_lost_or_left(server: FaultServer, acknowledged: set[str]) -> None:
    from fhir_server.store.embedded import running_uri  # noqa: PLC0415

    uri = running_uri(server.data)
    settings = Settings(_env_file=None, mongodb_uri=uri, master_key_file=server.data / "master.key")
    async with connect(uri, settings) as client:
        contexts = Contexts(Database(client[settings.mongodb_database], settings, index_models), settings)
        await collect_later(contexts)
        checked = [item async for item in verify(contexts.blobs)]
        assert [item for item in checked if item.problem] == []
        binaries = [document["i"] async for document in contexts.database.collection("Binary").find({}, {"i": 1})]
        assert acknowledged <= set(binaries)
        later = datetime.now(UTC) + timedelta(days=50)
        assert [one async for one in contexts.blobs.store.stagings(later)] == []
        kept = await contexts.database.mongodb["blobs.files"].count_documents({})
        assert kept == len(checked) <= 3
        files = {file["_id"] async for file in contexts.database.mongodb["blobs.files"].find({}, {"_id": 1})}
        assert set(await contexts.database.mongodb["blobs.chunks"].distinct("files_id")) == files
