"""What runs beside the processes that answer requests: the embedded Valkey, the process that tells what happens, a worker."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from fhir_server.config import Settings
from fhir_server.store.children import DataDirectoryInUseError, EmbeddedError, end_child, end_with_parent
from fhir_server.store.valkey import EmbeddedValkey, running_url
from fhir_server.web import logs
from fhir_server.web.handover import SETTINGS_VARIABLE

SINCE_VARIABLE: Final = "FHIR_PUBLISHER_SINCE"
POLL_SECONDS: Final = 0.2
LONGEST_PAUSE: Final = 10.0
STEADY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0


@contextlib.contextmanager
def redis(settings: Settings) -> Iterator[tuple[Settings, EmbeddedValkey | None]]:
    """Yield settings that name a Redis: the one that is configured, or an embedded Valkey that is launched, not ready yet.

    Where events are off, or no Valkey can run here, they name none.
    """
    logs.configure(settings)
    if settings.redis_url or not settings.events:
        yield settings, None
        return
    with contextlib.ExitStack() as stack:
        valkey = None
        try:
            valkey = stack.enter_context(EmbeddedValkey(settings.data_dir))
            url = valkey.url
        except DataDirectoryInUseError:
            url = running_url(settings.data_dir)
        except EmbeddedError as error:
            logs.get_logger().warning("events reach no stream", reason=str(error))
            url = ""
        yield settings.model_copy(update={"redis_url": url}), valkey


async def watch(valkey: EmbeddedValkey) -> None:
    """Start Valkey again when it has ended, until cancelled."""
    pause, started = POLL_SECONDS, time.monotonic()
    while True:
        await asyncio.sleep(pause)
        if not valkey.restart_if_dead():
            continue
        logs.get_logger().error("the embedded Valkey has ended and is started again")
        now = time.monotonic()
        pause = POLL_SECONDS if now - started > STEADY_SECONDS else min(LONGEST_PAUSE, pause * 2)
        started = now


async def publish(settings: Settings, since: datetime) -> None:
    """Keep a process of `fhir_server.publisher` running until cancelled, then end it."""
    await _keep("fhir_server.publisher", settings, {SINCE_VARIABLE: since.isoformat()})


async def work(settings: Settings) -> None:
    """Keep a process of `fhir_server.worker` running until cancelled, then end it; what it has begun it may finish."""
    await _keep("fhir_server.worker", settings, {})


async def _keep(module: str, settings: Settings, more: dict[str, str]) -> None:
    environment = {**os.environ, SETTINGS_VARIABLE: settings.model_dump_json(), **more}
    pause = POLL_SECONDS
    while True:
        started = time.monotonic()
        process = _start(module, environment)
        try:
            while process.poll() is None:  # noqa: ASYNC110 -- it is another process
                await asyncio.sleep(POLL_SECONDS)
        finally:
            end_child(process, STOP_SECONDS)
        logs.get_logger().error("a process has ended and is started again", module=module, code=process.returncode)
        pause = POLL_SECONDS if time.monotonic() - started > STEADY_SECONDS else min(LONGEST_PAUSE, pause * 2)
        await asyncio.sleep(pause)


def _start(module: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 -- our own module
        [sys.executable, "-m", module],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Ctrl-C reaches the parent only, which then ends it in order.
        start_new_session=True,
        preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- it only calls prctl
    )
