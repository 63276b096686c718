"""`fhir-server audit`: the trail of who did what (docs/security/audit.md)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fhir_server.commands import FAILED, REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.security.audit.upkeep import Verified
    from fhir_server.store.database import Database

T = TypeVar("T")
audit = typer.Typer(name="audit", no_args_is_help=True, help="The trail of who did what, also while the server runs.")


def _with_database(data: Path | None, work: "Callable[[Database], Awaitable[T]]") -> T:
    from fhir_server.search.index import index_models  # noqa: PLC0415 -- they take long to import
    from fhir_server.store.database import Database, connect  # noqa: PLC0415

    async def main(found: Settings) -> T:
        async with connect(found.mongodb_uri, found) as client:
            return await work(Database(client[found.mongodb_database], found, index_models))

    return with_mongodb(settings_with(data_dir=data), main)


@audit.command()
def verify(
    *,
    tenant: Annotated[str, typer.Option(help="Only that of this tenant.", show_default=False)] = "",
    heads: Annotated[
        Path | None,
        typer.Option(
            help="File that remembers how far the trail went: it is compared with, then written. Keep it elsewhere.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Look whether anything in the audit trail was changed, removed or inserted.

    Whether its very end was removed shows only by --heads, from the second time on.

    Exit codes: 0 it is whole, 1 it is not, 2 the file of --heads is none, 4 MongoDB does not start.
    """
    from fhir_server.security.audit.upkeep import Verification, read_heads, write_heads  # noqa: PLC0415

    try:
        expected = read_heads(heads) if heads else {}
    except ValueError:
        raise ended(f"{heads} is no file that this command wrote.", REFUSED) from None

    async def work(database: "Database") -> "Verified":
        return await Verification(database, tenant, expected).run()

    found = _with_database(data, work)
    for problem in found.problems:
        console.print(problem, markup=False, soft_wrap=True)
    console.print(f"{found.records:,} events in {found.batches:,} batches of {len(found.heads):,} chains.")
    if found.problems:
        raise ended("The audit trail is not as it was written.", FAILED)
    if heads:
        write_heads(heads, {**expected, **found.heads})


@audit.command()
def prune(*, data: Data = None) -> None:
    """Remove the months of the audit trail that ended more than FHIR_AUDIT_DAYS ago."""
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415
    from fhir_server.security.audit.upkeep import prune as remove  # noqa: PLC0415

    async def work(database: "Database") -> list[str]:
        async with commanded(database, "audit prune", about=f"{database.settings.audit_days} days are kept") as note:
            removed = await remove(database, database.settings.audit_days)
            note.result = ", ".join(removed) or "nothing is old enough"
            return removed

    removed = _with_database(data, work)
    console.print("Removed: " + (", ".join(removed) or "nothing is old enough") + ".")
