"""`fhir-server worker` and `fhir-server dispatcher`: the processes behind the server, where `serve` does not run them itself."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from fhir_server.commands import NO_MONGODB, REFUSED, Data, ended, settings_with
from fhir_server.config import Settings

delivery = typer.Typer()


@delivery.command()
def worker(
    *,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Pieces of work at once. [FHIR_WORKER_THREADS, 16]", show_default=False)
    ] = None,
    data: Data = None,
) -> None:
    """Do queued work, such as the sending of notifications, until Ctrl-C or SIGTERM; any number of workers may run.

    Needs FHIR_REDIS_URL, or the embedded Valkey of a server that runs on the same data directory.
    """
    from fhir_server.web import logs  # noqa: PLC0415 -- it takes long to import
    from fhir_server.worker import work  # noqa: PLC0415

    with _connected(settings_with(data_dir=data, worker_threads=threads)) as settings:
        logs.configure(settings)
        work(settings)


@delivery.command()
def dispatcher(*, data: Data = None) -> None:
    """Follow what is written, tell it as events, and queue what is due, until Ctrl-C or SIGTERM.

    `serve` does the same unless FHIR_EVENTS=false. Several may run: each thing is done by one of them, and goes on when that
    one has died. Needs FHIR_REDIS_URL, or the embedded Valkey of a server that runs on the same data directory.
    """
    from fhir_server.heartbeat import beat  # noqa: PLC0415 -- it takes long to import
    from fhir_server.publisher import publish  # noqa: PLC0415
    from fhir_server.web import logs  # noqa: PLC0415
    from fhir_server.web.handover import stop_on_signals  # noqa: PLC0415

    async def main(settings: Settings) -> None:
        beating = asyncio.create_task(beat(settings.heartbeat_file))
        await publish(settings, datetime.now(UTC), stop_on_signals())
        beating.cancel()

    with _connected(settings_with(data_dir=data)) as settings:
        logs.configure(settings)
        asyncio.run(main(settings))


@contextlib.contextmanager
def _connected(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a MongoDB and a Redis."""
    from fhir_server.main import mongodb_shared  # noqa: PLC0415 -- it takes long to import
    from fhir_server.store.embedded import EmbeddedError  # noqa: PLC0415
    from fhir_server.store.valkey import running_url  # noqa: PLC0415

    try:
        url = settings.redis_url or running_url(settings.data_dir)
    except EmbeddedError as error:
        raise ended(str(error), REFUSED) from None
    try:
        with mongodb_shared(settings.model_copy(update={"redis_url": url})) as found:
            yield found
    except EmbeddedError as error:
        raise ended(str(error), NO_MONGODB) from None
