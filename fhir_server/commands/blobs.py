"""`fhir-server blobs`: the upkeep of binary data, also while the server runs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fhir_server.commands import FAILED, REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.contexts import Contexts

T = TypeVar("T")

blobs = typer.Typer(name="blobs", no_args_is_help=True, help="The upkeep of binary data, also while the server runs.")


@asynccontextmanager
async def _contexts(settings: Settings) -> "AsyncIterator[Contexts]":
    from fhir_server.contexts import Contexts  # noqa: PLC0415 -- it takes long to import
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.store.database import Database, connect  # noqa: PLC0415

    async with connect(settings.mongodb_uri, settings) as client:
        contexts = Contexts(Database(client[settings.mongodb_database], settings, index_models), settings)
        try:
            yield contexts
        finally:
            await contexts.blobs.close()


def _done(settings: Settings, work: Callable[[Settings], Awaitable[T]]) -> T:
    """Do the work; where store, scanner or keys are away, say so and end with code 1."""
    from fhir_server.fhir.outcome import FhirError  # noqa: PLC0415 -- it takes long to import

    try:
        return with_mongodb(settings, work)
    except FhirError as error:
        raise ended("; ".join(issue.diagnostics for issue in error.issues), FAILED) from None


@blobs.command()
def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    data: Data = None,
) -> None:
    """Remove content that no resource has referred to for long enough, and what is left of unfinished uploads."""

    async def work(settings: Settings) -> list[str]:
        from fhir_server.resources.blob_gc import collect, shown  # noqa: PLC0415 -- it takes long to import
        from fhir_server.security.audit.own import commanded  # noqa: PLC0415 -- the same

        async with _contexts(settings) as contexts:
            now = datetime.now(UTC)
            if dry_run:
                return list(shown(await collect(contexts.database, contexts.blobs, now, dry=True)))
            async with commanded(contexts.database, "blobs gc") as note:
                lines = list(shown(await collect(contexts.database, contexts.blobs, now, dry=False)))
                note.result = " ".join(lines)
                return lines

    for line in _done(settings_with(data_dir=data), work):
        console.print(("Dry run. " if dry_run else "") + line, highlight=False)


@blobs.command()
def verify(
    *,
    tenant: Annotated[str, typer.Option(help="Only of this tenant.", show_default=False)] = "",
    data: Data = None,
) -> None:
    """Read all content and compare it with its SHA-256. Exit codes: 0 all is as it was, 1 some is damaged or missing."""

    async def work(settings: Settings) -> tuple[int, int]:
        from fhir_server.blobs.verifying import verify as run  # noqa: PLC0415 -- it takes long to import

        seen = wrong = 0
        async with _contexts(settings) as contexts:
            async for checked in run(contexts.blobs, tenant):
                seen += 1
                if checked.problem:
                    wrong += 1
                    console.print(f"{checked.tenant}/{checked.sha256}: {checked.problem}", markup=False, highlight=False)
        return seen, wrong

    seen, wrong = _done(settings_with(data_dir=data), work)
    console.print(f"{seen:,} contents were read; {wrong:,} are damaged or missing.", highlight=False)
    if wrong:
        raise typer.Exit(FAILED)


@blobs.command()
def scan(*, data: Data = None) -> None:
    """Scan what was received while the ClamAV daemon was away, and has not been served since."""
    settings = settings_with(data_dir=data)
    if not settings.clamd:
        raise ended("FHIR_CLAMD names no ClamAV daemon.", REFUSED)

    async def work(found: Settings) -> tuple[int, int]:
        from fhir_server.security.audit.own import commanded  # noqa: PLC0415 -- it takes long to import

        async with _contexts(found) as contexts, commanded(contexts.database, "blobs scan") as note:
            scanned, infected = await contexts.blobs.scan_pending()
            note.result = f"{scanned} scanned, {infected} infected"
            return scanned, infected

    scanned, infected = _done(settings, work)
    console.print(f"{scanned:,} contents were scanned; {infected:,} are infected and quarantined.", highlight=False)
