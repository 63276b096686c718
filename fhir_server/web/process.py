"""One process that answers requests: a client of MongoDB, the application, and uvicorn.

It listens itself where it is the only one. With `--workers N` the parent starts this module N times and hands each
accepted connection over in turn, so that the workers are equally busy; `run_worker` reads what the parent left it.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Generator
from typing import Final

import uvicorn
import uvloop
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.store.database import Document, connect
from fhir_server.web import logs
from fhir_server.web.app import create_app
from fhir_server.web.handover import CHANNEL_VARIABLE, GRACE_SECONDS, READY, inherited_settings, stop_on_signals
from fhir_server.web.metrics import PoolMonitor
from fhir_server.web.protocol import Protocol

STARTUP_FAILED: Final = 3
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than load balancers keep theirs (60 s), so that it is never we who close a connection under a request."""


class Server(uvicorn.Server):
    """uvicorn, except that signals are the business of the process and not of this class."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


class HandedServer(Server):
    """A server whose connections come through a channel (a Unix socket) from the process that accepts them."""

    def __init__(self, config: uvicorn.Config, channel: socket.socket) -> None:
        super().__init__(config)
        self._channel = channel
        self._opening: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 -- the signature is inherited
        """Start the application, then tell the parent that connections may come."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILED)
        self.servers = []
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._take)
        self._channel.send(READY)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and finish those that are open."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        await super().shutdown(sockets)

    def _take(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            # The parent is gone.
            asyncio.get_running_loop().remove_reader(self._channel)
            self.should_exit = True
        for descriptor in descriptors:
            task = asyncio.create_task(self._open(socket.socket(fileno=descriptor)))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # uvicorn's own call of it is ignored likewise
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


async def serve(settings: Settings, where: socket.socket, stop: asyncio.Event, *, handed: bool = False) -> None:
    """Answer requests until `stop` is set; then finish those that run, within a bounded time.

    `where` is a bound socket to listen on or, when connections are `handed` over, the channel that they come through.
    """
    monitor = PoolMonitor()
    async with connect(settings.mongodb_uri, settings, event_listeners=[monitor]) as client:
        config = _config(settings, client[settings.mongodb_database])
        server = HandedServer(config, where) if handed else Server(config)
        gc.collect()
        # What is loaded now stays: the collector need not look at it again and again.
        gc.freeze()
        tasks = [asyncio.create_task(_exit_on(stop, server)), asyncio.create_task(_publish(monitor))]
        try:
            await server.serve(None if handed else [where])
        finally:
            for task in tasks:
                task.cancel()


def _config(settings: Settings, database: AsyncDatabase[Document]) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings, database),
        http=Protocol,
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


def run_worker() -> None:
    """Serve as one of several workers, with the settings and the channel that the parent left in the environment."""
    settings = inherited_settings()
    logs.configure(settings)

    async def main() -> None:
        with socket.socket(fileno=int(os.environ.pop(CHANNEL_VARIABLE))) as channel:
            await serve(settings, channel, stop_on_signals(), handed=True)

    uvloop.run(main())


if __name__ == "__main__":
    run_worker()
