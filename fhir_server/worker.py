"""The process that does queued work: a Celery worker whose threads wait for one event loop.

All of a piece of work happens in that loop, with one client of MongoDB; the threads only bound how much is taken from the
broker, and give it back where this process ends before it is done. A message may hold several pieces; of these no more are
done at once than there are threads.
"""

import asyncio
import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import structlog
import uvloop
from celery import Celery

from fhir_server.config import Settings
from fhir_server.contexts import Contexts, opened
from fhir_server.extension import Job
from fhir_server.heartbeat import beat
from fhir_server.jobs import URGENT, USUAL, celery_app, task_name
from fhir_server.resources.blob_upkeep import SCAN_JOB, scan
from fhir_server.web import logs
from fhir_server.web.handover import inherited_settings

NICENESS: Final = 5
"""Requests go first."""
PIECE_SECONDS: Final = 600.0
"""What takes longer is given up."""

Submit = Callable[[Coroutine[Any, Any, None]], None]


def work(settings: Settings) -> None:
    """Do what is queued until SIGTERM or SIGINT; what has begun is finished first."""
    # Celery warns of root for the sake of pickled messages; ours are JSON.
    warnings.filterwarnings("ignore", module="celery.platforms")
    with _loop(settings) as (contexts, submit):
        app = celery_app(settings.redis_url, settings.mongodb_database)
        places = asyncio.Semaphore(settings.worker_threads)
        for job in (Job(SCAN_JOB, scan), *contexts.extensions.jobs.values()):
            _register(app, job, contexts, submit, places)
        worker = app.Worker(
            pool="threads",
            concurrency=settings.worker_threads,
            queues=[URGENT, USUAL],
            loglevel="WARNING",
            hostname=f"{os.getpid()}@fhir",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()


def _register(app: Celery, job: Job, contexts: Contexts, submit: Submit, places: asyncio.Semaphore) -> None:
    async def do(piece: Sequence[str]) -> None:
        with structlog.contextvars.bound_contextvars(tenant=piece[0].partition("/")[0]):
            try:
                await job.run(contexts.of_tenant, *piece)
            except Exception as error:  # noqa: BLE001 -- what is due is in the database, and is queued again from there
                structlog.get_logger().error("a piece of work has failed", job=job.name, exc_info=error)

    async def in_turn(piece: Sequence[str]) -> None:
        async with places:
            await do(piece)

    async def do_all(pieces: Sequence[Sequence[str]]) -> None:
        await asyncio.gather(*(in_turn(piece) for piece in pieces))

    def run(*pieces: Sequence[str]) -> None:
        try:
            # What comes alone may be urgent, and has a thread of its own.
            submit(do(pieces[0]) if len(pieces) == 1 else do_all(pieces))
        except Exception as error:  # noqa: BLE001 -- the same
            structlog.get_logger().error("work has not come to an end", job=job.name, exc_info=error)

    app.task(name=task_name(job.name), ignore_result=True)(run)


@contextlib.contextmanager
def _loop(settings: Settings) -> Iterator[tuple[Contexts, Submit]]:
    """Yield contexts that live in an event loop in a thread of its own, and what runs a coroutine there to its end."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    thread.start()
    stack = contextlib.AsyncExitStack()

    def submit(coroutine: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            future.result(PIECE_SECONDS)
        except TimeoutError:
            future.cancel()
            raise

    try:
        contexts = asyncio.run_coroutine_threadsafe(stack.enter_async_context(opened(settings)), loop).result()
        beating = asyncio.run_coroutine_threadsafe(beat(settings.heartbeat_file), loop)
        yield contexts, submit
        beating.cancel()
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def run() -> None:
    """Work as a process of its own, with what the parent left in the environment."""
    settings = inherited_settings()
    os.nice(NICENESS)
    logs.configure(settings)
    work(settings)


if __name__ == "__main__":
    run()
