"""A replica set of several nodes on this machine, which a test may kill one by one."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from fhir_server.store.embedded import find_mongod

NAME = "faults"
ELECTION_MS = 2000
READY_SECONDS = 60


class ReplicaSet:
    """Nodes on ports that follow each other, from `start()` to `stop()`."""

    def __init__(self, directory: Path, *, nodes: int = 3, port: int = 29_200) -> None:
        self._directories = [directory / f"node{number}" for number in range(nodes)]
        self._ports = [port + number for number in range(nodes)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def uri(self) -> str:
        """The address of all nodes."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"mongodb://{hosts}/?replicaSet={NAME}"

    async def start(self) -> None:
        """Start all nodes, and wait for a primary."""
        for port in self._ports:
            self.start_node(port)
        members = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(self._ports)]
        config = {"_id": NAME, "members": members, "settings": {"electionTimeoutMillis": ELECTION_MS}}
        await asyncio.to_thread(self._initiate, config)
        await self.primary()

    def start_node(self, port: int) -> None:
        """Start one node."""
        directory = self._directories[self._ports.index(port)]
        directory.mkdir(parents=True, exist_ok=True)
        command = [find_mongod(), f"--dbpath={directory}", f"--port={port}", "--bind_ip=127.0.0.1", f"--replSet={NAME}"]
        command += [f"--logpath={directory}/log", "--nounixsocket", "--wiredTigerCacheSizeGB=0.25", "--oplogSize=256", "--quiet"]
        self._processes[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill_node(self, port: int) -> None:
        """SIGKILL one node."""
        self._processes[port].kill()
        self._processes[port].wait()

    async def primary(self) -> int:
        """Return the port of the primary, as soon as there is one."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                for port in self._ports:
                    if await asyncio.to_thread(self._is_primary, port):
                        return port
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End all nodes."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _initiate(self, config: dict[str, Any]) -> None:
        with pymongo.MongoClient[dict[str, Any]](
            _direct(self._ports[0]), serverSelectionTimeoutMS=READY_SECONDS * 1000
        ) as client:
            client.admin.command("replSetInitiate", config)

    def _is_primary(self, port: int) -> bool:
        try:
            with pymongo.MongoClient[dict[str, Any]](_direct(port), serverSelectionTimeoutMS=200) as client:
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False


def _direct(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"
