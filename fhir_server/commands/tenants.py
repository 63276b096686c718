"""`fhir-server tenants`: organisations whose data are kept apart, also while the server runs."""

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer
from rich.table import Table

from fhir_server.commands import FAILED, REFUSED, Data, ended, settings_with, with_mongodb
from fhir_server.config import Settings
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.store.database import Database

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
tenants = typer.Typer(
    name="tenants", no_args_is_help=True, help="Organisations whose data are kept apart, also while the server runs."
)
Name = Annotated[str, typer.Argument(help="The tenant, as tokens name it: letters, digits, - and _.")]


def _with_database(
    data: Path | None,
    work: "Callable[[Database], Awaitable[T]]",
    command: str = "",
    name: str = "",
    told: Callable[[T], str] = lambda _: "",
) -> T:
    """Do the work; a command is recorded in the audit trail of the default tenant, with what is told of its result."""
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.search.vocabulary import WORDS  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415 -- they take long to import
    from fhir_server.store.database import Database, connect  # noqa: PLC0415

    async def main(found: Settings) -> T:
        async with connect(found.mongodb_uri, found) as client:
            database = Database(client[found.mongodb_database], found, index_models, WORDS)
            if not command:
                return await work(database)
            # Of the deletion of the default tenant itself nothing may remain, not even its record.
            ends = (command, name) != ("tenants delete", found.default_tenant)
            async with commanded(database, command, about=f"tenant {name}", ends=ends) as note:
                result = await work(database)
                note.result = told(result)
                return result

    return with_mongodb(settings_with(data_dir=data), main)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ended(f"{name!r} is no name of a tenant: 1 to 64 letters of A-Z, a-z, 0-9, - and _.", REFUSED)
    return name


@tenants.command()
def create(
    name: Name,
    *,
    title: Annotated[str, typer.Option(help="What people call it.", show_default=False)] = "",
    issuer: Annotated[
        list[str] | None, typer.Option(help="Only tokens of this issuer are for it; may be repeated.", show_default=False)
    ] = None,
    data: Data = None,
) -> None:
    """Make a tenant; from then on tokens may name it."""
    from fhir_server.security.tenants import TenantExistsError, Tenants  # noqa: PLC0415

    async def work(database: "Database") -> None:
        await Tenants(database).create(name, title, issuer or ())

    try:
        _with_database(data, work, "tenants create", _checked(name))
    except TenantExistsError:
        raise ended(f"There is a tenant {name} already.", REFUSED) from None
    console.print(f"Made the tenant {name}.", markup=False)


@tenants.command("list")
def list_(*, data: Data = None) -> None:
    """List the tenants that have been made, and what they are open to."""
    from fhir_server.security.tenants import Tenant, Tenants  # noqa: PLC0415

    async def work(database: "Database") -> list[Tenant]:
        return await Tenants(database).all()

    table = Table("Tenant", "Title", "State", "Issuers", "Made", box=None, pad_edge=False)
    for tenant in _with_database(data, work):
        made = f"{tenant.created:%F}" if tenant.created else ""
        table.add_row(
            tenant.name, tenant.title, "suspended" if tenant.suspended else "open", ", ".join(tenant.issuers) or "every", made
        )
    console.print(table)


@tenants.command()
def suspend(
    name: Name,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Let requests in again.")] = False,
    data: Data = None,
) -> None:
    """Refuse all requests for a tenant (403) within five seconds; its data stay."""
    from fhir_server.security.tenants import Tenants, TenantUnknownError  # noqa: PLC0415

    async def work(database: "Database") -> None:
        await Tenants(database).suspend(name, suspended=not resume)

    try:
        _with_database(data, work, "tenants resume" if resume else "tenants suspend", _checked(name))
    except TenantUnknownError:
        raise ended(f"There is no tenant {name}; `fhir-server tenants list` lists them.", REFUSED) from None
    console.print(f"{name} is {'open' if resume else 'suspended'}.", markup=False)


@tenants.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write: gzip, one JSON document a line.")],
    *,
    data: Data = None,
) -> None:
    """Write all that a tenant has to a file, history included; `tenants restore` brings it back.

    Suspend the tenant first for the state of one moment.
    """
    from fhir_server.security import archive  # noqa: PLC0415

    counts = _with_database(
        data, lambda database: archive.export(database, name, file), "tenants export", _checked(name), _documents
    )
    _show(counts)
    console.print(f"Wrote {sum(counts.values()):,} documents of {name} to {file}.", markup=False)


@tenants.command()
def restore(
    file: Annotated[Path, typer.Argument(help="File that `tenants export` wrote.", exists=True, dir_okay=False)],
    *,
    name: Annotated[str, typer.Option(help="Restore under this name. [that of the file]", show_default=False)] = "",
    data: Data = None,
) -> None:
    """Bring back what `tenants export` wrote. Exit codes: 0 all is there, 1 the file is cut short, 2 refused."""
    from fhir_server.security import archive  # noqa: PLC0415

    try:
        if name:
            _checked(name)
        about = name or "named in the file"
        counts = _with_database(
            data, lambda database: archive.restore(database, file, name), "tenants restore", about, _documents
        )
    except archive.ArchiveCutShortError as error:
        raise ended(str(error), FAILED) from None
    except archive.ArchiveError as error:
        raise ended(str(error), REFUSED) from None
    _show(counts)
    console.print(f"Restored {sum(counts.values()):,} documents.", markup=False)


@tenants.command()
def delete(
    name: Name,
    *,
    yes: Annotated[str, typer.Option("--yes", help="The name once more: nothing brings the data back.")] = "",
    data: Data = None,
) -> None:
    """Delete all that a tenant has, then look into every collection for what remains, and say so.

    The tenant is suspended first and stays so, lest late requests write again. Exit codes: 0 nothing remains, 1 something
    does, 2 refused.
    """
    from fhir_server.security import archive  # noqa: PLC0415

    if _checked(name) != yes:
        raise ended(f"This deletes everything of the tenant; repeat its name: --yes {name}", REFUSED)
    deleted, remaining = _with_database(
        data,
        lambda database: archive.delete_and_prove(database, name),
        "tenants delete",
        name,
        lambda found: f"{_documents(found[0])} deleted, {sum(found[1].values())} remain",
    )
    _show(deleted)
    if any(remaining.values()):
        _show({collection: number for collection, number in remaining.items() if number})
        raise ended(f"Something of {name} remains, as listed; requests were still running. Delete it again.", FAILED)
    console.print(
        f"Deleted {sum(deleted.values()):,} documents of {name}; none remains in any of {len(remaining)} collections.",
        markup=False,
    )


def _documents(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values())} documents"


def _show(counts: Mapping[str, int]) -> None:
    table = Table("Collection", "Documents", box=None, pad_edge=False)
    for collection, number in sorted(counts.items()):
        if number:
            table.add_row(collection, f"{number:,}")
    console.print(table)
