"""What the commands of `fhir-server` share, and the groups of commands that have modules of their own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import ValidationError

from fhir_server.config import Settings
from fhir_server.terminal import console

T = TypeVar("T")

FAILED: Final = 1
REFUSED: Final = 2
NO_MONGODB: Final = 4

Data = Annotated[Path | None, typer.Option(help="Directory of the embedded MongoDB. [FHIR_DATA_DIR, ./data]", show_default=False)]


def settings_with(**given: Any) -> Settings:
    """Return the settings, with the options that were given; what is wrong with them ends the process with code 2."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in ("FHIR", *problem["loc"])).upper() if problem["loc"] else "Settings"
            console.print(f"[red]{name}[/]: {problem['msg']}. docs/settings.md describes it.")
        raise typer.Exit(REFUSED) from None


def ended(message: str, code: int) -> typer.Exit:
    """Say why the command ends; return what ends it, to be raised."""
    console.print(f"fhir-server: {message}", markup=False)
    return typer.Exit(code)


def with_mongodb(settings: Settings, work: Callable[[Settings], Awaitable[T]]) -> T:
    """Do the work on the MongoDB of the settings, or on the embedded one, also while a server runs on it."""
    from fhir_server.main import mongodb_shared  # noqa: PLC0415 -- it takes long to import
    from fhir_server.store.embedded import EmbeddedError  # noqa: PLC0415

    async def main(found: Settings) -> T:
        return await work(found)

    try:
        with mongodb_shared(settings) as found:
            return asyncio.run(main(found))
    except EmbeddedError as error:
        raise ended(str(error), NO_MONGODB) from None
