"""Servers that this process starts for itself: they end with it, and listen on loopback."""

import ctypes
import os
import random
import signal
import socket
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


def end_process(process: psutil.Process) -> None:
    """Ask a process to end, and kill it when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
