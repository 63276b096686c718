"""Computes the search entries of stored resources anew, while the server runs.

Needed after a search parameter was added or its rules changed. A resource that is written meanwhile gets its entries from
that write; the version number in the filter keeps reindexing from replacing them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pymongo import UpdateOne

from fhir_server.exchange import Resource
from fhir_server.search.indexes import replaced_indexes
from fhir_server.search.vocabulary import OLD_INDEX
from fhir_server.store.companions import Indexed
from fhir_server.store.database import Database, Document

PROGRESS: Final = "_reindex"
BATCH: Final = 500
OLD_INDEXES: Final = frozenset(
    {
        OLD_INDEX,
        *("t_1_s.phone_1", "t_1_s.email_1"),
        *(f"t_1_s.address-{part}_1{key}" for part in ("state", "country", "postalcode") for key in ("", "__id_1")),
    }
)
"""What other indexes do by now."""

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
            await _drop_old(database, type_)
        await states.update_one({"_id": type_}, {"$set": {"done": True}}, upsert=True)
    await states.delete_many({"_id": {"$in": wanted}})
    return changed


async def _reindex_type(database: Database, entries: Entries, type_: str, after: str, progress: Callable[[Step], None]) -> int:
    await database.prepare(type_)
    collection = database.collection(type_)
    total = await collection.estimated_document_count()
    seen = await collection.count_documents({"_id": {"$lte": after}}) if after else 0
    changed = 0
    while documents := await _batch(database, type_, after):
        computed = [(document, dict(entries(document["t"], document["r"]))) for document in documents if document.get("r")]
        await _accompany(database, type_, computed)
        updates = [_update(document, found) for document, found in computed if found != document.get("s")]
        if updates:
            await collection.bulk_write(updates, ordered=False)
        after = documents[-1]["_id"]
        seen += len(documents)
        changed += len(updates)
        await database.collection(PROGRESS).update_one({"_id": type_}, {"$set": {"after": after}}, upsert=True)
        progress(Step(type_, seen, changed, max(total, seen)))
    return changed


async def _batch(database: Database, type_: str, after: str) -> list[Document]:
    await database.keyring.ready_all()
    return await database.collection(type_).find({"_id": {"$gt": after}}).sort("_id", 1).limit(BATCH).to_list()


async def _accompany(database: Database, type_: str, computed: Iterable[tuple[Document, Mapping[str, Any]]]) -> None:
    by_tenant: dict[str, list[Indexed]] = {}
    for document, found in computed:
        by_tenant.setdefault(document["t"], []).append((type_, found))
    for tenant, resources in by_tenant.items():
        await database.accompany(tenant, resources)


def _update(document: Document, computed: Mapping[str, Any]) -> UpdateOne:
    return UpdateOne({"_id": document["_id"], "v": document["v"]}, {"$set": {"s": computed}})


async def _drop_old(database: Database, type_: str) -> None:
    """Drop what earlier versions needed, now that no resource is found by it any more."""
    present = await database.collection(type_).index_information()
    for name in (OLD_INDEXES | replaced_indexes(type_)).intersection(present):
        await database.collection(type_).drop_index(name)
