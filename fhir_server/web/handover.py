"""What the parent and its workers agree on: how settings and connections are handed over, and how all are told to stop."""

import asyncio
import json
import os
import signal
from typing import Final

from fhir_server.config import Settings

SETTINGS_VARIABLE: Final = "FHIR_WORKER_SETTINGS"
CHANNEL_VARIABLE: Final = "FHIR_WORKER_CHANNEL"
READY: Final = b"r"
"""A worker says that connections may come."""
CONNECTION: Final = b"c"
"""The parent sends a connection, whose descriptor comes with this byte."""
GRACE_SECONDS: Final = 10
"""How long requests that run may take to finish when the server stops."""


def inherited_settings() -> Settings:
    """Return the settings that the parent left in the environment, which then no longer has them; nothing else is read."""
    values = json.loads(os.environ.pop(SETTINGS_VARIABLE))
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]  # a parameter of pydantic-settings


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
