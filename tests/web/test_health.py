import asyncio
import time

import pytest
from pymongo import AsyncMongoClient

from fhir_server.web import health
from fhir_server.web.metrics import PoolMonitor
from tests.conftest import client_of


@pytest.fixture
async def away(settings):
    """A client of an application whose MongoDB does not answer."""
    uri = "mongodb://127.0.0.1:9/?directConnection=true"
    async with AsyncMongoClient(uri, serverSelectionTimeoutMS=200) as client, client_of(settings, client.fhir) as http:
        yield http


async def test_it_is_live_and_ready(http):
    live, ready = await http.get("http://test/health/live"), await http.get("http://test/health/ready")
    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_without_mongodb_it_is_live_but_not_ready(away):
    assert (await away.get("http://test/health/live")).status_code == 200
    ready = await away.get("http://test/health/ready")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
    assert ready.json() == {"status": "unavailable", "reason": "MongoDB does not answer"}


async def test_without_mongodb_a_request_gets_503_with_retry_after(away):
    answer = await away.get("Patient/1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["issue"][0]["code"] == "transient"


async def test_a_probe_ends_in_bounded_time(monkeypatch, away):
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.05)
    started = time.monotonic()
    assert (await away.get("http://test/health/ready")).status_code == 503
    assert time.monotonic() - started < 2


async def test_requests_latency_and_connections_are_measured(http):
    assert (await http.get("Patient/none")).status_code == 404
    PoolMonitor().publish()
    answer = await http.get("http://test/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert any(line.startswith('fhir_requests_total{interaction="read",status="404",type="Patient"}') for line in lines)
    assert any(line.startswith('fhir_request_seconds_bucket{interaction="read",le="0.001"}') for line in lines)
    assert "fhir_mongodb_pool_connections 0.0" in lines


async def test_the_pool_monitor_follows_the_connections_of_a_client(mongodb_uri):
    monitor = PoolMonitor()
    async with AsyncMongoClient(mongodb_uri, event_listeners=[monitor]) as client:
        await asyncio.gather(*(client.admin.command("ping") for _ in range(4)))
        assert (1 <= monitor._open <= 4, monitor._in_use) == (True, 0)
    assert (monitor._open, monitor._in_use) == (0, 0)
