"""What runs while the server serves: workers, the watch over MongoDB, the announcement that it is ready."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import uvloop

from fhir_server import beside
from fhir_server.config import Settings
from fhir_server.store.embedded import EmbeddedMongod
from fhir_server.store.tasks import end
from fhir_server.store.valkey import EmbeddedValkey
from fhir_server.web import logs
from fhir_server.web.handover import stop_on_signals
from fhir_server.workers import Workers, WorkersFailedError

WATCH_SECONDS: Final = 0.2
ROTATE_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 10.0
LONGEST_PAUSE: Final = 5.0

GetReady = Callable[[], Coroutine[None, None, None]]
Prepare = Callable[[Settings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The servers that were launched for this one, not ready yet."""

    mongod: EmbeddedMongod | None = None
    valkey: EmbeddedValkey | None = None


def run(settings: Settings, listener: socket.socket, embedded: Embedded, prepare: Prepare | None) -> bool:
    """Serve on `listener` until SIGTERM or SIGINT; `prepare` is awaited first. False when the workers can not serve."""
    logs.configure(settings)
    try:
        uvloop.run(serve(settings, listener, embedded, prepare))
    except WorkersFailedError as error:
        logs.get_logger().error(str(error))
        return False
    return True


async def serve(settings: Settings, listener: socket.socket, embedded: Embedded, prepare: Prepare | None) -> None:
    """Serve until a signal comes."""
    began = datetime.now(UTC)
    stop = stop_on_signals()
    if not settings.allow_unauthenticated and not settings.asks_for_tokens:
        logs.get_logger().info(
            "no authentication is configured: listening on loopback only; FHIR_AUTH=builtin turns it on", host=settings.host
        )
    tasks: list[asyncio.Task[None]] = []
    prepared = asyncio.Event()

    async def get_ready() -> None:
        if embedded.mongod is not None:
            await asyncio.to_thread(embedded.mongod.wait)
            tasks.append(asyncio.create_task(_watch(embedded.mongod)))
        if embedded.valkey is not None:
            tasks.append(asyncio.create_task(beside.watch(embedded.valkey)))
        if prepare is not None:
            await prepare(settings)
        prepared.set()
        tasks.append(asyncio.create_task(_go_on(settings, began)))

    try:
        await (_serve_alone if settings.workers == 1 else _serve_by_workers)(settings, listener, stop, prepared, get_ready)
    finally:
        await end(*tasks)


async def _serve_alone(
    settings: Settings, listener: socket.socket, stop: asyncio.Event, _prepared: asyncio.Event, get_ready: GetReady
) -> None:
    # Imported here, since the parent of workers needs no application, and by now, since MongoDB takes its time to start.
    from fhir_server.web.process import serve as serve_here  # noqa: PLC0415

    if await _unless(stop, get_ready()):
        await serve_here(settings, listener, stop)


async def _serve_by_workers(
    settings: Settings, listener: socket.socket, stop: asyncio.Event, prepared: asyncio.Event, get_ready: GetReady
) -> None:
    """The workers start at once and listen when MongoDB is ready."""
    working = asyncio.create_task(Workers(settings, listener).run(stop, prepared))
    # They end by themselves only when they fail; then there is nothing to get ready for.
    working.add_done_callback(lambda _: stop.set())
    try:
        await _unless(stop, get_ready())
    finally:
        if not prepared.is_set():
            stop.set()
        await working


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
            try:
                mongod.restart_if_dead()
            except OSError as error:
                logger.error("it can not be started", reason=str(error))  # noqa: TRY400 -- the message says all
        if now - rotated > ROTATE_SECONDS:
            rotated = now
            mongod.rotate_log()


async def _go_on(settings: Settings, began: datetime) -> None:
    """Announce that the server answers. What happens is told from then on, so that it does not delay the start."""
    await _announce(settings)
    kept: list[Coroutine[None, None, None]] = []
    if settings.events:
        kept.append(beside.publish(settings, began))
    if settings.worker and settings.redis_url:
        kept.append(beside.work(settings))
    await asyncio.gather(*kept)


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
