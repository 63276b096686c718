"""Computes the search entries of stored resources anew, while the server runs.

Needed after a search parameter was added or its rules changed. A resource that is written meanwhile gets its entries from
that write; the version number in the filter keeps reindexing from replacing them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne

from fhir_server.exchange import Resource
from fhir_server.store.database import Database, Document

PROGRESS: Final = "_reindex"
BATCH: Final = 500

Entries = Callable[[str, Resource], Mapping[str, Any]]
"""Tenant and resource to the search entries."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far reindexing is within one resource type."""

    type: str
    seen: int
    changed: int
    total: int


async def reindex(
    database: Database,
    entries: Entries,
    *,
    types: Iterable[str] = (),
    restart: bool = False,
    progress: Callable[[Step], None] = lambda _: None,
) -> int:
    """Bring the entries and the indexes of these types (none named: all) up to date; return how many resources changed.

    Where an earlier run was interrupted this one goes on, unless it shall `restart`.
    """
    states = database.collection(PROGRESS)
    existing = await database.existing_types()
    wanted = sorted(existing.intersection(types) if types else existing)
    if restart:
        await states.delete_many({"_id": {"$in": wanted}})
    changed = 0
    for type_ in wanted:
        state = await states.find_one({"_id": type_}) or {}
        if not state.get("done"):
            changed += await _reindex_type(database, entries, type_, str(state.get("after", "")), progress)
        await states.update_one({"_id": type_}, {"$set": {"done": True}}, upsert=True)
    await states.delete_many({"_id": {"$in": wanted}})
    return changed


async def _reindex_type(database: Database, entries: Entries, type_: str, after: str, progress: Callable[[Step], None]) -> int:
    await database.prepare(type_)
    collection = database.collection(type_)
    total = await collection.estimated_document_count()
    seen = await collection.count_documents({"_id": {"$lte": after}}) if after else 0
    changed = 0
    while documents := await collection.find({"_id": {"$gt": after}}).sort("_id", 1).limit(BATCH).to_list():
        updates = [update for document in documents if (update := _update(document, entries))]
        if updates:
            await collection.bulk_write(updates, ordered=False)
        after = documents[-1]["_id"]
        seen += len(documents)
        changed += len(updates)
        await database.collection(PROGRESS).update_one({"_id": type_}, {"$set": {"after": after}}, upsert=True)
        progress(Step(type_, seen, changed, max(total, seen)))
    return changed


def _update(document: Document, entries: Entries) -> UpdateOne | None:
    resource = document.get("r")
    if resource is None:
        return None
    computed = dict(entries(document["t"], resource))
    if computed == document.get("s"):
        return None
    return UpdateOne({"_id": document["_id"], "v": document["v"]}, {"$set": {"s": computed}})
