"""Servers that this process starts for itself: they end with it, and listen on loopback."""

import ctypes
import os
import random
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

import psutil

PORTS: Final = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections, so that a recorded port is rarely in use at the next start."""
STOP_SECONDS: Final = 20.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class EmbeddedError(RuntimeError):
    """An embedded server can not run; the message says what to do about it."""


class DataDirectoryInUseError(EmbeddedError):
    """Another server owns the data directory."""


def end_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when its parent ends, even by SIGKILL (prctl(2), PR_SET_PDEATHSIG)."""
    parent = os.getppid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def is_free(port: int) -> bool:
    """Tell whether a port of 127.0.0.1 can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        if is_free(port):
            return port
    raise EmbeddedError(f"No port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1} is free for an embedded server.")


def recorded_port(record: Path) -> int:
    """Return the port that a file holds while it is free, else one that is, which the file then holds."""
    try:
        wanted = int(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        wanted = 0
    port = wanted if wanted in PORTS and is_free(wanted) else free_port()
    record.write_text(str(port), encoding="ascii")
    return port


def end_child(process: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """Ask a child to end, and kill it when it does not in this time; of one that has ended nothing is asked."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_process(process: psutil.Process) -> None:
    """Ask a process to end, and kill it when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
