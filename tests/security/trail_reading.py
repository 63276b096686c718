"""What the audit trail holds, read past the interface."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.security.audit.record import Record, unpacked
from fhir_server.security.audit.trail import PARTITION


async def records(database: AsyncDatabase[dict[str, Any]], tenant: str) -> list[Record]:
    """Return all that is recorded of a tenant, in its order."""
    found: list[Record] = []
    for name in sorted(await database.list_collection_names()):
        if name.startswith(PARTITION):
            for document in await database[name].find({"t": tenant}).sort("_id", 1).to_list():
                found += unpacked(document["b"])
    return found
