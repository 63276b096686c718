"""Several worker processes, kept alive by their parent, which accepts connections and deals them out in turn.

Left to themselves, processes that accept from one socket share it badly: of 16 lasting connections one worker may get
all. Dealt out, each gets 8.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from fhir_server.config import Settings
from fhir_server.store.children import end_with_parent
from fhir_server.web import logs
from fhir_server.web.handover import CHANNEL_VARIABLE, CONNECTION, GRACE_SECONDS, READY, SETTINGS_VARIABLE

METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
POLL_SECONDS: Final = 0.1
BACKLOG: Final = 2048
ACCEPTED_AT_ONCE: Final = 64
ATTEMPTS: Final = 3
LONGEST_PAUSE: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A worker that has lived this long is started again at once; one that ends sooner waits, longer each time."""


class WorkersFailedError(RuntimeError):
    """The workers end before they ever serve."""


class Worker:
    """One worker process, now or in a moment."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self.ready = False
        self._started = 0.0
        self._pause = 0.0
        self._start_at = 0.0

    @property
    def pid(self) -> int:
        """The process id, 0 while there is none."""
        return self._process.pid if self._process else 0

    def start(self, environment: dict[str, str]) -> None:
        """Start the process, unless it runs or has ended too short a time ago."""
        now = time.monotonic()
        if self._process is not None or now < self._start_at:
            return
        self._started = now
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            self._channel = ours
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fhir_server.web.process"],
                env={**environment, CHANNEL_VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # Ctrl-C reaches the parent only, which then ends its workers in order.
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- it only calls prctl
            )

    def look(self) -> tuple[int, int] | None:
        """Learn whether the process is ready; return process id and exit code when it has ended."""
        if self._process is None or self._channel is None:
            return None
        if self._process.poll() is None:
            if not self.ready:
                self.ready = _received(self._channel) == READY
            return None
        ended = self._process.pid, self._process.returncode
        now = time.monotonic()
        self._pause = 0.0 if now - self._started > STEADY_SECONDS else min(LONGEST_PAUSE, self._pause * 2 or 0.1)
        self._start_at = now + self._pause
        self.close()
        self._process = None
        return ended

    def hand(self, connection: socket.socket) -> bool:
        """Hand a connection over; False when the worker can not take it."""
        if not self.ready or self._channel is None:
            return False
        try:
            socket.send_fds(self._channel, [CONNECTION], [connection.fileno()])
        except BlockingIOError:
            return False
        except OSError:
            self.ready = False
            return False
        return True

    def close(self) -> None:
        """Hand over nothing any more."""
        self.ready = False
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def terminate(self) -> None:
        """Ask the process to finish what it does and end."""
        if self._process is not None:
            self._process.terminate()

    def has_ended(self) -> bool:
        """Tell whether no process is left."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _received(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1)
    except OSError:
        return b""


class Workers:
    """All workers of a server, from `run()` until it is told to stop."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._workers = [Worker() for _ in range(settings.workers)]
        self._turn = 0
        self._failures = 0
        self._logger = logs.get_logger()

    async def run(self, stop: asyncio.Event, prepared: asyncio.Event) -> None:
        """Keep them running until `stop` is set, then end them in order; accept connections from when all is `prepared`.

        Raises:
            WorkersFailedError: none of them has come as far as to serve.
        """
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="fhir-metrics-") as metrics:
            environment = {**os.environ, METRICS_VARIABLE: metrics, SETTINGS_VARIABLE: self._settings.model_dump_json()}
            listening = False
            try:
                while not stop.is_set():
                    self._tend(environment, Path(metrics))
                    if not listening and self._failures >= ATTEMPTS * len(self._workers):
                        raise WorkersFailedError("The workers end at their start; what they wrote above says why.")
                    if not listening and prepared.is_set() and all(worker.ready for worker in self._workers):
                        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._listener.setblocking(False)
                        self._listener.listen(BACKLOG)
                        loop.add_reader(self._listener, self._accept)
                        listening = True
                    await _wait(stop, POLL_SECONDS if listening else POLL_SECONDS / 5)
            finally:
                loop.remove_reader(self._listener)
                self._listener.close()
                await self._end()

    def _tend(self, environment: dict[str, str], metrics: Path) -> None:
        for worker in self._workers:
            if ended := worker.look():
                pid, code = ended
                self._logger.error("a worker ended and is started again", pid=pid, code=code)
                _forget_metrics(metrics, pid)
                self._failures += 1
            worker.start(environment)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if not any(worker.ready for worker in self._workers):
                # The kernel's queue keeps them until a worker is back; look again later rather than at once.
                asyncio.get_running_loop().remove_reader(self._listener)
                asyncio.get_running_loop().call_later(POLL_SECONDS, self._accept_again)
                return
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._deal(connection)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _deal(self, connection: socket.socket) -> None:
        for _ in self._workers:
            worker = self._workers[self._turn]
            self._turn = (self._turn + 1) % len(self._workers)
            if worker.hand(connection):
                return

    async def _end(self) -> None:
        for worker in self._workers:
            worker.close()
            worker.terminate()
        deadline = time.monotonic() + GRACE_SECONDS + 2
        while time.monotonic() < deadline:
            if all(worker.has_ended() for worker in self._workers):
                return
            await asyncio.sleep(0.02)
        for worker in self._workers:
            worker.kill()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _forget_metrics(directory: Path, pid: int) -> None:
    """Drop the gauges of a worker that is gone; its counters still count."""
    for file in directory.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)
