"""Client assertions that were used: their `jti` is good once (RFC 7523, section 3; SMART Backend Services)."""

from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from fhir_server.security.authorization.collections import ASSERTIONS, collection, digest
from fhir_server.store.database import Database

LEEWAY = timedelta(minutes=2)
"""How long an id is remembered beyond the assertion's own time, for clocks that differ."""


class Assertions:
    """The ids of the assertions of all clients."""

    def __init__(self, database: Database) -> None:
        self._assertions = collection(database, ASSERTIONS)

    async def use(self, client: str, jti: str, expires: datetime) -> bool:
        """Take an id as used; False when this client has used it before."""
        try:
            await self._assertions.insert_one({"_id": digest(f"{client}\n{jti}"), "expires": expires + LEEWAY})
        except DuplicateKeyError:
            return False
        return True
