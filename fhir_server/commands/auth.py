"""`fhir-server auth`: the built-in authorization server's users, clients and keys, also while it runs."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from fhir_server.commands import REFUSED, Data, ended
from fhir_server.commands.auth_clients import clients
from fhir_server.commands.auth_service import with_service
from fhir_server.commands.auth_users import users
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.security.authorization.keys import SigningKey
    from fhir_server.security.authorization.service import Service

auth = typer.Typer(
    name="auth",
    no_args_is_help=True,
    help="Users, clients and keys of the built-in authorization server (FHIR_AUTH=builtin), also while it runs.",
)
keys = typer.Typer(name="keys", no_args_is_help=True, help="The keys that tokens are signed with.")
auth.add_typer(users)
auth.add_typer(clients)
auth.add_typer(keys)

KEY_ID = 43
"""Letters of a SHA-256 thumbprint: https://www.rfc-editor.org/rfc/rfc7638."""


@keys.command("list")
def list_(*, data: Data = None) -> None:
    """List the keys that are published."""

    async def work(service: "Service") -> "tuple[SigningKey, ...]":
        return await service.keys.all()

    # A key id that is cut could be no other command's argument.
    columns = ("Number", Column("Key id", overflow="fold", no_wrap=True, min_width=KEY_ID), "Signs from", "Published until")
    table = Table(*columns, box=None, pad_edge=False)
    for key in with_service(data, work):
        table.add_row(str(key.number), key.kid, f"{key.signs_from:%F %T}Z", f"{key.retires:%F %T}Z" if key.retires else "")
    console.print(table)


@keys.command()
def rotate(
    *,
    after: Annotated[int, typer.Option(min=0, help="Minutes until the new key signs; until then it is only published.")] = 10,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="The old keys are good no more at once, nor is any token that they signed.")
    ] = False,
    data: Data = None,
) -> None:
    """Make a new key. The old ones stay published until the last token that they signed has expired."""

    async def work(service: "Service") -> "SigningKey":
        return await service.keys.rotate(after=timedelta(minutes=after), revoke=revoke)

    made = with_service(data, work, "auth keys rotate", "all other keys are revoked" if revoke else "")
    console.print(f"Key {made.kid} signs from {made.signs_from:%F %T}Z.", markup=False)


@auth.command()
def launch(
    app: Annotated[str, typer.Argument(help="The client id of the app.")],
    *,
    patient: Annotated[str, typer.Option(help="The id of the patient that is open.", show_default=False)] = "",
    encounter: Annotated[str, typer.Option(help="The id of the visit that is open.", show_default=False)] = "",
    user: Annotated[str, typer.Option(help="The login name of the only user who may go on.", show_default=False)] = "",
    tenant: Annotated[str, typer.Option(help="The organisation. [FHIR_DEFAULT_TENANT]", show_default=False)] = "",
    data: Data = None,
) -> None:
    """Print the URL that launches an app as an EHR does, good once within ten minutes."""
    from fhir_server.security.authorization.launches import Launch  # noqa: PLC0415
    from fhir_server.security.authorization.launching import launch_uri  # noqa: PLC0415
    from fhir_server.security.authorization.users import folded  # noqa: PLC0415

    async def work(service: "Service") -> str:
        client = await service.clients.get(app)
        if client is None or not client.launch_url:
            return ""
        made = Launch(tenant or service.settings.default_tenant, patient, encounter, client.id, folded(user))
        return launch_uri(client, service.place.base, await service.launches.new(made))

    url = with_service(data, work, "auth launch", f"client {app}")
    if not url:
        raise ended(f"There is no client {app!r} with a launch URL.", REFUSED)
    typer.echo(url)
