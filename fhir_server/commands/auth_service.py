"""The authorization server's service, for commands."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fhir_server.commands import FAILED, ended, settings_with, with_mongodb
from fhir_server.config import Settings

if TYPE_CHECKING:
    from fhir_server.security.authorization.service import Service

T = TypeVar("T")


def with_service(data: Path | None, work: "Callable[[Service], Awaitable[T]]", command: str = "", about: str = "") -> T:
    """Do the work on the records of the authorization server, also while it runs; a command is recorded in the audit trail."""
    from fhir_server.fhir.outcome import FhirError  # noqa: PLC0415 -- they take long to import
    from fhir_server.search.index import index_models  # noqa: PLC0415
    from fhir_server.security.audit.own import commanded  # noqa: PLC0415
    from fhir_server.security.authorization.service import Service  # noqa: PLC0415
    from fhir_server.store.database import Database, connect  # noqa: PLC0415

    async def main(found: Settings) -> T:
        async with connect(found.mongodb_uri, found) as client:
            service = Service(Database(client[found.mongodb_database], found, index_models), found)
            await service.prepare()
            try:
                if not command:
                    return await work(service)
                async with commanded(service.database, command, about=about) as note:
                    result = await work(service)
                    note.result = "nothing of that name" if result is False else ""
                    return result
            except FhirError as error:
                raise ended(str(error), FAILED) from None

    return with_mongodb(settings_with(data_dir=data), main)
