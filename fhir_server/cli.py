"""The command `fhir-server`.

Modules that take long to import are imported by the commands that need them.
"""

import asyncio
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_server import __version__
from fhir_server.commands import FAILED, REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.commands.audit import audit
from fhir_server.commands.auth import auth
from fhir_server.commands.blobs import blobs
from fhir_server.commands.delivery import delivery
from fhir_server.commands.duplicates import find_duplicates
from fhir_server.commands.extended import ExtendedGroup
from fhir_server.commands.keys import keys
from fhir_server.commands.merges import merges
from fhir_server.commands.tenants import tenants
from fhir_server.config import Settings
from fhir_server.terminal import BytesRead, console, progress_bar, show_findings, show_report

if TYPE_CHECKING:
    from fhir_server.loading.journal import Journal
    from fhir_server.loading.run import Report, Send

app = typer.Typer(
    name="fhir-server",
    cls=ExtendedGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A FHIR R4 server on MongoDB. Settings are FHIR_… environment variables or lines of a .env file (docs/settings.md); "
    "options override them. Without FHIR_MONGODB_URI the server runs a MongoDB of its own on the data directory.",
)
app.add_typer(audit)
app.add_typer(auth)
app.add_typer(blobs)
app.add_typer(delivery)
app.command()(find_duplicates)
app.command()(merges)
app.add_typer(keys)
app.add_typer(tenants)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fhir-server {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the options that come before the command."""
    del version


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [FHIR_HOST, 127.0.0.1]", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. [FHIR_PORT, 8080]", show_default=False)] = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(help="Server processes. [FHIR_WORKERS, 1]", show_default=False)] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Load the demonstration population first, where it is not there.")] = False,
    events: Annotated[
        bool | None,
        typer.Option("--events/--no-events", help="Tell what happens as events. [FHIR_EVENTS, yes]", show_default=False),
    ] = None,
) -> None:
    """Serve FHIR until Ctrl-C or SIGTERM.

    Prints one line on standard output, `Ready: http://127.0.0.1:8080/fhir`, as soon as requests are answered; logs go to
    standard error.

    Exit codes: 0 ended in order, 2 refused (settings, port in use), 3 another server uses the data directory, 4 MongoDB
    does not start.
    """
    from fhir_server.loading.demo import load_demo  # noqa: PLC0415
    from fhir_server.main import serve as run  # noqa: PLC0415

    async def prepare(found: Settings) -> None:
        await load_demo(found)

    settings = settings_with(host=host, port=port, data_dir=data, workers=workers, events=events)
    raise typer.Exit(run(settings, prepare=prepare if demo else None))


@app.command()
def load(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or directories that are searched for *.json, *.ndjson, *.xml (.gz).")
    ],
    *,
    base: Annotated[str, typer.Option(help="Send to this FHIR server instead of into the database.")] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the bearer token for --base. [FHIR_TOKEN is the token itself]", exists=True, dir_okay=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Transactions at a time.")] = 4,
    journal: Annotated[
        Path | None,
        typer.Option(help="File that remembers what is loaded. [load.journal in the data directory]", show_default=False),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Load also what the journal says is loaded.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="File for all failures, one JSON object a line.", show_default=False)
    ] = None,
    data: Data = None,
) -> None:
    """Load resources: NDJSON, Bundles or single resources, JSON or XML, gzip or not.

    Transactions and batches are processed as they are; all else is put under its id, a hundred resources a transaction,
    and where one is refused only that one is left out and reported. Interrupted, the same command goes on where it stood.

    Exit codes: 0 all is stored, 1 some is not (the report says what and why), 2 refused, 4 MongoDB does not start.
    """
    from fhir_server.fhir.outcome import FhirError  # noqa: PLC0415
    from fhir_server.loading.http import HttpTarget  # noqa: PLC0415
    from fhir_server.loading.journal import Journal  # noqa: PLC0415
    from fhir_server.loading.sources import find_files  # noqa: PLC0415

    settings = settings_with(data_dir=data)
    try:
        files = find_files(paths)
        token = token_file.read_text().strip() if token_file else os.environ.get("FHIR_TOKEN", "")
        target = HttpTarget(base, token) if base else None
    except (FileNotFoundError, ValueError) as error:
        raise ended(str(error), REFUSED) from None
    where = (
        base or f"{settings.mongodb_uri or settings.data_dir.absolute()} {settings.mongodb_database} {settings.default_tenant}"
    )
    try:
        with Journal(journal or settings.data_dir / "load.journal", where, again=again) as remembered:
            if target is not None:
                with closing(target):
                    done = asyncio.run(_load_files(files, target.send, remembered, jobs))
            else:
                done = with_mongodb(settings, lambda found: _load_into_engine(found, files, remembered, jobs))
    except FhirError as error:
        raise ended(f"{error} The same command goes on where this one stopped.", FAILED) from None
    show_report(done, report)
    raise typer.Exit(FAILED if done.failures else 0)


async def _load_into_engine(settings: Settings, files: list[Path], journal: "Journal", jobs: int) -> "Report":
    from fhir_server.loading.engine import engine_target  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415

    async with engine_target(settings) as target, commanded(target.database, "load") as note:
        report = await _load_files(files, target.send, journal, jobs)
        note.result = f"{report.stored.total()} resources stored, {len(report.failures)} failures"
        return report


async def _load_files(files: list[Path], send: "Send", journal: "Journal", jobs: int) -> "Report":
    from fhir_server.loading.run import load as run  # noqa: PLC0415

    read = BytesRead(files)
    with progress_bar(of_bytes=True) as bar:
        task = bar.add_task("Loading", total=read.total)
        return await run(
            files,
            send,
            journal,
            jobs=jobs,
            progress=lambda file, amount, so_far: bar.update(
                task, completed=read.add(file, amount), description=f"Loading (failed: {len(so_far.failures)})"
            ),
        )


@app.command()
def demo(
    *,
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed makes the same population.")] = 1,
    data: Data = None,
) -> None:
    """Load a realistic, made-up population: clinics, patients, their care and the messages to them."""
    from fhir_server.loading.demo import load_demo  # noqa: PLC0415

    async def work(found: Settings) -> int:
        with progress_bar() as bar:
            task = bar.add_task("Loading", total=None)
            return await load_demo(
                found, patients=patients, seed=seed, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )

    stored = with_mongodb(settings_with(data_dir=data), work)
    console.print(f"Loaded {stored:,} resources." if stored else "The population is there already.")


@app.command()
def reindex(
    *,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this resource type; may be repeated.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget how far an interrupted run came.")] = False,
    data: Data = None,
) -> None:
    """Compute search entries and indexes anew, while the server runs; interrupted, it goes on where it stood."""
    from fhir_server.fhir.definitions import RESOURCE_TYPES  # noqa: PLC0415

    types = type_ or []
    if unknown := sorted(set(types) - RESOURCE_TYPES):
        raise ended(f"{', '.join(unknown)}: not a resource type of FHIR R4 (names are case-sensitive).", REFUSED)
    changed = with_mongodb(settings_with(data_dir=data), lambda found: _reindex(found, types, restart=restart))
    console.print(f"Reindexed; {changed:,} resources had other entries before.")


async def _reindex(settings: Settings, types: list[str], *, restart: bool) -> int:
    from fhir_server.search.fill import fill  # noqa: PLC0415
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.search.reindex import Step  # noqa: PLC0415
    from fhir_server.search.vocabulary import WORDS  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415
    from fhir_server.store.database import Database, connect  # noqa: PLC0415

    with progress_bar() as bar:
        task = bar.add_task("Reindexing", total=None)

        def show(step: Step) -> None:
            bar.update(task, description=f"Reindexing {step.type}", completed=step.seen, total=step.total)

        base = settings.base_url or f"http://{settings.host}:{settings.port}/fhir"
        async with connect(settings.mongodb_uri, settings) as client:
            database = Database(client[settings.mongodb_database], settings, index_models, WORDS)
            async with commanded(database, "reindex", about=", ".join(types)) as note:
                changed = await fill(database, base, types=types, restart=restart, progress=show)
                note.result = f"{changed} resources had other entries"
                return changed


@app.command()
def doctor(*, data: Data = None) -> None:
    """Look at MongoDB, indexes and settings, and say how to mend what is wrong. Exit codes: 0 all is well, 1 it is not."""
    from fhir_server.doctor import Finding, examine  # noqa: PLC0415

    async def work(found: Settings) -> list[Finding]:
        return [finding async for finding in examine(found)]

    if not show_findings(with_mongodb(settings_with(data_dir=data), work)):
        raise typer.Exit(FAILED)


@app.command()
def capabilities(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("capability-statement.json"),
) -> None:
    """Write the CapabilityStatement that a server with default settings gives at /fhir/metadata."""
    from fhir_server.engine import operation_entries  # noqa: PLC0415
    from fhir_server.fhir.codec import encode  # noqa: PLC0415
    from fhir_server.interactions.capabilities import statement  # noqa: PLC0415
    from fhir_server.search.registry import BUILTIN  # noqa: PLC0415

    default = Settings.model_construct()
    file.write_bytes(encode(statement(default, operation_entries(), BUILTIN, ""), pretty=True) + b"\n")
    console.print(f"Wrote {file}.")


if __name__ == "__main__":
    app()
