"""EHR launch contexts: https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch.

An EHR has one made for the patient that is open in it and hands its value to the app, which brings it back in the
authorization request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from fhir_server.security.authorization.collections import LAUNCHES, collection, digest, new_secret
from fhir_server.store.database import Database, Document

LIFETIME: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Launch:
    """What was open in the EHR; whatever is empty was not."""

    tenant: str
    patient: str = ""
    encounter: str = ""
    client: str = ""
    """The only client that may use it; empty for every one."""
    user: str = ""
    """The login name of the only user who may use it; empty for every one of the organisation."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the token response: `intent`, `need_patient_banner`, `smart_style_url`, `fhirContext`."""

    @classmethod
    def from_document(cls, found: Document) -> "Launch":
        """Return the launch that MongoDB keeps."""
        names = ("tenant", "patient", "encounter", "client", "user", "context")
        return cls(**{name: found[name] for name in names})


class Launches:
    """Launch contexts that were made and not used yet."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._launches = collection(database, LAUNCHES)
        self._now = now

    async def new(self, launch: Launch) -> str:
        """Keep a launch context and return the value that stands for it, for ten minutes."""
        value = new_secret()
        document: Document = {
            "_id": digest(value),
            "tenant": launch.tenant,
            "patient": launch.patient,
            "encounter": launch.encounter,
            "client": launch.client,
            "user": launch.user,
            "context": dict(launch.context),
            "expires": self._now() + LIFETIME,
        }
        await self._launches.insert_one(document)
        return value

    async def get(self, value: str, client: str) -> Launch | None:
        """Return the launch context of a value, if this client may use it."""
        found = await self._launches.find_one(
            {"_id": digest(value), "client": {"$in": ["", client]}, "expires": {"$gt": self._now()}}
        )
        return Launch.from_document(found) if found else None

    async def use(self, value: str) -> bool:
        """Take a launch value as used; False when somebody was faster."""
        return (await self._launches.delete_one({"_id": digest(value)})).deleted_count == 1
