"""`fhir-server auth clients`: the apps and backend services that may ask for tokens."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fhir_server.commands import REFUSED, Data, ended
from fhir_server.commands.auth_service import with_service
from fhir_server.terminal import console

if TYPE_CHECKING:
    from fhir_server.security.authorization.clients import AuthMethod, Client
    from fhir_server.security.authorization.service import Service

clients = typer.Typer(name="clients", no_args_is_help=True, help="The apps and backend services that may ask for tokens.")
Id = Annotated[str, typer.Argument(help="The client id.")]


@clients.command()
def add(
    id_: Id,
    *,
    name: Annotated[str, typer.Option(help="The name that people see. [the client id]", show_default=False)] = "",
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where people are sent back to, to the letter; may be repeated.")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="The widest scopes that it may get, separated by spaces.")
    ] = "openid fhirUser launch launch/patient launch/encounter offline_access online_access patient/*.rs",
    secret: Annotated[bool, typer.Option("--secret", help="It can keep a secret; one is made and printed.")] = False,
    jwks: Annotated[Path | None, typer.Option(help="File with its public keys (JWK Set), for private_key_jwt.")] = None,
    jwks_uri: Annotated[str, typer.Option(help="URL of its public keys, for private_key_jwt.", show_default=False)] = "",
    backend: Annotated[bool, typer.Option("--backend", help="A backend service, which nobody logs in for.")] = False,
    launch_url: Annotated[str, typer.Option(help="Where a launch from the EHR begins.", show_default=False)] = "",
    trusted: Annotated[bool, typer.Option("--trusted", help="Our own: nobody is asked for consent.")] = False,
    introspects: Annotated[bool, typer.Option("--introspects", help="A resource server: it may introspect tokens.")] = False,
    launches: Annotated[bool, typer.Option("--launches", help="An EHR: it may make launch contexts.")] = False,
    tenant: Annotated[
        str, typer.Option(help="The organisation; * for the people of every one. [FHIR_DEFAULT_TENANT]", show_default=False)
    ] = "",
    data: Data = None,
) -> None:
    """Add a client. Without --secret and keys it is public, as apps in browsers and on phones are."""
    from fhir_server.security.authorization.clients import Client, ClientExistsError  # noqa: PLC0415
    from fhir_server.security.authorization.collections import digest, new_secret  # noqa: PLC0415

    method = _method(secret=secret, keys=bool(jwks or jwks_uri), backend=backend)
    uris, scopes = _checked(redirect_uri or [], scope.split(), launch_url, backend=backend)
    made = new_secret() if secret else ""
    fields: dict[str, Any] = {
        "name": name or id_,
        "auth_method": method,
        "secret": digest(made) if made else "",
        "redirect_uris": uris,
        "scopes": scopes,
        "grant_types": ("client_credentials",) if backend else ("authorization_code", "refresh_token"),
        "jwks": _key_set(jwks) if jwks else None,
        "jwks_uri": jwks_uri,
        "launch_url": launch_url,
        "trusted": trusted,
        "introspects": introspects,
        "launches": launches,
    }

    async def work(service: "Service") -> None:
        await service.clients.add(Client(id_, tenant or service.settings.default_tenant, **fields))

    try:
        with_service(data, work, "auth clients add", f"client {id_}")
    except ClientExistsError as error:
        raise ended(str(error), REFUSED) from None
    console.print(f"Added {id_}." + (" Its secret, which is shown only now:" if made else ""), markup=False)
    if made:
        typer.echo(made)


@clients.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option(help="Only those of this organisation.", show_default=False)] = "",
    data: Data = None,
) -> None:
    """List the clients."""

    async def work(service: "Service") -> "list[Client]":
        return [client async for client in service.clients.all(tenant)]

    table = Table("Client id", "Name", "Tenant", "Authentication", "Scopes", "Active", box=None, pad_edge=False)
    for client in with_service(data, work):
        active = "yes" if client.active else "no"
        table.add_row(client.id, client.name, client.tenant, client.auth_method, " ".join(client.scopes), active)
    console.print(table)


@clients.command()
def secret(id_: Id, *, data: Data = None) -> None:
    """Give a client a new secret, which is printed; the old one is good no more."""
    from fhir_server.security.authorization.collections import digest, new_secret  # noqa: PLC0415

    made = new_secret()

    async def work(service: "Service") -> bool:
        client = await service.clients.get(id_)
        if client is None or client.auth_method != "client_secret_basic":
            return False
        return await service.clients.change(id_, secret=digest(made))

    if not with_service(data, work, "auth clients secret", f"client {id_}"):
        raise ended(f"There is no client {id_!r} that has a secret.", REFUSED)
    typer.echo(made)


@clients.command()
def remove(id_: Id, *, data: Data = None) -> None:
    """Remove a client, and end all access that it was given."""

    async def work(service: "Service") -> bool:
        await service.grants.revoke_where(client=id_)
        return await service.clients.remove(id_)

    if not with_service(data, work, "auth clients remove", f"client {id_}"):
        raise ended(f"There is no client {id_!r}.", REFUSED)
    console.print("Done.")


def _method(*, secret: bool, keys: bool, backend: bool) -> "AuthMethod":
    if secret and keys:
        raise ended("A client has a secret or keys, not both.", REFUSED)
    if backend and not keys:
        raise ended("A backend service authenticates by its keys: name them with --jwks or --jwks-uri.", REFUSED)
    if keys:
        return "private_key_jwt"
    return "client_secret_basic" if secret else "none"


def _checked(uris: list[str], scopes: list[str], launch_url: str, *, backend: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from fhir_server.security.authorization.grantable import is_scope  # noqa: PLC0415
    from fhir_server.security.authorization.redirects import RedirectUriError, check_redirect_uri  # noqa: PLC0415

    if not uris and not backend:
        raise ended("An app needs at least one --redirect-uri.", REFUSED)
    unknown = [scope for scope in scopes if not is_scope(scope)]
    if unknown:
        raise ended(f"{unknown[0]!r} is no scope that this server knows.", REFUSED)
    try:
        for uri in (*uris, *([launch_url] if launch_url else [])):
            check_redirect_uri(uri)
    except RedirectUriError as error:
        raise ended(str(error), REFUSED) from None
    return tuple(uris), tuple(scopes)


def _key_set(file: Path) -> dict[str, Any]:
    from fhir_server.security.authorization.client_keys import checked_key_set  # noqa: PLC0415

    try:
        return dict(checked_key_set(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise ended(f"{file}: {error}", REFUSED) from None
