"""Keys that one resource holds for ever, such as a medical record number.

A claim is a document `{_id: "{tenant}/{key}", t: tenant, y: type, i: id, u: time}` of a collection of its own, made in the
transaction of the write that first needs it: the index of `_id` makes it unique, also where resources are sharded. It
outlives the resource, so a key is never held by a second one. Numbers that this server hands out are claimed in advance,
in blocks and by nobody in particular (`fhir_server.store.numbers`).
"""

from collections.abc import Iterable, Sequence

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError

from fhir_server.exchange import utc_now
from fhir_server.store.database import CLAIMS, Database, Document
from fhir_server.store.writes import Claim, VersionConflictError

DUPLICATE_KEY = 11000


async def lay(database: Database, claims: Sequence[Claim], session: AsyncClientSession) -> None:
    """Claim keys within a transaction.

    Raises:
        VersionConflictError: somebody else was faster; the transaction has to be aborted.
    """
    try:
        await database.collection(CLAIMS).insert_many([_document(claim) for claim in claims], session=session)
    except BulkWriteError as error:
        taken = next((found["index"] for found in error.details["writeErrors"] if found.get("code") == DUPLICATE_KEY), None)
        if taken is None:
            raise
        raise VersionConflictError(claims[taken].type, claims[taken].id) from error


async def reserve(database: Database, keys: Sequence[str]) -> list[str]:
    """Claim keys for whoever comes, and return those that were free."""
    await database.prepare_claims()
    try:
        await database.collection(CLAIMS).insert_many([_document(Claim(key)) for key in keys], ordered=False)
    except BulkWriteError as error:
        taken = {found["index"] for found in error.details["writeErrors"]}
        if error.details["writeConcernErrors"] or any(found["code"] != DUPLICATE_KEY for found in error.details["writeErrors"]):
            raise
        return [key for place, key in enumerate(keys) if place not in taken]
    return list(keys)


async def claimed(database: Database, keys: Iterable[str]) -> dict[str, Claim]:
    """Return which of the keys are claimed, with who holds them (nobody in particular: type and id are empty)."""
    found = database.collection(CLAIMS).find({"_id": {"$in": sorted(keys)}})
    return {document["_id"]: Claim(document["_id"], document["y"], document["i"]) async for document in found}


def _document(claim: Claim) -> Document:
    return {"_id": claim.key, "t": claim.key.partition("/")[0], "y": claim.type, "i": claim.id, "u": utc_now()}
