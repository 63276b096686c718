"""Notifications under kills: what is written, what is killed meanwhile, and what has to hold in the end.

A whole server (with its MongoDB, Valkey, dispatcher and worker) sends to providers that fail now and then. Every request
that was acknowledged has to end, with a Communication that says how; what a provider accepted twice is counted.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis.asyncio
from fault_server import FaultServer

from fhir_server.store.children import free_port
from fhir_server.store.valkey import running_url

ROOT = Path(__file__).parents[2]
UNDELIVERED = frozenset({"undelivered", "failed", "bounce", "blocked", "dropped"})
FINAL = frozenset({"completed", "not-done", "stopped", "unknown"})
KINDS = ("worker", "dispatcher", "valkey", "server", "flush", "mongod")
PATIENTS = 200
INVALID = "+15005550001"
CHANNELS = ("SMSWRIT", "APPWRIT", "EMAILWRIT")
MODE = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"


class Providers:
    """The stand-ins of all providers, as a process."""

    def __init__(self, **behaviour: Any) -> None:
        options = [_option(name.replace("_", "-"), value) for name, value in behaviour.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.providers", *options], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        found = json.loads(self._process.stdout.readline())
        self.url: str = found["url"]
        self.settings: dict[str, Any] = found["settings"]

    async def ledger(self) -> dict[str, Any]:
        """Return what was accepted."""
        async with httpx.AsyncClient(timeout=60) as client:
            return (await client.get(f"{self.url}/ledger")).json()

    async def tell(self, path: str, **values: Any) -> None:
        """Change how they behave."""
        async with httpx.AsyncClient(timeout=60) as client:
            (await client.post(f"{self.url}/{path}", json=values)).raise_for_status()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


class SendingServer(FaultServer):
    """A server that sends to these providers, which report to it."""

    def __init__(self, directory: Path, providers: Providers, **notify: Any) -> None:
        self.port = free_port()
        super().__init__(directory, worker="true", events="true", base_url=f"http://127.0.0.1:{self.port}/fhir")
        values = {
            **providers.settings,
            "sms": "twilio",
            "whatsapp": "twilio",
            "email": "sendgrid",
            "sendgrid_activity": "true",
            "rates": '{"sms": 1000, "whatsapp": 1000, "email": 1000}',
            "twilio_timeout": 2,
            "claim_seconds": 5,
            "backoff_seconds": 1,
            "backoff_max_seconds": 5,
            "max_attempts": 10,
            "receipt_hours": 15 / 3600,
            "reminders": "{}",
            **notify,
        }
        self._environment |= {f"PRM_NOTIFY_{name.upper()}": str(value) for name, value in values.items()}

    def _popen(self, command: list[str]) -> "subprocess.Popen[str]":
        return super()._popen([part if part != "--port=0" else f"--port={self.port}" for part in command])

    def process(self, module: str) -> psutil.Process | None:
        """Return the child that runs a module."""
        return next((child for child in self.children("python") if module in child.cmdline()), None)


@dataclass
class Outcome:
    """What an experiment found."""

    accepted: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    duplicates: dict[str, int] = field(default_factory=dict)
    resent: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def report(self) -> str:
        """Return it as text."""
        lines = [
            f"{len(self.accepted):,} requests acknowledged and ended in {self.seconds:.0f} s",
            "kills: " + ", ".join(f"{kind} {number}" for kind, number in sorted(self.kills.items())),
            "Communications: " + ", ".join(f"{status} {number:,}" for status, number in sorted(self.statuses.items())),
            f"{len(self.duplicates)} messages delivered more than once; {self.resent} sent again after they were not delivered",
            f"{len(self.violations)} violations",
            *self.violations[:30],
        ]
        return "\n".join(lines) + "\n"


class NotificationExperiment:
    """Writes requests while things are killed."""

    def __init__(self, server: SendingServer, providers: Providers, *, seed: int) -> None:
        self.server = server
        self.providers = providers
        self.outcome = Outcome()
        self._random = random.Random(seed)
        self._client = httpx.AsyncClient(timeout=20, headers={"Accept": "application/fhir+json"})

    async def run(self, count: int, kinds: tuple[str, ...], *, pause: tuple[float, float], clients: int = 8) -> Outcome:
        """Write so many requests while the kinds are killed one after the other; wait for all, and judge."""
        began = time.monotonic()
        await self.providers.tell("webhooks", sendgrid=f"{self.server.root}/api/v1/prm/notifications/webhooks/sendgrid/default")
        await self._write_patients()
        numbers = iter(range(count))
        killing = asyncio.create_task(self._kill(kinds, pause))
        await asyncio.gather(*(self._write(numbers) for _ in range(clients)))
        await killing
        await self._all_ended()
        self.outcome.seconds = time.monotonic() - began
        await self._judge()
        return self.outcome

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, **values: Any) -> httpx.Response:
        """Send a request until it is answered with something else than that nobody can answer now."""
        while True:
            try:
                answer = await self._client.request(method, f"{self.server.base}/{path}", **values)
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code not in (409, 412, 500, 503):
                return answer
            if answer.status_code == 500:
                self.outcome.violations.append(f"{method} {path}: 500")
            await asyncio.sleep(0.2)

    async def _write_patients(self) -> None:
        for number in range(PATIENTS):
            phone = INVALID if number % 20 == 0 else f"+1415555{number:04d}"
            patient = {
                "resourceType": "Patient",
                "id": f"p{number}",
                "name": [{"family": f"F{number}"}],
                "telecom": [
                    {"system": "phone", "use": "mobile", "value": phone},
                    {"system": "email", "value": f"p{number}@example.org"},
                ],
            }
            answer = await self._send("PUT", f"Patient/p{number}", json=patient)
            assert answer.status_code in (200, 201), answer.text

    async def _write(self, numbers: Any) -> None:
        for number in numbers:
            request = {
                "resourceType": "CommunicationRequest",
                "id": f"r{number}",
                "status": "active",
                "medium": [{"coding": [{"system": MODE, "code": CHANNELS[number % len(CHANNELS)]}]}],
                "recipient": [{"reference": f"Patient/p{self._random.randrange(PATIENTS)}"}],
                "payload": [{"contentString": f"Message {number}"}],
                "priority": "urgent" if number % 50 == 0 else "routine",
            }
            # PUT under an id of ours: sent again after an answer was lost, it is the same request.
            answer = await self._send("PUT", f"CommunicationRequest/r{number}", json=request)
            if answer.status_code in (200, 201):
                self.outcome.accepted.add(f"r{number}")
            else:
                self.outcome.violations.append(f"r{number}: {answer.status_code}")

    async def _kill(self, kinds: tuple[str, ...], pause: tuple[float, float]) -> None:
        for kind in kinds:
            await asyncio.sleep(self._random.uniform(*pause))
            if await self._strike(kind):
                self.outcome.kills[kind] += 1

    async def _strike(self, kind: str) -> bool:
        match kind:
            case "worker" | "dispatcher":
                process = self.server.process("fhir_server.worker" if kind == "worker" else "fhir_server.publisher")
                if process is None:
                    return False
                process.kill()
            case "valkey":
                for process in self.server.children("valkey"):
                    process.kill()
            case "flush":
                try:
                    async with redis.asyncio.Redis.from_url(running_url(self.server.data)) as client:
                        await client.flushall()
                except (redis.RedisError, OSError):
                    return False
            case "mongod":
                self.server.kill_mongod()
            case "server":
                self.server.kill()
                await self.server.start()
        return True

    async def _all_ended(self) -> None:
        """Wait until no request is active, for as long as their number goes down."""
        last, changed = -1, time.monotonic()
        while True:
            answer = await self._send("GET", "CommunicationRequest?status=active&_summary=count")
            active = answer.json().get("total", -1)
            if active == 0:
                return
            if active != last:
                last, changed = active, time.monotonic()
            if time.monotonic() - changed > 180:
                self.outcome.violations.append(f"{active} requests do not end")
                return
            await asyncio.sleep(0.5)

    async def _judge(self) -> None:
        by_request: dict[str, list[dict[str, Any]]] = {}
        path = "Communication?_count=1000&_elements=status,basedOn,statusReason,partOf"
        while path:
            bundle = (await self._send("GET", path)).json()
            for entry in bundle.get("entry", ()):
                resource = entry["resource"]
                key = resource["basedOn"][0]["reference"].partition("/")[2]
                by_request.setdefault(key, []).append(resource)
                self.outcome.statuses[resource["status"]] += 1
            following = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), "")
            path = following.removeprefix(f"{self.server.base}/")
        for id_ in sorted(self.outcome.accepted):
            found = by_request.get(id_, [])
            if not found:
                self.outcome.violations.append(f"{id_}: no Communication")
            for one in found:
                if one["status"] not in FINAL:
                    self.outcome.violations.append(f"{id_}: {one['status']}")
                if one["status"] in ("not-done", "stopped") and "statusReason" not in one:
                    self.outcome.violations.append(f"{id_}: {one['status']} without a reason")
        # What a provider took and then reported as not delivered, for a reason that passes, is rightly sent again.
        entries = (await self.providers.ledger())["entries"]
        arrived = Counter(one["reference"] for one in entries if one["status"] not in UNDELIVERED)
        self.outcome.duplicates = {key: number for key, number in arrived.items() if number > 1}
        self.outcome.resent = len(entries) - len({one["reference"] for one in entries})
