"""A server as a process tree that a test may kill."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

READY_SECONDS = 60


class FaultServer:
    """`fhir-server serve` on a data directory or on an external MongoDB, from one `start()` to the next."""

    def __init__(self, directory: Path, *options: str, **settings: str) -> None:
        """Name its directory, options of the command and settings; those who are killed are soon replaced by others."""
        self.data = directory / "data"
        self.errors = directory / "server.err"
        self.base = ""
        self._options = options
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")}
        self._environment |= {"FHIR_MONGODB_CACHE_MB": "256", "FHIR_LOG_REQUESTS": "false", "FHIR_MRN": "false"}
        self._environment |= {"FHIR_WORKER": "false", "FHIR_EVENTS_LEASE_SECONDS": "3"}
        self._environment |= {f"FHIR_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None

    @property
    def root(self) -> str:
        """The address without the path."""
        return self.base.removesuffix("/fhir")

    def log(self) -> str:
        """Return what it has logged."""
        return self.errors.read_text()

    async def start(self) -> float:
        """Start it and return after how many seconds it said that it is ready."""
        started = time.monotonic()
        command = [sys.executable, "-m", "fhir_server.cli", "serve", "--port=0", f"--data={self.data}", *self._options]
        self._process = self._popen(command)
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), READY_SECONDS)
        assert line.startswith("Ready: "), self.log()
        self.base = line.removeprefix("Ready: ").strip()
        return time.monotonic() - started

    def _popen(self, command: list[str]) -> "subprocess.Popen[str]":
        with self.errors.open("a") as errors:
            return subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=self._environment, cwd=self.data.parent
            )

    def children(self, name: str) -> list[psutil.Process]:
        """Return the processes of that name which the server has started."""
        return [child for child in psutil.Process(self._process.pid).children() if name in child.name()]

    def kill_mongod(self) -> None:
        """SIGKILL the embedded `mongod`, if there is one at this moment."""
        for mongod in self.children("mongod"):
            mongod.kill()

    def kill_worker(self) -> None:
        """SIGKILL one of several workers."""
        self.children("python")[0].kill()

    def kill(self) -> None:
        """SIGKILL the server, and leave what it has started to itself."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        """End it in order, with all that it has started."""
        if self._process is None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        finally:
            if self._process.poll() is None:
                self.kill()
            else:
                self._process.stdout.close()
                self._process = None
        psutil.wait_procs(family, 20)
