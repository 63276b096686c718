"""MongoDB goes away while the server lives: 503 within a bounded time, and all is well when it is back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from fault_server import FaultServer

from fhir_server.store.embedded import EmbeddedMongod

WAIT = 0.5
"""`FHIR_MONGODB_TIMEOUT_MS`, in seconds."""
SLACK = 6.0
"""For a machine that does other things as well."""
PATIENT = {"resourceType": "Patient", "id": "one", "active": True}
TRANSACTION = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {"resource": PATIENT | {"id": f"t{number}"}, "request": {"method": "PUT", "url": f"Patient/t{number}"}}
        for number in range(6)
    ],
}
REQUESTS = (
    ("GET", "Patient/one", None, {}),
    ("GET", "Patient/one/_history", None, {}),
    ("GET", "Patient?active=true", None, {}),
    ("POST", "Patient", {"resourceType": "Patient"}, {}),
    ("POST", "Patient", {"resourceType": "Patient"}, {"If-None-Exist": "active=false"}),
    ("PUT", "Patient/one", PATIENT, {}),
    ("PUT", "Patient/one", PATIENT, {}),
    ("DELETE", "Patient/two", None, {}),
    ("POST", "", TRANSACTION, {}),
)


@pytest.fixture(scope="module")
async def mongod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedMongod]:
    with EmbeddedMongod(tmp_path_factory.mktemp("mongod"), cache_mb=256) as started:
        yield await asyncio.to_thread(started.wait)


@pytest.fixture(scope="module")
async def http(mongod: EmbeddedMongod, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    server = FaultServer(
        tmp_path_factory.mktemp("server"), mongodb_uri=mongod.uri, mongodb_timeout_ms=str(int(WAIT * 1000)), workers="1"
    )
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.base + "/", timeout=60) as client:
            await everything(client)
            yield client
    finally:
        server.stop()


async def everything(http: httpx.AsyncClient) -> list[httpx.Response]:
    """Send one request of each kind, all at the same time."""
    return await asyncio.gather(
        *(http.request(method, path, json=body, headers=headers) for method, path, body, headers in REQUESTS)
    )


async def refused_within(http: httpx.AsyncClient, seconds: float) -> None:
    began = time.monotonic()
    answers = await everything(http)
    assert time.monotonic() - began < seconds
    assert [answer.status_code for answer in answers] == [503] * len(REQUESTS)
    assert {answer.headers.get("Retry-After") for answer in answers} <= {"1", "5"}
    assert {answer.json()["issue"][0]["code"] for answer in answers} == {"transient"}
    root = str(http.base_url).removesuffix("fhir/")
    assert (await http.get(f"{root}health/ready")).status_code == 503
    assert (await http.get(f"{root}health/live")).status_code == 200


async def served_within(http: httpx.AsyncClient, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while {answer.status_code // 100 for answer in await everything(http)} != {2}:
        assert time.monotonic() < deadline
    root = str(http.base_url).removesuffix("fhir/")
    assert (await http.get(f"{root}health/ready")).status_code == 200


async def test_a_mongodb_that_has_ended(http: httpx.AsyncClient, mongod: EmbeddedMongod) -> None:
    os.kill(mongod.pid, signal.SIGKILL)
    await refused_within(http, 2 * WAIT + SLACK)
    await refused_within(http, 2 * WAIT + SLACK)
    await asyncio.to_thread(lambda: (mongod.stop(), mongod.start()))
    await served_within(http, 10)


async def test_a_mongodb_that_hangs(http: httpx.AsyncClient, mongod: EmbeddedMongod) -> None:
    os.kill(mongod.pid, signal.SIGSTOP)
    try:
        await refused_within(http, 3 * WAIT + SLACK)
        await refused_within(http, 2 * WAIT + SLACK)
    finally:
        os.kill(mongod.pid, signal.SIGCONT)
    await served_within(http, 10)
