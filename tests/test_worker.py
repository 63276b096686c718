"""A worker of its own process: what is queued is done, and nothing is lost when it ends."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.blobs import Blobs
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.jobs import JobQueue
from fhir_server.resources.blob_upkeep import queue_scans
from fhir_server.search.index import index_models
from fhir_server.store.children import end_child
from fhir_server.store.database import Database
from fhir_server.web.handover import SETTINGS_VARIABLE
from tests.media_files import docx, image
from tests.media_servers import EICAR

EXTENSION = """
import asyncio

import structlog

from fhir_server.extension import Job


async def note(context_of, key, seconds="0"):
    tenant, _, text = key.partition("/")
    structlog.get_logger().info("noting", text=text)
    await asyncio.sleep(float(seconds))
    if text == "bad":
        raise ValueError(text)
    ctx = await context_of(tenant)
    await ctx.repo.database.mongodb["noted"].insert_one({"_id": text})


def register(server):
    server.add_job(Job("note", note))
"""


@pytest.fixture
def own(settings: Settings, redis_url: str, tenant: str, tmp_path: Path) -> Settings:
    """Settings with a database, and so with queues, of their own."""
    (tmp_path / "noting_extension.py").write_text(EXTENSION)
    changed = {"mongodb_database": f"w{tenant}", "redis_url": redis_url, "extensions": "noting_extension", "audit": "off"}
    return settings.model_copy(update={**changed, "heartbeat_file": tmp_path / "alive", "worker_threads": 4})


@pytest.fixture
async def mongodb(client: Any, own: Settings) -> AsyncIterator[Any]:
    yield client[own.mongodb_database]
    await client.drop_database(own.mongodb_database)


@pytest.fixture
async def queue(own: Settings) -> AsyncIterator[JobQueue]:
    found = JobQueue(own.redis_url, own.mongodb_database)
    yield found
    await found.close()


@contextlib.contextmanager
def worker(settings: Settings, tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    environment = {**os.environ, SETTINGS_VARIABLE: settings.model_dump_json(), "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with (tmp_path / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "fhir_server.worker"], env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            end_child(process)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 -- it is another process
            await asyncio.sleep(0.05)


async def test_what_is_queued_is_done_also_after_a_piece_that_fails(mongodb, queue, own, tmp_path) -> None:
    await queue.put("note", [("north/bad",), ("north/one",), ("south/two",)])
    await queue.put("note", [("south/three",)], urgent=True)

    async def all_done() -> bool:
        return await mongodb["noted"].count_documents({}) == 3

    with worker(own, tmp_path):
        await until(all_done)
        assert own.heartbeat_file is not None
        assert own.heartbeat_file.exists()
    lines = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines() if line.startswith("{")]
    said = {(line["event"], line.get("text", ""), line.get("tenant")) for line in lines}
    assert ("a piece of work has failed", "", "north") in said
    assert {("noting", "one", "north"), ("noting", "two", "south"), ("noting", "three", "south")} <= said
    assert await queue.waiting() == 0


async def test_of_many_pieces_several_travel_together_and_all_are_done(mongodb, queue, own, tmp_path) -> None:
    names = [f"piece{number}" for number in range(100)]
    await queue.put("note", [(f"north/{name}",) for name in ["bad", *names]])
    await queue.put("note", [(f"north/urgent{number}",) for number in range(20)], urgent=True)
    assert await queue.waiting() == 26 + 20

    async def all_done() -> bool:
        return await mongodb["noted"].count_documents({}) == 120

    with worker(own, tmp_path):
        await until(all_done)
    assert await queue.waiting() == 0
    assert {one["_id"] async for one in mongodb["noted"].find()} >= set(names)


async def test_a_worker_that_is_told_to_end_finishes_what_it_has_begun(mongodb, queue, own, tmp_path) -> None:
    async def begun() -> bool:
        return await mongodb["noted"].count_documents({"_id": "first"}) == 1

    with worker(own, tmp_path) as process:
        await queue.put("note", [("north/first",), ("north/slow", "2")])
        await until(begun)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    assert await mongodb["noted"].count_documents({"_id": "slow"}) == 1


async def test_content_that_was_kept_unscanned_is_scanned_by_a_worker(mongodb, queue, own, tmp_path, tenant, clamd) -> None:
    own = own.model_copy(update={"extensions": "", "clamd": clamd})

    def blobs(**values: Any) -> Blobs:
        found = own.model_copy(update=values)
        return Contexts(Database(mongodb, found, index_models), found).blobs

    away = blobs(clamd=str(tmp_path / "nobody"), clamd_absent="later")
    clean = (await away.receive_bytes(tenant, image(), "image/png")).blob
    infected = (await away.receive_bytes(tenant, docx(virus=EICAR), "")).blob
    back = blobs()

    async def scanned() -> bool:
        return not [one async for one in back.records.pending()]

    assert await queue_scans(back, queue)
    assert await queue.waiting() == 2
    with worker(own, tmp_path):
        await until(scanned)
    assert (await back.served(tenant, clean.sha256)).scan == "clean"
    record = await back.records.find(tenant, infected.sha256)
    assert record is not None
    assert record.state == "quarantined"


async def test_without_a_broker_scans_are_not_queued(own, mongodb) -> None:
    queue = JobQueue("redis://127.0.0.1:1/0", own.mongodb_database)
    assert not await queue_scans(Contexts(Database(mongodb, own, index_models), own).blobs, queue)
    await queue.close()
