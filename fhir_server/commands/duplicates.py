"""`fhir-server find-duplicates`: patients that are probably one person, over the whole population."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_server.commands import REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console, progress_bar

if TYPE_CHECKING:
    from fhir_server.resources.find_duplicates import Step


def find_duplicates(
    *,
    tenant: Annotated[str, typer.Option(help="Only of this tenant. [FHIR_DEFAULT_TENANT, default]", show_default=False)] = "",
    restart: Annotated[bool, typer.Option("--restart", help="Forget how far an interrupted run came.")] = False,
    data: Data = None,
) -> None:
    """Look through all patients for those that are probably one person, and make a Task for a person to decide about each pair.

    Pairs about which somebody has decided are not asked about again. Interrupted, it goes on where it stood.
    """
    from fhir_server.matching import ModelError, models  # noqa: PLC0415 -- they take long to import

    settings = settings_with(data_dir=data)
    try:
        models(settings.match_models)
    except ModelError as error:
        raise ended(str(error), REFUSED) from None
    began = time.monotonic()
    before, step = with_mongodb(settings, lambda found: _find(found, tenant or found.default_tenant, restart=restart))
    rate = (step.seen - before) / max(time.monotonic() - began, 0.001)
    console.print(
        f"Looked at {step.seen:,} patients ({rate:,.0f}/s) and compared {step.compared:,} pairs: {step.found:,} are probably one "
        f"person, {step.made:,} of which are new (Tasks with code duplicate-review)."
    )


async def _find(settings: Settings, tenant: str, *, restart: bool) -> "tuple[int, Step]":
    """Return how many patients an earlier run had seen, and what came of it all."""
    from fhir_server.loading.engine import engine_target  # noqa: PLC0415 -- they take long to import
    from fhir_server.resources.find_duplicates import find_duplicates as run  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415

    seen: list[int] = []
    began = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("Comparing", total=None)

        def show(step: "Step") -> None:
            seen.append(step.seen)
            rate = (step.seen - seen[0]) / max(time.monotonic() - began, 0.001)
            text = f"Comparing ({rate:,.0f}/s, found {step.found:,})"
            bar.update(task, description=text, completed=step.seen, total=step.total)

        async with engine_target(settings) as target, commanded(target.database, "find-duplicates", tenant=tenant) as note:
            done = await run(await target.context(tenant), restart=restart, progress=show)
            note.result = f"{done.made} new Tasks"
    return seen[0], done
