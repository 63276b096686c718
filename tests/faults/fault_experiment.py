"""Kills at random moments under load, and what they do."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx
from fault_checks import violations
from fault_ledger import Ledger
from fault_nodes import ReplicaSet
from fault_server import FaultServer
from fault_workload import Workload

from fhir_server.store.embedded import running_uri

BACK_SECONDS = 60


@dataclass
class Figures:
    """What an experiment has shown."""

    ledger: Ledger = field(default_factory=Ledger)
    kills: list[tuple[str, float]] = field(default_factory=list)
    """What was killed, and after how many seconds the server answered again."""
    violations: list[str] = field(default_factory=list)


class Experiment:
    """One server under load, whose processes are killed."""

    def __init__(self, server: FaultServer, *, seed: int, clients: int = 12, nodes: ReplicaSet | None = None) -> None:
        self.figures = Figures()
        self._server = server
        self._nodes = nodes
        self._seed = seed
        self._random = random.Random(seed)
        self._workload = Workload(self.figures.ledger, lambda: server.base, clients=clients, seed=seed)
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "server": self._kill_server,
            "mongod": self._kill_mongod,
            "both": self._kill_both,
            "worker": self._kill_worker,
            "stop": self._stop_server,
            "primary": self._kill_primary,
        }

    async def run(self, kinds: Sequence[str], *, pause: tuple[float, float], sample: int) -> Figures:
        """Kill one after the other, each after a random pause in seconds, then judge what is there."""
        self._workload.start()
        for kind in kinds:
            await asyncio.sleep(self._random.uniform(*pause))
            killed = time.monotonic()
            await self._kinds[kind]()
            await self._until_ready()
            self.figures.kills.append((kind, time.monotonic() - killed))
            self._workload.generation += 1
        await asyncio.sleep(pause[0])
        await self._workload.stop()
        uri = self._nodes.uri if self._nodes else running_uri(self._server.data)
        self.figures.violations += await violations(uri, self._server.base, self.figures.ledger, sample=sample, seed=self._seed)
        return self.figures

    async def close(self) -> None:
        """Close what is open."""
        await self._workload.close()

    async def _kill_server(self) -> None:
        self._server.kill()
        await self._server.start()

    async def _kill_mongod(self) -> None:
        self._server.kill_mongod()

    async def _kill_both(self) -> None:
        self._server.kill_mongod()
        await asyncio.sleep(self._random.choice((0, 0.05, 0.5)))
        await self._kill_server()

    async def _kill_worker(self) -> None:
        self._server.kill_worker()

    async def _stop_server(self) -> None:
        """Not a kill: the server ends in order, under load."""
        await asyncio.to_thread(self._server.stop)
        await self._server.start()

    async def _kill_primary(self) -> None:
        """Kill the primary of several nodes; it comes back when another one has been elected."""
        port = await self._nodes.primary()
        self._nodes.kill_node(port)
        await self._nodes.primary()
        self._nodes.start_node(port)

    async def _until_ready(self) -> None:
        """Wait until a resource can be created, which proves more than a health check."""
        async with asyncio.timeout(BACK_SECONDS), httpx.AsyncClient() as http:
            while not await self._is_ready(http):  # noqa: ASYNC110 -- it is another process that begins to answer
                await asyncio.sleep(0.05)

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            answer = await http.put(f"{self._server.base}/Basic/probe", json=PROBE, timeout=10)
        except httpx.TransportError:
            return False
        return answer.is_success


PROBE = {"resourceType": "Basic", "id": "probe", "code": {"text": "probe"}}
