"""What `fhir-server serve` is made of: an embedded MongoDB where none is configured, a socket, one or more workers.

One process does all when there is one worker. With more, the parent owns MongoDB and the socket, and keeps the workers
alive. Whatever happens to the parent, its children end with it.
"""

import asyncio
import contextlib
import ipaddress
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvloop

from fhir_server.config import Settings
from fhir_server.store.embedded import DataDirectoryInUseError, EmbeddedError, EmbeddedMongod, running_uri
from fhir_server.web import logs
from fhir_server.web.process import serve as serve_here
from fhir_server.web.process import stop_on_signals
from fhir_server.workers import Workers

OK: Final = 0
REFUSED: Final = 2
"""The settings can not be obeyed: an unprotected address, a port in use."""
DATA_IN_USE: Final = 3
NO_MONGODB: Final = 4

BIND_SECONDS: Final = 3.0
WATCH_SECONDS: Final = 0.2
ROTATE_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 10.0
LONGEST_PAUSE: Final = 5.0

Prepare = Callable[[Settings], Awaitable[None]]


class RefusedError(Exception):
    """The server does not start like this; the message says what to change."""


def serve(settings: Settings, *, prepare: Prepare | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; `prepare` runs when MongoDB is there, before requests do."""
    logs.configure(settings)
    try:
        refuse_unprotected(settings)
        with mongodb(settings) as (found, mongod), bind(settings) as listener:
            port = listener.getsockname()[1]
            uvloop.run(_serve(found.model_copy(update={"port": port}), listener, mongod, prepare))
    except RefusedError as error:
        return _say(error, REFUSED)
    except DataDirectoryInUseError as error:
        return _say(error, DATA_IN_USE)
    except EmbeddedError as error:
        return _say(error, NO_MONGODB)
    return OK


def _say(error: Exception, code: int) -> int:
    sys.stderr.write(f"fhir-server: {error}\n")
    return code


def refuse_unprotected(settings: Settings) -> None:
    """Raise RefusedError when everyone on a network could read and write everything."""
    if settings.allow_unauthenticated or _is_loopback(settings.host):
        return
    raise RefusedError(
        f"Refusing to listen on {settings.host}: no authentication is configured, so everyone who reaches that address "
        "could read and write all data. Listen on 127.0.0.1 (FHIR_HOST or --host), or, where something in front of the "
        "server authenticates, set FHIR_ALLOW_UNAUTHENTICATED=true."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def mongodb(settings: Settings) -> Iterator[tuple[Settings, EmbeddedMongod | None]]:
    """Yield settings that name a MongoDB: the one that is configured, or an embedded one that runs meanwhile."""
    if settings.mongodb_uri:
        yield settings, None
        return
    with EmbeddedMongod(settings.data_dir, cache_mb=settings.mongodb_cache_mb) as mongod:
        yield settings.model_copy(update={"mongodb_uri": mongod.uri}), mongod


@contextlib.contextmanager
def mongodb_shared(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a MongoDB, for work beside a server: its embedded one where it runs, else one of our own."""
    with contextlib.ExitStack() as stack:
        try:
            found, _ = stack.enter_context(mongodb(settings))
        except DataDirectoryInUseError:
            found = settings.model_copy(update={"mongodb_uri": running_uri(settings.data_dir)})
        yield found


@contextlib.contextmanager
def bind(settings: Settings) -> Iterator[socket.socket]:
    """Yield a socket that is bound but does not listen yet.

    Raises:
        RefusedError: the port is in use, also after the time that a server which was killed may take to end.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    deadline = time.monotonic() + BIND_SECONDS
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                listener.bind((settings.host, settings.port))
            except OSError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise RefusedError(
                    f"Can not listen on {settings.host}, port {settings.port}: {error.strerror}. "
                    "Choose another port with --port, or 0 for a free one."
                ) from error
            yield listener
            return


async def _serve(settings: Settings, listener: socket.socket, mongod: EmbeddedMongod | None, prepare: Prepare | None) -> None:
    stop = stop_on_signals()
    if not settings.allow_unauthenticated:
        logs.get_logger().info("no authentication is configured: listening on loopback only", host=settings.host)
    tasks = [asyncio.create_task(_watch(mongod))] if mongod else []
    try:
        if prepare is not None and not await _unless(stop, prepare(settings)):
            return
        tasks.append(asyncio.create_task(_announce(settings)))
        if settings.workers == 1:
            await serve_here(settings, listener, stop)
        else:
            await Workers(settings, listener).run(stop)
    finally:
        for task in tasks:
            task.cancel()


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Await the work; False when the server was asked to stop before it ended."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        stopping.cancel()
        working.result()
        return True
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return False


async def _watch(mongod: EmbeddedMongod) -> None:
    """Start `mongod` again when it has ended, and keep its log small."""
    logger = logs.get_logger()
    rotated = started = time.monotonic()
    pause = 0.0
    while True:
        await asyncio.sleep(WATCH_SECONDS + pause)
        now = time.monotonic()
        if mongod.pid == 0:
            pause = 0.0 if now - started > STEADY_SECONDS else min(LONGEST_PAUSE, pause * 2 or WATCH_SECONDS)
            started = now
            logger.error("the embedded MongoDB has ended and is started again", reason=mongod.reason())
            mongod.restart_if_dead()
        if now - rotated > ROTATE_SECONDS:
            rotated = now
            mongod.rotate_log()


async def _announce(settings: Settings) -> None:
    """Print the one line that standard output is for, as soon as the server answers."""
    while not await _answers(settings.host, settings.port):  # noqa: ASYNC110 -- it may be another process that begins to answer
        await asyncio.sleep(0.02)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Ready: {settings.base_url or f'http://{host}:{settings.port}/fhir'}", flush=True)  # noqa: T201 -- its purpose


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
