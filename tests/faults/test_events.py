"""Events of a whole server whose processes are killed: none is missing in the stream, and those of a patient are in order."""

import asyncio
import signal
from pathlib import Path

import httpx
import psutil
import pytest
import redis.asyncio
from fault_server import FaultServer

from fhir_server.fhir.codec import decode
from fhir_server.store.valkey import running_url

pytestmark = pytest.mark.slow


@pytest.fixture
async def server(tmp_path: Path):
    made = FaultServer(tmp_path)
    await made.start()
    yield made
    made.stop()


async def write(server: FaultServer, id_: str, versions: int = 3) -> list[str]:
    """Write versions of a patient and return the ids of their events."""
    async with httpx.AsyncClient(base_url=server.base, timeout=30) as client:
        for number in range(versions):
            patient = {"resourceType": "Patient", "id": id_, "multipleBirthInteger": number}
            assert (await client.put(f"/Patient/{id_}", json=patient)).status_code in (200, 201)
    return [f"Patient/{id_}/{number + 1}" for number in range(versions)]


async def told(server: FaultServer, last: str) -> list[str]:
    """Return the ids of all events in the stream, each once, as soon as the one named is there."""
    async with asyncio.timeout(90):
        while True:
            try:
                url = running_url(server.data)
                async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
                    entries = await client.xrange("fhir:events")
            except (redis.RedisError, OSError):
                entries = []
            found = list(dict.fromkeys(decode(fields["event"].encode())["id"] for _, fields in entries))
            if last in found:
                return found
            await asyncio.sleep(0.1)


def publisher(server: FaultServer) -> psutil.Process | None:
    return next((child for child in server.children("python") if "fhir_server.publisher" in child.cmdline()), None)


async def test_a_killed_publisher_a_killed_valkey_and_a_killed_server_lose_no_event(server: FaultServer):
    expected = await write(server, "a")
    assert await told(server, expected[-1]) == expected
    await asyncio.sleep(1.2)  # Valkey writes down what it has once a second.

    publisher(server).kill()
    expected += await write(server, "b")
    assert await told(server, expected[-1]) == expected
    await asyncio.sleep(1.2)

    (valkey,) = server.children("valkey")
    valkey.kill()
    expected += await write(server, "c")
    assert await told(server, expected[-1]) == expected
    await asyncio.sleep(1.2)

    server.kill()
    await server.start()
    expected += await write(server, "d")
    assert await told(server, expected[-1]) == expected


async def test_without_events_neither_valkey_nor_a_publisher_runs(tmp_path: Path):
    server = FaultServer(tmp_path, "--no-events")
    try:
        await server.start()
        await write(server, "a")
        await asyncio.sleep(1)
        assert server.children("valkey") == []
        assert publisher(server) is None
        assert not (server.data / "valkey").exists()
    finally:
        server.stop()


async def test_a_stop_in_order_leaves_nothing_behind_and_says_nothing_of_errors(server: FaultServer):
    expected = await write(server, "a")
    await told(server, expected[-1])
    family = psutil.Process(server._process.pid).children(recursive=True)
    assert {"mongod", "valkey-server"} <= {process.name() for process in family}
    server._process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(server._process.wait, 30) == 0
    assert [process for process in family if process.is_running()] == []
    assert '"level":"error"' not in server.log()
