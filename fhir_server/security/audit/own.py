"""What operators do at the command line, and what the server does by itself, in the trail: docs/security/audit.md."""

import getpass
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from fhir_server.security.audit.record import COMMAND, Record
from fhir_server.security.audit.trail import Trail
from fhir_server.store.database import Database

PROGRAM: Final = "fhir-server"


@dataclass(slots=True)
class Note:
    """What a command says of itself in the end: numbers, no content."""

    result: str = ""


@asynccontextmanager
async def commanded(
    database: Database, command: str, *, tenant: str = "", about: str = "", ends: bool = True
) -> AsyncIterator[Note]:
    """Record that a command of the operator begins, then what became of it, in the trail of a tenant (the default one).

    `about` names what it is done to; without `ends` its end is not recorded. Where no trail is kept nothing is done.

    Raises:
        FhirError: 503, the trail can not be written; then nothing is begun.
    """
    note = Note()
    if database.settings.audit_kept == "off":
        yield note
        return
    trail, kept_by = Trail(database), tenant or database.settings.default_tenant

    async def record(status: int, detail: str) -> None:
        found = Record(
            time.time_ns() // 1_000_000,
            COMMAND,
            command,
            status,
            principal=operator(),
            client=PROGRAM,
            address=socket.gethostname(),
            detail=detail,
            about=about,
        )
        await trail.record(kept_by, [found])

    await record(200, "begun")
    try:
        yield note
    except BaseException as error:
        await record(500, f"not done: {type(error).__name__}")
        raise
    if ends:
        await record(200, f"done: {note.result}" if note.result else "done")


def operator() -> str:
    """Return who runs this process, by the account of the operating system."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    by = os.environ.get("SUDO_USER", "")
    return f"{name} ({by})" if by and by != name else name
