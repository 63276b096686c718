"""`fhir-server merges`: merges of patients that are under way, brought to their end."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_server.commands import FAILED, Data, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console, progress_bar

if TYPE_CHECKING:
    from fhir_server.store.merges import Merge


def merges(
    *,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for those that another process works on.")] = 60,
    data: Data = None,
) -> None:
    """Bring merges of patients to their end, where no server runs that would do so.

    Exit codes: 0 no merge is half done, 1 another process is still at one, 4 MongoDB does not start.
    """
    worked, left = with_mongodb(settings_with(data_dir=data), lambda found: _finish(found, wait))
    states = Counter(merge.state for merge in left)
    console.print(
        f"Worked on {worked:,}; {states['running']:,} are under way, and of {states['settling']:,} it is still to be looked for"
        " what was written in the moment of the merge (a server does that, or this command in two minutes)."
    )
    if states["running"]:
        raise typer.Exit(FAILED)


async def _finish(settings: Settings, seconds: int) -> "tuple[int, list[Merge]]":
    from fhir_server.loading.engine import engine_target  # noqa: PLC0415 -- they take long to import
    from fhir_server.operations.merge.finishing import finish_due  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415
    from fhir_server.store.merges import Merges  # noqa: PLC0415

    async with engine_target(settings) as target, commanded(target.database, "merges") as note:
        database = target.database
        worked = 0
        with progress_bar() as bar:
            task = bar.add_task("Merging", total=None)
            for _ in range(seconds + 1):
                worked += await finish_due(database, target.context)
                left = await Merges(database).unfinished()
                bar.update(task, description=f"Merging ({worked:,} worked on)", completed=worked, total=worked + len(left))
                if not any(merge.state == "running" for merge in left):
                    break
                await asyncio.sleep(1)
        note.result = f"worked on {worked}"
        return worked, left
