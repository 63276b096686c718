"""Asks the process that looks into files (`fhir_server.blobs.inspecting.worker`).

It is started when the first file comes, and again after it has ended; it ends with this process.
"""

import asyncio
import atexit
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from fhir_server.blobs.kinds import Seen
from fhir_server.config import Settings
from fhir_server.fhir.outcome import unavailable

START_SECONDS: Final = 60
SPARE_SECONDS: Final = 10
KEPT_HEAD: Final = 48 * 2**20
KEPT_TAIL: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Findings:
    """What has been found out."""

    seen: Seen
    facts: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: bytes = b""
    """JPEG."""
    made: bytes | None = None
    """The content without its location, where that was asked for and there was one."""


class Sample:
    """The file that is looked into: all of a small one; of a large one its beginning and its end, at their places."""

    def __init__(self, head: int = KEPT_HEAD) -> None:
        self.size = 0
        self._head = head
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- `close` closes it
        self._tail: list[bytes] = []

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.size <= self._head + KEPT_TAIL

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        room = max(0, self._head - self.size)
        if room:
            self._file.write(data[:room])
        if len(data) > room:
            self._tail.append(data[room:])
            while sum(map(len, self._tail[1:])) >= KEPT_TAIL:
                del self._tail[0]
        self.size += len(data)

    def part(self, start: int, size: int) -> bytes:
        """Return bytes of the beginning."""
        self._file.flush()
        return os.pread(self._file.fileno(), size, start)

    def descriptor(self) -> int:
        """Return the descriptor of the file, with all in it."""
        if self._tail:
            tail = b"".join(self._tail)[-KEPT_TAIL:]
            self._file.seek(self.size - len(tail))
            self._file.write(tail)
            self._tail = []
        self._file.flush()
        self._file.seek(0)
        return self._file.fileno()

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class _Worker:
    """The process of this one; the lock is held while it works."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._owner = 0

    def ask(self, request: Mapping[str, Any], descriptors: list[int], seconds: float) -> dict[str, Any]:
        """Return the answer.

        Raises:
            OSError: there is none in time.
        """
        connection = self._started()
        try:
            connection.settimeout(seconds)
            socket.send_fds(connection, [json.dumps(request).encode()], descriptors)
            size = int.from_bytes(_received(connection, 4), "big")
            answer: dict[str, Any] = json.loads(_received(connection, size))
        except BaseException:
            self.stop()
            raise
        return answer

    def _started(self) -> socket.socket:
        if (
            self._connection is not None
            and self._process is not None
            and self._process.poll() is None
            and self._owner == os.getpid()
        ):
            return self._connection
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-m", "fhir_server.blobs.inspecting.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith(("FHIR_", "AWS_"))},
            )
        self._connection, self._owner = ours, os.getpid()
        return ours

    def stop(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        self._process = None


_WORKER: Final = _Worker()
atexit.register(_WORKER.stop)


class Inspector:
    """Looks into files, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.inspect_seconds
        self._memory = settings.inspect_memory_mb

    async def look(self, sample: Sample, *, strip: bool = False) -> Findings:
        """Return what is found out about a sample.

        Raises:
            FhirError: 503, it can not be looked into now.
        """
        try:
            return await asyncio.to_thread(self._look, sample, strip)
        except (OSError, ValueError) as error:
            raise unavailable(f"The content can not be looked into now ({type(error).__name__}). Send it again.") from error

    def _look(self, sample: Sample, strip: bool) -> Findings:
        request = {"seconds": self._seconds, "memory": self._memory, "size": sample.size, "whole": sample.whole, "strip": strip}
        request["strip"] = strip and sample.whole
        with tempfile.TemporaryFile() as output, _WORKER.lock:
            seconds = 3 * self._seconds + SPARE_SECONDS + START_SECONDS
            answer = _WORKER.ask(request, [sample.descriptor(), output.fileno()], seconds)
            output.seek(0)
            made = output.read() if answer["made"] else None
        facts = dict(answer["facts"])
        thumbnail = base64.b64decode(facts.pop("thumbnail", ""))
        flags = (*answer["seen"].pop("flags"), *facts.get("flags", ()))
        notable = [flag for flag in flags if flag != "cda"]
        if notable:
            facts["flags"] = notable
        return Findings(Seen(**answer["seen"], flags=flags), facts, thumbnail, made)


def _received(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 2**20))
        if not part:
            raise ConnectionError("the process that looks into files has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
