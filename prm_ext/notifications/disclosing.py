"""Messages that were handed to a provider, in the audit trail: to whom, over which channel, about whom, and what came of it.

docs/security/audit.md. Neither addresses nor texts are recorded. It is recorded before the delivery goes on: whoever takes
up what a worker has left asks what became of it, and records that.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from pymongo.errors import PyMongoError

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.database import Document
from fhir_server.store.versions import Version
from prm_ext.notifications import machine
from prm_ext.notifications.channels.channel import Accepted, Outcome, Refused
from prm_ext.notifications.channels.console import NAME as CONSOLE
from prm_ext.notifications.planning import TYPE

PERSIST_SECONDS: Final = 60.0
_TAKEN: Final = 200
_NOT_TAKEN: Final = 422
_NOT_KNOWN: Final = 408
_PREFIX: Final = "Patient/"


async def note_disclosure(ctx: Context, found: Document, outcome: Outcome | None, version: Version | None) -> None:
    """Record what came of the last try of a delivery's message; None: that can not be known.

    `version` is that of the request, where it was read already. It is tried for as long as MongoDB may be away.

    Raises:
        FhirError, PyMongoError: it could not be recorded.
    """
    message = machine.message_of(found)
    if ctx.recorder is None or message is None or message["provider"] == CONSOLE:
        return
    version = version or await ctx.repo.current(TYPE, found["request"])
    request = (version.resource if version is not None else None) or {}
    status, text = _told(outcome)
    deadline = asyncio.get_running_loop().time() + PERSIST_SECONDS
    while True:
        try:
            await ctx.recorder.disclosed(
                ctx.tenant,
                message["id"],
                f"{TYPE}/{found['request']}",
                sorted(set(_patients(found, request))),
                channel=message["channel"],
                to=message["provider"],
                by=_requester(request),
                status=status,
                detail=f"try {len(message['tries'])}: {text}",
            )
        except (FhirError, PyMongoError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _told(outcome: Outcome | None) -> tuple[int, str]:
    if isinstance(outcome, Accepted):
        return _TAKEN, "accepted"
    if isinstance(outcome, Refused):
        return _NOT_TAKEN, f"refused as {outcome.failure}, {outcome.code}"
    return _NOT_KNOWN, "no answer" if outcome is not None else "not known whether it was taken"


def _requester(request: Resource) -> str:
    reference: str = request.get("requester", {}).get("reference", "")
    return "" if reference.startswith("#") else reference


def _patients(found: Document, request: Resource) -> Iterator[str]:
    for reference in (found["recipient"], request.get("subject", {}).get("reference", "")):
        if reference.startswith(_PREFIX):
            yield reference.split("/")[1]
