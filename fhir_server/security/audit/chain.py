"""How the batches of the trail are bound to each other, so that a change, a removal or an insertion shows.

Each batch carries a message authentication code over itself and the code of the batch before it. The key is derived from a
key of the tenant that the master key wraps: who has the database alone can not forge one. Without a master key it is derived
from a secret of the database, and shows accidents and carelessness only.
"""

import hmac
from typing import Final

from fhir_server.store.database import Database

CODE: Final = "sha256"
START: Final = b""
"""What stands for the code before the first batch."""


class Authenticator:
    """Computes the codes of a tenant's batches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self, tenant: str) -> tuple[bytes, bytes]:
        """Return the key to write with, and its id; an empty id is that of the secret of the database."""
        generations = (await self._database.keyring.ready(tenant)).generations
        active = next((one for one in reversed(generations) if one.state == "active"), None)
        if active is None:
            return await self._own(tenant), b""
        return _derived(active.index_key, tenant=""), active.id

    async def known(self, tenant: str, id_: bytes) -> bytes | None:
        """Return the key of an id; None where it can not be had."""
        if not id_:
            return await self._own(tenant)
        generations = (await self._database.keyring.ready(tenant)).generations
        found = next((one for one in generations if one.id == id_), None)
        return _derived(found.index_key, tenant="") if found else None

    async def _own(self, tenant: str) -> bytes:
        return _derived(await self._database.secret("audit"), tenant)


def _derived(key: bytes, tenant: str) -> bytes:
    return hmac.digest(key, f"audit/{tenant}".encode(), CODE)


def code(key: bytes, place: str, previous: bytes, records: bytes) -> bytes:
    """Return the code of a batch."""
    return hmac.digest(key, b"%b\n%d\n%b%b" % (place.encode(), len(previous), previous, records), CODE)
