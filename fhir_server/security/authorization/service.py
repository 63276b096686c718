"""The authorization server's parts, over one database.

The HTTP face asks it, the command line changes users, clients and keys through it, and a resource server in the same process
takes `issuer` as one of its issuers.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fhir_server.config import Settings
from fhir_server.exchange import utc_now
from fhir_server.security.audit.recorder import Recorder
from fhir_server.security.authorization import collections
from fhir_server.security.authorization.assertions import Assertions
from fhir_server.security.authorization.attempts import Attempts
from fhir_server.security.authorization.client_keys import ClientKeys
from fhir_server.security.authorization.clients import Clients
from fhir_server.security.authorization.fetching import fetch_json_bytes
from fhir_server.security.authorization.flows import Flows
from fhir_server.security.authorization.grants import Grants
from fhir_server.security.authorization.keys import SigningKeys
from fhir_server.security.authorization.launches import Launches
from fhir_server.security.authorization.place import Place
from fhir_server.security.authorization.revoked import Revoked
from fhir_server.security.authorization.sealing import Sealer
from fhir_server.security.authorization.sessions import Sessions
from fhir_server.security.authorization.users import User, Users
from fhir_server.security.tenants import Tenants
from fhir_server.store.database import Database


class Service:
    """All that the authorization server keeps."""

    def __init__(
        self, database: Database, settings: Settings, *, now: Callable[[], datetime] = utc_now, recorder: Recorder | None = None
    ) -> None:
        """`recorder` keeps the audit trail, where one is kept."""
        self.recorder = recorder
        self.database = database
        self.settings = settings
        self.now = now
        self.place = Place.of(settings)
        self.sealer = Sealer(database)
        self.tenants = Tenants(database)
        self.users = Users(database)
        self.clients = Clients(database)
        self.revoked = Revoked(database, now)
        self.grants = Grants(database, self.revoked, now)
        self.keys = SigningKeys(database, self.sealer, now)
        self.client_keys = ClientKeys(self._fetch, now)
        self.assertions = Assertions(database)
        self.launches = Launches(database, now)
        self.flows = Flows(database, now)
        self.sessions = Sessions(database, timedelta(minutes=settings.auth_session_minutes), now)
        self.attempts = Attempts(database, now)
        self._prepared = False

    async def prepare(self) -> None:
        """Make the indexes, once in this process."""
        if not self._prepared:
            await collections.prepare(self.database)
            self._prepared = True

    async def end_access(self, user: User) -> int:
        """End all sessions and grants of a user; return how many grants there were."""
        await self.sessions.end_all_of(user.id)
        return await self.grants.revoke_where(user=user.id)

    async def _fetch(self, url: str) -> bytes:
        return await fetch_json_bytes(url, private=self.settings.auth_private_jwks)


class BuiltinIssuer:
    """The authorization server as an issuer of tokens (`fhir_server.security.issuers.Issuer`), asked without HTTP."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def url(self) -> str:
        """The claim `iss` of its tokens."""
        return self._service.place.issuer

    async def keys(self, *, fresh: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return its public keys as JSON Web Keys."""
        return [key.public for key in await self._service.keys.all(fresh=fresh)]

    async def accepts(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether a token with these verified claims is still good: neither it nor its grant has been revoked."""
        return not await self._service.revoked.has(claims)
