"""Authorization requests that wait for a person: to log in, to choose a patient, to consent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.security.authorization.collections import FLOWS, collection, new_secret
from fhir_server.store.database import Database, Document

LIFETIME: Final = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class Flow:
    """An authorization request that is valid, with what has been chosen so far."""

    id: str
    params: Mapping[str, str]
    """The parameters of the request, each once."""
    client: str
    scopes: tuple[str, ...]
    """What the client asked for and may have."""
    started: datetime
    login_since: datetime | None = None
    """A login before this time does not count (`prompt=login`, `max_age`)."""
    launch: str = ""
    """The value of the launch context; empty for a standalone launch."""
    tenant: str = ""
    """The organisation that the user has to be of; empty for every one that the client serves."""
    only_user: str = ""
    """The login name of the only user who may go on; empty for every one."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """What the launch context adds to the token response."""
    patient: str = ""
    encounter: str = ""
    encounter_chosen: bool = False
    """Whether the encounter has been chosen, perhaps that there is none."""


class Flows:
    """The requests of all browsers."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._flows = collection(database, FLOWS)
        self._now = now

    async def begin(self, **fields: Any) -> Flow:
        """Keep a request for twenty minutes."""
        now = self._now()
        document: Document = {
            "_id": new_secret(),
            "started": now,
            "expires": now + LIFETIME,
            "login_since": None,
            "launch": "",
            "tenant": "",
            "only_user": "",
            "context": {},
            "patient": "",
            "encounter": "",
            "encounter_chosen": False,
            **fields,
        }
        await self._flows.insert_one(document)
        return _flow(document)

    async def get(self, id_: str) -> Flow | None:
        """Return a request that still waits."""
        found = await self._flows.find_one({"_id": id_, "expires": {"$gt": self._now()}})
        return _flow(found) if found else None

    async def change(self, id_: str, **fields: Any) -> None:
        """Set what has been chosen."""
        await self._flows.update_one({"_id": id_}, {"$set": fields})

    async def finish(self, id_: str) -> bool:
        """Take a request off; False when that has been done."""
        return (await self._flows.delete_one({"_id": id_})).deleted_count == 1


def _flow(found: Document) -> Flow:
    return Flow(
        id=found["_id"],
        params=found["params"],
        client=found["client"],
        scopes=tuple(found["scopes"]),
        started=found["started"],
        login_since=found["login_since"],
        launch=found["launch"],
        tenant=found["tenant"],
        only_user=found["only_user"],
        context=found["context"],
        patient=found["patient"],
        encounter=found["encounter"],
        encounter_chosen=found["encounter_chosen"],
    )
