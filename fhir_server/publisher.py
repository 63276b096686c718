"""The process that tells what happens: it follows the change feed for the Redis stream, webhooks and extensions.

It runs beside those that answer requests, so that they lose nothing by it. Any number of servers may run one: of each
sink and task one process of all takes care (`fhir_server.store.positions`).
"""

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime
from typing import Any, Final

import uvloop
from pymongo.errors import PyMongoError

from fhir_server.beside import SINCE_VARIABLE
from fhir_server.config import Settings
from fhir_server.contexts import Contexts, opened
from fhir_server.events.consumer import ConsumerSink, Sink, resource_reader
from fhir_server.events.follow import Follower
from fhir_server.events.redis_stream import RedisStream
from fhir_server.events.webhook import webhooks
from fhir_server.extension import Task
from fhir_server.resources.blob_upkeep import keep_blobs
from fhir_server.store.database import Database
from fhir_server.store.feed import Sharing
from fhir_server.store.positions import Lease
from fhir_server.store.tasks import end
from fhir_server.web import logs
from fhir_server.web.handover import inherited_settings, stop_on_signals

NICENESS: Final = 5
"""Requests go first."""
PAUSE_SECONDS: Final = 5.0
"""How long a task rests when it has ended, or another process does it."""


async def publish(settings: Settings, since: datetime, stop: asyncio.Event) -> None:
    """Tell what happens until `stop` is set; sinks that are new begin with what was written `since` then."""
    async with opened(settings) as contexts:
        work = [follower.run() for follower in followers(contexts, since)]
        # What is loaded stays: there is no need to look through it for what could be freed, again and again.
        gc.collect()
        gc.freeze()
        tasks = (Task("blobs", keep_blobs), *contexts.extensions.tasks)
        work += [_perform(contexts.database, task, contexts) for task in tasks]
        async with _running(work):
            await stop.wait()


def followers(contexts: Contexts, since: datetime) -> list[Follower]:
    """Return those who follow the feed, by what the settings name and the extensions have registered."""
    database, namings, seconds = contexts.database, contexts.extensions.namings, contexts.settings.events_lease_seconds
    shared = Sharing(database)
    return [Follower(database, sink, namings, since=since, lease_seconds=seconds, shared=shared) for sink in _sinks(contexts)]


def _sinks(contexts: Contexts) -> list[Sink]:
    settings = contexts.settings
    read = resource_reader(contexts.of_tenant) if settings.events_resource else None
    sinks: list[Sink] = [ConsumerSink(consumer, contexts.of_tenant) for consumer in contexts.extensions.consumers]
    sinks += webhooks(settings, read)
    if settings.redis_url:
        sinks.append(RedisStream(settings.redis_url, settings.events_stream, kept=settings.events_kept, read=read))
    return sinks


@contextlib.asynccontextmanager
async def _running(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run all, and cancel them in the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await end(*tasks)


async def _perform(database: Database, task: Task, contexts: Contexts) -> None:
    """Do an extension's work, whenever no other process does where that matters."""
    lease = Lease(database, f"task:{task.name}", seconds=contexts.settings.events_lease_seconds)
    log = logs.get_logger().bind(task=task.name)
    while True:
        try:
            if task.everywhere:
                await task.work(contexts.of_tenant)
            elif await lease.acquire():
                await lease.hold(task.work(contexts.of_tenant))
                await lease.release()
        except (PyMongoError, TimeoutError) as error:
            log.warning("a task is interrupted and taken up again", reason=type(error).__name__)
        except Exception:
            log.exception("a task has failed and is taken up again")
        await asyncio.sleep(PAUSE_SECONDS)


def run() -> None:
    """Publish as a process of its own, with what the parent left in the environment."""
    since = datetime.fromisoformat(os.environ.pop(SINCE_VARIABLE))
    settings = inherited_settings()
    os.nice(NICENESS)
    logs.configure(settings)

    async def main() -> None:
        await publish(settings, since, stop_on_signals())

    uvloop.run(main())


if __name__ == "__main__":
    run()
