"""`fhir-server keys`: the keys of protected identifiers, also while the server runs."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from fhir_server.commands import FAILED, REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console, progress_bar

if TYPE_CHECKING:
    from fhir_server.search.reindex import Step
    from fhir_server.store.database import Database

T = TypeVar("T")

keys = typer.Typer(
    name="keys", no_args_is_help=True, help="Keys of identifiers that are encrypted in the database, also while the server runs."
)
Tenant = Annotated[str, typer.Option("--tenant", help="Only this tenant. [all that have keys]", show_default=False)]


def _with_database(data: Path | None, work: "Callable[[Database, Settings], Awaitable[T]]") -> T:
    from fhir_server.fhir.outcome import FhirError  # noqa: PLC0415 -- they take long to import
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.search.vocabulary import WORDS  # noqa: PLC0415
    from fhir_server.store.database import Database, connect  # noqa: PLC0415
    from fhir_server.store.master import MasterKeyError  # noqa: PLC0415

    async def main(found: Settings) -> T:
        async with connect(found.mongodb_uri, found) as client:
            return await work(Database(client[found.mongodb_database], found, index_models, WORDS), found)

    try:
        return with_mongodb(settings_with(data_dir=data), main)
    except MasterKeyError as error:
        raise ended(f"{error}.", REFUSED) from None
    except FhirError as error:
        raise ended(str(error), FAILED) from None


@keys.command()
def new() -> None:
    """Print a new master key, for FHIR_MASTER_KEY. It is not kept anywhere."""
    from fhir_server.store.master import new_master_key  # noqa: PLC0415

    typer.echo(new_master_key())


@keys.command(name="list")
def list_(*, data: Data = None) -> None:
    """Show the generations of keys of each tenant, and the master key that wraps them."""

    async def work(database: "Database", _: Settings) -> list[list[str]]:
        found = await database.keyring.generations()
        return [[one["t"], str(one["n"]), one["a"], one["m"], one["u"].date().isoformat()] for one in found]

    table = Table("Tenant", "Generation", "State", "Master key", "Made")
    for row in _with_database(data, work):
        table.add_row(*row)
    console.print(table)


@keys.command()
def rotate(*, tenant: Tenant = "", data: Data = None) -> None:
    """Give tenants new keys, and encrypt and index by them all that they have; interrupted, it goes on where it stood."""
    from fhir_server.search.rekey import rotate as run  # noqa: PLC0415

    changed = _with_database(data, lambda database, found: _each(database, found, tenant, run, "keys rotate"))
    console.print(f"Rotated; {changed:,} versions are encrypted with the new keys.")


@keys.command()
def apply(*, tenant: Tenant = "", data: Data = None) -> None:
    """Encrypt what is in clear although it is protected by now, after FHIR_PROTECTED_IDENTIFIERS has changed."""
    from fhir_server.search.rekey import apply as run  # noqa: PLC0415

    changed = _with_database(data, lambda database, found: _each(database, found, tenant, run, "keys apply"))
    console.print(f"Applied; {changed:,} versions had something in clear.")


@keys.command()
def rewrap(*, data: Data = None) -> None:
    """Wrap the keys of all tenants by the master key of today, so that those of before are not needed any more."""

    async def work(database: "Database", _: Settings) -> int:
        from fhir_server.security.audit.own import commanded  # noqa: PLC0415 -- it takes long to import

        async with commanded(database, "keys rewrap") as note:
            wrapped = await database.keyring.rewrap_all()
            note.result = f"{wrapped} generations"
            return wrapped

    console.print(f"Wrapped {_with_database(data, work):,} generations of keys anew.")


async def _each(database: "Database", settings: Settings, tenant: str, run: "Callable[..., Awaitable[int]]", command: str) -> int:
    """Run for a tenant, or for all that have keys; each finds it in its own audit trail."""
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415 -- it takes long to import

    base_url = settings.base_url.rstrip("/") or f"http://{settings.host}:{settings.port}/fhir"
    tenants = [tenant] if tenant else await database.keyring.tenants()
    with progress_bar() as bar:
        task = bar.add_task("Encrypting", total=None)

        def show(step: "Step") -> None:
            bar.update(task, description=f"Encrypting {step.type}", completed=step.seen)

        changed = 0
        for one in tenants:
            async with commanded(database, command, tenant=one) as note:
                versions = await run(database, one, base_url, progress=show)
                note.result = f"{versions} versions"
            changed += versions
        return changed
