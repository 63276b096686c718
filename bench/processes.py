"""What is measured: MongoDB, the server and the baseline, as processes of their own on loopback."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.report import ROOT
from fhir_server.store.embedded import EmbeddedMongod

DATABASE = "bench"
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
"""Always the same, so that data that is kept can be used again."""
START_SECONDS = 60.0
LOG_SHOWN = 4000
SERVER = str(Path(sys.executable).with_name("fhir-server"))


@dataclass(frozen=True, slots=True)
class Process:
    """A running HTTP server."""

    base_url: str
    pid: int
    ready_seconds: float

    def workers(self) -> list[psutil.Process]:
        """Return the processes that serve requests: the children, or itself where it has none that do."""
        children = [child for child in psutil.Process(self.pid).children(recursive=True) if "python" in child.name()]
        serving = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
        return serving or [psutil.Process(self.pid)]


@contextlib.contextmanager
def mongod(cache_mb: int = 1024, data: Path | None = None) -> Iterator[EmbeddedMongod]:
    """Run an embedded MongoDB; on a directory that is gone afterwards, unless one is given."""
    with contextlib.ExitStack() as stack:
        directory = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fhir-bench-")))
        running = EmbeddedMongod(directory, cache_mb=cache_mb).start()
        stack.callback(running.stop)
        yield running


@contextlib.contextmanager
def server(uri: str, *, workers: int, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run the server on a MongoDB with so many workers."""
    settings = {"FHIR_MONGODB_URI": uri, "FHIR_MONGODB_DATABASE": DATABASE, "FHIR_MASTER_KEY": MASTER_KEY, "FHIR_WORKER": "false"}
    settings |= environment or {}
    command = [SERVER, "serve", "--port", "0", "--workers", str(workers)]
    with _run(command, settings) as (process, started):
        line = _first_line(process)
        yield Process(line.removeprefix("Ready: "), process.pid, time.perf_counter() - started)


@contextlib.contextmanager
def baseline(uri: str) -> Iterator[Process]:
    """Run the bare ASGI route with one worker."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "bench.baseline:app",
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    command += ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    with _run(command, {"BENCH_MONGODB_URI": uri, "BENCH_MONGODB_DATABASE": DATABASE}) as (process, started):
        _wait_for_port(port)
        yield Process(f"http://127.0.0.1:{port}/fhir", process.pid, time.perf_counter() - started)


def start_to_ready(repeats: int = 3) -> dict[str, float]:
    """Return the seconds from start to `Ready`, with the embedded MongoDB: at the first start, and the median of later ones."""
    times = []
    with tempfile.TemporaryDirectory(prefix="fhir-bench-start-") as directory:
        for _ in range(repeats + 1):
            command = [SERVER, "serve", "--port", "0", "--data", directory]
            with _run(command, {}) as (process, started):
                _first_line(process)
                times.append(time.perf_counter() - started)
    return {"first": times[0], "later": sorted(times[1:])[len(times[1:]) // 2]}


@contextlib.contextmanager
def _run(command: list[str], settings: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Run a command; what it logs is shown only when it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")} | dict(settings)
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 -- ours
        try:
            yield process, started
        except BaseException:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_SHOWN))
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return what the server prints when it answers."""
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line.startswith("Ready: "):
        raise SystemExit(f"The server did not start (exit code {process.poll()}); it says why above.")
    return line


def free_port() -> int:
    """Return a port of loopback that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"Nothing answers on port {port} after {START_SECONDS:.0f} s.")


def memory(process: psutil.Process) -> dict[str, float]:
    """Return resident and proportional memory in MiB."""
    info = process.memory_full_info()
    return {"rss": info.rss / 2**20, "pss": getattr(info, "pss", info.rss) / 2**20}
