"""Notifications: messages a second of one worker, what accepting one costs, the lag of the dispatcher, the product's metrics.

    .venv/bin/python -m bench.notifications [--count 3000] [--scheduled 50000] [--seconds 40]

A server with its embedded MongoDB and Valkey, one worker, and the stand-ins of the providers (50 ms for each answer) run as
processes of their own, all on this machine: what a worker reaches is bounded by what the others take as well.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from pymongo import AsyncMongoClient

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "faults"))

from notification_faults import Providers, SendingServer  # noqa: E402 -- the path to it has to be known first

from bench.report import machine, save, table, verdict  # noqa: E402 -- the same
from fhir_server.store.embedded import running_uri  # noqa: E402 -- the same

PATIENTS = 500
PREFIX = "/api/v1/prm/notifications"
MODE = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"
PER_SECOND, ACCEPT_MS, LAG_SECONDS = 100.0, 3.0, 2.0
DELIVERED, DELIVERY_SECONDS, RETRIED = 0.95, 30.0, 0.8


@asynccontextmanager
async def running(*, worker: bool, **behaviour: Any) -> AsyncIterator[tuple[SendingServer, Any, httpx.AsyncClient]]:
    """Run server and providers; yield the server, its deliveries, and a client of it."""
    providers = Providers(**behaviour)
    with tempfile.TemporaryDirectory(prefix="fhir-bench-") as directory:
        notify = {"twilio_timeout": 10, "claim_seconds": 60, "receipt_hours": 1, "backoff_seconds": 2}
        server = SendingServer(Path(directory), providers, **notify)
        server._environment["FHIR_WORKER"] = str(worker).lower()  # noqa: SLF001 -- of the same making
        try:
            await server.start()
            async with (
                AsyncMongoClient[dict[str, Any]](running_uri(server.data)) as mongodb,
                httpx.AsyncClient(base_url=server.root, timeout=60) as client,
            ):
                await _patients(client)
                yield server, mongodb["fhir"]["_deliveries"], client
        finally:
            server.stop()
            providers.stop()


async def _patients(client: httpx.AsyncClient) -> None:
    for start in range(0, PATIENTS, 100):
        await _transact(client, [_patient(number) for number in range(start, start + 100)])


async def _transact(client: httpx.AsyncClient, resources: list[dict[str, Any]]) -> None:
    entries = [{"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in resources]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    (await client.post("/fhir", json=bundle, headers={"Prefer": "return=minimal"})).raise_for_status()


def _patient(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "name": [{"family": f"Family{number}", "given": ["Given"]}],
        "telecom": [{"system": "phone", "use": "mobile", "value": f"+1415555{number:04d}"}],
    }


def _request(number: int, due: datetime | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resourceType": "CommunicationRequest",
        "id": f"r{number}",
        "status": "active",
        "medium": [{"coding": [{"system": MODE, "code": "SMSWRIT"}]}],
        "recipient": [{"reference": f"Patient/p{number % PATIENTS}"}],
        "payload": [{"contentString": f"Message {number}: you have an appointment tomorrow."}],
    }
    return found | ({"occurrenceDateTime": due.isoformat()} if due else {})


async def _until(deliveries: Any, where: dict[str, Any], count: int, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while await deliveries.count_documents(where) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"Only {await deliveries.count_documents(where)} of {count} deliveries are {where}.")
        await asyncio.sleep(0.2)


async def worker_throughput(count: int, *, receipts: bool) -> dict[str, float]:
    """Let one worker send what is there already; return messages a second, and its CPU for each.

    With `receipts` the provider reports on each, and the server takes the reports, at the same time on the same machine.
    """
    async with running(worker=False, latency=0.05, life=receipts) as (server, deliveries, client):
        for start in range(0, count, 100):
            await _transact(client, [_request(number) for number in range(start, min(start + 100, count))])
        await _until(deliveries, {}, count)
        environment = server._environment  # noqa: SLF001 -- of the same making
        command = [sys.executable, "-m", "fhir_server.cli", "worker", f"--data={server.data}"]
        worker = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220, S603 -- ours
        try:
            await _until(deliveries, {"messages": {"$exists": True}}, count // 10)
            began, first = time.monotonic(), await deliveries.count_documents({"provider_ids": {"$exists": True}})
            cpu, of_server = _cpu(worker.pid), _cpu(server._process.pid)  # noqa: SLF001 -- of the same making
            await _until(deliveries, {"provider_ids": {"$exists": True}}, count * 9 // 10)
            done = await deliveries.count_documents({"provider_ids": {"$exists": True}}) - first
            seconds, used = time.monotonic() - began, _cpu(worker.pid) - cpu
            taking = _cpu(server._process.pid) - of_server  # noqa: SLF001 -- of the same making
        finally:
            worker.terminate()
            worker.wait(60)
    # The provider reports twice on each.
    return {"per_second": done / seconds, "cpu_ms": used / done * 1000, "receipt_cpu_ms": taking / done / 2 * 1000}


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def accepting(count: int) -> dict[str, float]:
    """Return the CPU that the server takes for each message that it accepts over the API of the product.

    Of a message with an `Idempotency-Key` and of one by a template as well.
    """
    body = {"channel": "sms", "body": "You have an appointment tomorrow at ten."}
    variables = {
        "appointment_date": "2026-12-01",
        "appointment_time": "10:00",
        "practitioner_name": "Smith",
        "location_address": "1 St",
    }
    ways: dict[str, tuple[str, dict[str, Any], bool]] = {
        "cpu_ms": ("send", body, False),
        "keyed_cpu_ms": ("send", body, True),
        "template_cpu_ms": (
            "send-template",
            {"template": "appointment_confirmed", "variables": variables, "channel": "sms"},
            False,
        ),
    }
    async with running(worker=False) as (server, _, client):
        pid = server._process.pid  # noqa: SLF001 -- of the same making

        async def send(way: str, times: int) -> None:
            path, values, keyed = ways[way]
            for number in range(times):
                headers = {"Idempotency-Key": str(uuid.uuid4())} if keyed else {}
                person = {"patient_id": f"p{number % PATIENTS}"}
                (await client.post(f"{PREFIX}/{path}", json=values | person, headers=headers)).raise_for_status()

        found = {}
        for way in ways:
            await send(way, 100)
            cpu = _cpu(pid)
            await send(way, count)
            found[way] = (_cpu(pid) - cpu) / count * 1000
        return found


async def dispatch_lag(scheduled: int) -> dict[str, float]:
    """Return how late messages are begun while so many are scheduled, in seconds."""
    async with running(worker=True) as (_, deliveries, client):
        later, rate, due = datetime.now(UTC) + timedelta(days=1), 20, 600
        for start in range(0, scheduled, 200):
            await _transact(client, [_request(number, later) for number in range(start, start + 200)])
        await _until(deliveries, {}, scheduled)
        soon = datetime.now(UTC) + timedelta(seconds=15)
        for start in range(0, due, 200):
            some = [_request(scheduled + number, soon + timedelta(seconds=number / rate)) for number in range(start, start + 200)]
            await _transact(client, some)
        wanted = {"request": {"$in": [f"r{scheduled + number}" for number in range(due)]}, "messages": {"$exists": True}}
        await _until(deliveries, wanted, due)
        lags = sorted(
            [(one["messages"][0]["tries"][0]["at"] - one["at"]).total_seconds() async for one in deliveries.find(wanted)]
        )
    return {"p50": statistics.median(lags), "p95": lags[int(len(lags) * 0.95)], "max": lags[-1]}


async def metrics(seconds: float) -> dict[str, Any]:
    """Return what the product tells of itself after a steady load on providers that fail one time in ten."""
    async with running(worker=True, latency=0.05, errors=0.1, step=0.5) as (_, deliveries, client):
        began, number = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            body = {"channel": "sms", "body": f"Message {number}", "patient_id": f"p{number % PATIENTS}"}
            (await client.post(f"{PREFIX}/send", json=body)).raise_for_status()
            number += 1
            await asyncio.sleep(max(0.0, began + number / 40 - time.monotonic()))
        await _until(deliveries, {"state": "done"}, number)
        found: dict[str, Any] = (await client.get(f"{PREFIX}/stats")).raise_for_status().json()
    return found


async def main() -> None:
    """Measure all, and print it beside its aims."""
    parser = argparse.ArgumentParser(prog="python -m bench.notifications", description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--scheduled", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=40)
    asked = parser.parse_args()
    print(machine())
    worker = await worker_throughput(asked.count, receipts=False)
    reported = await worker_throughput(asked.count, receipts=True)
    accept = await accepting(500)
    product = await metrics(asked.seconds)
    lag = await dispatch_lag(asked.scheduled)
    rows = [
        ("messages/s of one worker", worker["per_second"], PER_SECOND, verdict(worker["per_second"], PER_SECOND, at_least=True)),
        ("CPU of the worker, ms a message", worker["cpu_ms"], "", ""),
        ("messages/s while the server takes receipts beside it", reported["per_second"], "", ""),
        ("CPU of the server for a receipt, ms", reported["receipt_cpu_ms"], "", ""),
        ("CPU of accepting, ms", accept["cpu_ms"], ACCEPT_MS, verdict(accept["cpu_ms"], ACCEPT_MS, at_least=False)),
        ("the same with a key, ms", accept["keyed_cpu_ms"], "", ""),
        ("the same by a template, ms", accept["template_cpu_ms"], "", ""),
        (
            f"lag of dispatch p95, s, {asked.scheduled:,} scheduled",
            lag["p95"],
            LAG_SECONDS,
            verdict(lag["p95"], LAG_SECONDS, at_least=False),
        ),
    ]
    print(table(("what", "measured", "aim", "kept"), rows))
    print(product)
    save("notifications", {"worker": worker, "reported": reported, "accepting": accept, "lag": lag, "product": product})


if __name__ == "__main__":
    asyncio.run(main())
