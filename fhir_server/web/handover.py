"""What the parent and its workers agree on: how settings and connections are handed over, and how all are told to stop."""

import asyncio
import signal
from typing import Final

SETTINGS_VARIABLE: Final = "FHIR_WORKER_SETTINGS"
CHANNEL_VARIABLE: Final = "FHIR_WORKER_CHANNEL"
READY: Final = b"r"
"""A worker says that connections may come."""
CONNECTION: Final = b"c"
"""The parent sends a connection, whose descriptor comes with this byte."""
GRACE_SECONDS: Final = 10
"""How long requests that run may take to finish when the server stops."""


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
