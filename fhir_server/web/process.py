"""One process that answers requests: a client of MongoDB, the application, and uvicorn on a socket that is given.

With `--workers N` the parent starts this module N times; `run_worker` then reads what the parent left it.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Generator

import uvicorn
import uvloop
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.store.database import Document, connect
from fhir_server.web import logs
from fhir_server.web.app import create_app
from fhir_server.web.metrics import PoolMonitor

SETTINGS_VARIABLE = "FHIR_WORKER_SETTINGS"
SOCKET_VARIABLE = "FHIR_WORKER_SOCKET"
GRACE_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep theirs (60 s), so that it is never we who close a connection under a request."""


class Server(uvicorn.Server):
    """uvicorn, except that signals are the business of the process and not of this class."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


async def serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Answer requests on `listener` until `stop` is set; then finish those that run, within a bounded time."""
    monitor = PoolMonitor()
    async with connect(settings.mongodb_uri, settings, event_listeners=[monitor]) as client:
        server = Server(_config(settings, client[settings.mongodb_database]))
        gc.collect()
        # What is loaded now stays: the collector need not look at it again and again.
        gc.freeze()
        tasks = [asyncio.create_task(_exit_on(stop, server)), asyncio.create_task(_publish(monitor))]
        try:
            await server.serve([listener])
        finally:
            for task in tasks:
                task.cancel()


def _config(settings: Settings, database: AsyncDatabase[Document]) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings, database),
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def _exit_on(stop: asyncio.Event, server: Server) -> None:
    await stop.wait()
    server.should_exit = True


async def _publish(monitor: PoolMonitor) -> None:
    while True:
        monitor.publish()
        await asyncio.sleep(1)


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def run_worker() -> None:
    """Serve as one of several workers, with the settings and the socket that the parent left in the environment."""
    values = json.loads(os.environ.pop(SETTINGS_VARIABLE))
    settings = Settings(_env_file=None, **values)  # type: ignore[call-arg]  # a parameter of pydantic-settings
    logs.configure(settings)

    async def main() -> None:
        with socket.socket(fileno=int(os.environ.pop(SOCKET_VARIABLE))) as listener:
            await serve(settings, listener, stop_on_signals())

    uvloop.run(main())


if __name__ == "__main__":
    run_worker()
