"""Tenants: organisations whose data are kept apart.

A tenant is a document of the collection `_tenants`: `{_id: name, title, suspended, issuers, created}`. The default tenant
needs none.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pymongo.errors import DuplicateKeyError, PyMongoError

from fhir_server.exchange import utc_now
from fhir_server.fhir.outcome import FhirError, forbidden
from fhir_server.store.database import Database, Document

COLLECTION: Final = "_tenants"
REFRESH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation."""

    name: str
    title: str = ""
    suspended: bool = False
    issuers: tuple[str, ...] = ()
    """Only tokens of these issuers are for it; none named: those of every configured one."""
    created: datetime | None = None

    @staticmethod
    def of(document: Document) -> "Tenant":
        """Read a document."""
        return Tenant(
            document["_id"],
            document.get("title", ""),
            document.get("suspended", False),
            tuple(document.get("issuers", ())),
            document.get("created"),
        )


class TenantExistsError(Exception):
    """There is a tenant of that name."""


class TenantUnknownError(Exception):
    """There is no tenant of that name."""


@dataclass(slots=True)
class Tenants:
    """The tenants of a database; what is known of one is at most five seconds old."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Tenant | None]] = field(default_factory=dict)

    async def admit(self, name: str, issuer: str = "") -> None:
        """Let a request for a tenant in.

        Raises:
            FhirError: 403, it is not known, it is suspended, or the token is of an issuer that may not speak for it.
        """
        self._admit(name, await self._of(name), issuer)

    async def is_open(self, name: str) -> bool:
        """Tell whether a tenant is not suspended."""
        tenant = await self._of(name)
        return tenant is None or not tenant.suspended

    def admits_at_once(self, name: str, issuer: str = "") -> bool:
        """Tell whether a request is let in without asking anything; False: ask `admit`."""
        known = self._known.get(name)
        if known is None or self.clock() - known[0] >= REFRESH_SECONDS:
            return False
        try:
            self._admit(name, known[1], issuer)
        except FhirError:
            return False
        return True

    def _admit(self, name: str, tenant: Tenant | None, issuer: str) -> None:
        if tenant is None:
            if name != self.database.settings.default_tenant:
                raise forbidden("The token names a tenant that is not known here; `fhir-server tenants create` makes one.")
            return
        if tenant.suspended:
            raise forbidden("The tenant is suspended.")
        if issuer and tenant.issuers and issuer not in tenant.issuers:
            raise forbidden("The issuer of the token may not speak for this tenant.")

    async def _of(self, name: str) -> Tenant | None:
        known, now = self._known.get(name), self.clock()
        if known is not None and now - known[0] < REFRESH_SECONDS:
            return known[1]
        try:
            document = await self.database.collection(COLLECTION).find_one({"_id": name})
        except PyMongoError:
            if known is None:
                raise
            return known[1]
        found = Tenant.of(document) if document else None
        self._known[name] = (now, found)
        return found

    async def all(self) -> list[Tenant]:
        """Return the tenants that have been made, by name."""
        return [Tenant.of(document) async for document in self.database.collection(COLLECTION).find().sort("_id", 1)]

    async def create(self, name: str, title: str = "", issuers: Sequence[str] = ()) -> Tenant:
        """Make a tenant.

        Raises:
            TenantExistsError: there is one of that name.
        """
        members: dict[str, Any] = {
            "_id": name,
            "title": title,
            "suspended": False,
            "issuers": list(issuers),
            "created": utc_now(),
        }
        try:
            await self.database.collection(COLLECTION).insert_one(members)
        except DuplicateKeyError:
            raise TenantExistsError(name) from None
        return Tenant.of(members)

    async def suspend(self, name: str, *, suspended: bool = True) -> None:
        """Refuse all requests for a tenant, or let them in again; within five seconds every process does.

        Raises:
            TenantUnknownError: there is none of that name.
        """
        change: dict[str, Any] = {"$set": {"suspended": suspended}}
        upsert = name == self.database.settings.default_tenant
        result = await self.database.collection(COLLECTION).update_one({"_id": name}, change, upsert=upsert)
        if not result.matched_count and not upsert:
            raise TenantUnknownError(name)
