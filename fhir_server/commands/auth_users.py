"""`fhir-server auth users`: the people who can log in."""

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from fhir_server.commands import REFUSED, Data, ended
from fhir_server.commands.auth_service import with_service
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.security.authorization.service import Service
    from fhir_server.security.authorization.users import User

users = typer.Typer(name="users", no_args_is_help=True, help="The people who can log in.")
Name = Annotated[str, typer.Argument(help="Login name; an email address is a good one.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role of the tenant's policy; may be repeated.")]
FhirUser = Annotated[
    str, typer.Option(help="The resource that the person is, such as Practitioner/1 or Patient/1.", show_default=False)
]
_REFERENCE: Final = re.compile(r"(Practitioner|PractitionerRole|Patient|RelatedPerson|Person)/[A-Za-z0-9\-.]{1,64}")


@users.command()
def add(
    name: Name,
    *,
    role: Roles = None,
    fhir_user: FhirUser = "",
    display: Annotated[str, typer.Option(help="The name that pages show.", show_default=False)] = "",
    tenant: Annotated[str, typer.Option(help="The organisation. [FHIR_DEFAULT_TENANT]", show_default=False)] = "",
    data: Data = None,
) -> None:
    """Add a user. The password is asked for, or read from standard input where that is no terminal."""
    from fhir_server.security.authorization.users import User, UserExistsError, folded  # noqa: PLC0415

    _check(name, fhir_user)
    hash_ = _new_password(folded(name))

    async def work(service: "Service") -> None:
        await service.users.add(
            User(
                folded(name),
                tenant or service.settings.default_tenant,
                display=display,
                roles=tuple(role or ()),
                fhir_user=fhir_user,
                password=hash_,
            )
        )

    try:
        with_service(data, work, "auth users add", f"user {name}")
    except UserExistsError as error:
        raise ended(str(error), REFUSED) from None
    console.print(f"Added {folded(name)}.", markup=False)


@users.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option(help="Only those of this organisation.", show_default=False)] = "",
    data: Data = None,
) -> None:
    """List the users."""

    async def work(service: "Service") -> "list[User]":
        return [user async for user in service.users.all(tenant)]

    table = Table("Name", "Tenant", "Roles", "Resource", "Second factor", "Active", box=None, pad_edge=False)
    for user in with_service(data, work):
        flags = ("yes" if user.totp else "no", "yes" if user.active else "no")
        table.add_row(user.name, user.tenant, ", ".join(user.roles), user.fhir_user, *flags)
    console.print(table)


@users.command("set")
def set_(
    name: Name,
    *,
    role: Roles = None,
    fhir_user: FhirUser = "",
    display: Annotated[str, typer.Option(help="The name that pages show.", show_default=False)] = "",
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Whether the user may log in.")] = None,
    data: Data = None,
) -> None:
    """Change a user; --inactive ends all that is open in their name."""
    _check(name, fhir_user)
    given = {"roles": role, "fhir_user": fhir_user, "display": display, "active": active}
    changes = {field: value for field, value in given.items() if value not in (None, "")}

    async def work(service: "Service") -> bool:
        user = await service.users.named(name)
        if user is None:
            return False
        await service.users.change(name, **changes)
        if active is False:
            await service.end_access(user)
        return True

    _known(with_service(data, work, "auth users set", f"user {name}"), name)


@users.command()
def password(name: Name, *, data: Data = None) -> None:
    """Set a new password, and log the user out everywhere."""
    from fhir_server.security.authorization.users import folded  # noqa: PLC0415

    hash_ = _new_password(folded(name))

    async def work(service: "Service") -> bool:
        user = await service.users.named(name)
        if user is not None:
            await service.users.change(name, password=hash_)
            await service.sessions.end_all_of(user.id)
        return user is not None

    _known(with_service(data, work, "auth users password", f"user {name}"), name)


@users.command()
def totp(
    name: Name,
    *,
    off: Annotated[bool, typer.Option("--off", help="Take the second factor away.")] = False,
    data: Data = None,
) -> None:
    """Ask a user for one-time passwords too. Prints the otpauth: URI that goes into their authenticator app."""
    from fhir_server.security.authorization import passwords  # noqa: PLC0415
    from fhir_server.security.authorization.users import TOTP_PURPOSE  # noqa: PLC0415

    secret = passwords.new_totp_secret()

    async def work(service: "Service") -> "User | None":
        user = await service.users.named(name)
        if user is None:
            return None
        sealed = b"" if off else await service.sealer.seal(secret.encode(), f"{TOTP_PURPOSE}:{user.id}")
        await service.users.change(name, totp=sealed)
        return replace(user, totp=sealed)

    user = with_service(data, work, "auth users totp", f"user {name}")
    _known(user is not None, name)
    if user is not None and not off:
        typer.echo(passwords.totp_uri(secret, user.name))


@users.command()
def remove(name: Name, *, data: Data = None) -> None:
    """Remove a user, and end all that is open in their name."""

    async def work(service: "Service") -> bool:
        user = await service.users.named(name)
        if user is not None:
            await service.end_access(user)
            await service.users.remove(name)
        return user is not None

    _known(with_service(data, work, "auth users remove", f"user {name}"), name)


def _check(name: str, fhir_user: str) -> None:
    if not name.strip():
        raise ended("A login name has at least one letter.", REFUSED)
    if fhir_user and not _REFERENCE.fullmatch(fhir_user):
        raise ended(f"{fhir_user!r} is no reference such as Practitioner/1 or Patient/1.", REFUSED)


def _known(found: bool, name: str) -> None:
    if not found:
        raise ended(f"There is no user {name!r}.", REFUSED)
    console.print("Done.")


def _new_password(name: str) -> str:
    from fhir_server.security.authorization import passwords  # noqa: PLC0415

    if sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given = sys.stdin.readline().rstrip("\n")
    try:
        return passwords.hashed(given, name)
    except passwords.WeakPasswordError as error:
        raise ended(str(error), REFUSED) from None
