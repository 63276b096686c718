"""The process that looks into files: `python -m fhir_server.blobs.inspecting.worker FD`.

FD is a socket. Each request is one line of JSON, sent with the descriptors of the file and of a file for what is made of it;
each answer is one line of JSON. What parses a format runs in a child of its own, under limits of time and memory, so that a
hostile file ends the child and nothing else.
"""

import base64
import contextlib
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import structlog

from fhir_server.blobs.inspecting.facts import facts_of, flags_of_text, without_location
from fhir_server.blobs.kinds import Seen, actual

HEAD: Final = 2**20
LINE: Final = 65_536
MB: Final = 2**20
MOST_OUTPUT: Final = 256 * MB


def main(descriptor: int) -> None:
    """Answer until the other end is closed."""
    with socket.socket(fileno=descriptor) as connection:
        look = _Look()
        while True:
            data, descriptors, _, _ = socket.recv_fds(connection, LINE, 2)
            if not data:
                return
            try:
                answer = look.answer(json.loads(data), descriptors)
            finally:
                for one in descriptors:
                    os.close(one)
            body = json.dumps(answer).encode()
            connection.sendall(len(body).to_bytes(4, "big") + body)


class _Look:
    """What takes long to load, loaded once."""

    def __init__(self) -> None:
        from magika import Magika  # noqa: PLC0415 -- only this process loads it

        self._magika = Magika()
        self._magic: Any = None
        try:
            import magic  # noqa: PLC0415 -- it needs a library of the system

            self._magic = magic.Magic(mime=True)
        except (ImportError, OSError):
            structlog.get_logger().warning("libmagic is not installed: types are judged by magika alone")

    def answer(self, asked: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Answer a request."""
        with os.fdopen(os.dup(descriptors[0]), "rb") as file:
            seen = self._seen(file)
            mime = actual(Seen(**seen | {"flags": tuple(seen["flags"])}))
            limits = asked["seconds"], asked["memory"] * MB
            _preload(mime)
            facts = _limited(lambda: _facts(file, mime, asked["size"]), *limits) if asked["whole"] or mime[:5] != "image" else {}
            made = 0
            if asked["strip"] and mime in ("image/jpeg", "image/png", "image/webp", "image/tiff"):
                made = _limited(lambda: {"made": _stripped(file, mime, descriptors[1])}, *limits).get("made", 0)
        return {"seen": seen, "facts": facts, "made": made}

    def _seen(self, file: BinaryIO) -> dict[str, Any]:
        head = file.read(HEAD)
        file.seek(0)
        found = self._magika.identify_stream(file).output
        magic = self._magic.from_buffer(head) if self._magic else ""
        file.seek(0)
        return {
            "magic": magic,
            "magika": found.mime_type,
            "label": str(found.label),
            "group": found.group,
            "flags": flags_of_text(head, magic or found.mime_type),
        }


def _preload(mime: str) -> None:
    """Load what the child will need here, so that the next child finds it loaded."""
    name = _MODULES.get(mime if mime == "application/pdf" else mime.partition("/")[0])
    if name:
        importlib.import_module(name)
    if name == "PIL.Image":
        from PIL import Image  # noqa: PLC0415 -- see above

        Image.init()


_MODULES: Final = {"application/pdf": "pypdfium2", "image": "PIL.Image", "audio": "av", "video": "av"}


def _facts(file: BinaryIO, mime: str, size: int) -> dict[str, Any]:
    found = facts_of(file, mime, size)
    thumbnail = found.pop("thumbnail", None)
    return found | {"thumbnail": base64.b64encode(thumbnail).decode()} if thumbnail else found


def _stripped(file: BinaryIO, mime: str, output: int) -> int:
    made = without_location(file, mime)
    if not made:
        return 0
    with os.fdopen(os.dup(output), "wb") as out:
        out.write(made)
    return len(made)


def _limited(work: Callable[[], dict[str, Any]], seconds: int, memory: int) -> dict[str, Any]:
    """Return what the work returns in a child under limits; {"failed": why} where it does not come to an end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work_as_child(work, writing, seconds, memory)
    os.close(writing)
    try:
        return _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _read(reading: int, deadline: float) -> dict[str, Any]:
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return {"failed": "time"}
        part = os.read(reading, LINE)
        if not part:
            break
        parts.append(part)
    try:
        found: dict[str, Any] = json.loads(b"".join(parts))
    except ValueError:
        return {"failed": "crash"}
    return found


def _work_as_child(work: Callable[[], dict[str, Any]], writing: int, seconds: int, memory: int) -> None:
    """Never returns: whatever happens, the child ends here."""
    try:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_OUTPUT, MOST_OUTPUT))
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory, resource.RLIM_INFINITY))
        try:
            found = work()
        except MemoryError:
            found = {"failed": "memory"}
        except Exception as error:  # noqa: BLE001 -- whatever a parser makes of a hostile file
            found = {"failed": type(error).__name__}
        with os.fdopen(writing, "wb") as out:
            out.write(json.dumps(found).encode())
    finally:
        os._exit(0)


def _address_space() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]))
