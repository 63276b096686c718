"""Several worker processes on one socket, kept alive by their parent."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Final

from fhir_server.config import Settings
from fhir_server.store.embedded import end_with_parent
from fhir_server.web import logs
from fhir_server.web.process import GRACE_SECONDS, SETTINGS_VARIABLE, SOCKET_VARIABLE

METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
POLL_SECONDS: Final = 0.1
LONGEST_PAUSE: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A worker that has lived this long is started again at once; one that ends sooner waits, longer each time."""


class Worker:
    """One worker process, now or in a moment."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.pause = 0.0
        self.start_at = 0.0

    def fail(self, now: float) -> None:
        """Note that the process has ended, and when the next may start."""
        self.process = None
        self.pause = 0.0 if now - self.started > STEADY_SECONDS else min(LONGEST_PAUSE, self.pause * 2 or 0.1)
        self.start_at = now + self.pause


class Workers:
    """All workers of a server."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._workers = [Worker() for _ in range(settings.workers)]
        self._logger = logs.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep them running until `stop` is set, then end them in order."""
        with tempfile.TemporaryDirectory(prefix="fhir-metrics-") as metrics:
            try:
                while not stop.is_set():
                    for worker in self._workers:
                        self._tend(worker, metrics)
                    await _wait(stop, POLL_SECONDS)
            finally:
                self._listener.close()
                await self._end()

    def _tend(self, worker: Worker, metrics: str) -> None:
        now = time.monotonic()
        if worker.process is not None and worker.process.poll() is not None:
            self._logger.error("a worker ended", pid=worker.process.pid, code=worker.process.returncode)
            _forget_metrics(metrics, worker.process.pid)
            worker.fail(now)
        if worker.process is None and now >= worker.start_at:
            worker.started = now
            worker.process = self._start(metrics)

    def _start(self, metrics: str) -> "subprocess.Popen[bytes]":
        descriptor = self._listener.fileno()
        environment = {
            **os.environ,
            SETTINGS_VARIABLE: self._settings.model_dump_json(),
            SOCKET_VARIABLE: str(descriptor),
            METRICS_VARIABLE: metrics,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "fhir_server.web.process"],
            env=environment,
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            # Ctrl-C reaches the parent only, which then ends its workers in order.
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- it only calls prctl
        )

    async def _end(self) -> None:
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS + 2
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:  # noqa: ASYNC110 -- processes set no event
            await asyncio.sleep(0.02)
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _forget_metrics(directory: str, pid: int) -> None:
    """Drop the gauges of a worker that is gone; its counters still count."""
    for name in os.listdir(directory):  # noqa: PTH208 -- names are all that is needed
        if name.startswith("gauge_live") and name.endswith(f"_{pid}.db"):
            os.unlink(os.path.join(directory, name))  # noqa: PTH108, PTH118
