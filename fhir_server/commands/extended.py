"""The commands that extensions add to `fhir-server`: their modules are imported where one of these is asked for."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.main import get_command

from fhir_server.config import Settings


class ExtendedGroup(TyperGroup):
    """The server's own commands, and those of the extensions that the settings name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, for the help; where the settings or an extension are not in order those of the server alone."""
        return [*super().list_commands(ctx), *sorted(_added(complain=False))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None where there is none of this name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = _added(complain=True).get(cmd_name)
        return get_command(found()) if found is not None else None


def _added(*, complain: bool) -> dict[str, Any]:
    from fhir_server.extension import ExtensionError, load  # noqa: PLC0415 -- it takes long to import

    try:
        settings = Settings()  # type: ignore[call-arg]  # they come from the environment
        return {one.name: one.app for one in load(settings).commands.values()}
    except (ExtensionError, ValidationError) as error:
        if complain and isinstance(error, ExtensionError):
            typer.echo(f"fhir-server: {error}", err=True)
        return {}
