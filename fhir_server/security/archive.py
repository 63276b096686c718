"""All that a tenant has, as lines of JSON in a gzip file, and back.

The first line says what the file is, each other line holds one document of one collection:
`{"collection": …, "document": …}`, in MongoDB's canonical Extended JSON, so that dates and decimals come back as they were.
The last line holds the counts, by which a file that was cut short is known.
https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
"""

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from bson import json_util
from bson.codec_options import TypeRegistry
from pymongo.errors import BulkWriteError

from fhir_server.blobs.s3 import S3
from fhir_server.exchange import utc_now
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.security.tenants import COLLECTION as TENANTS
from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.keys import KEYS
from fhir_server.store.master import MasterKeyError

FORMAT: Final = "fhir-server tenant"
VERSION: Final = 1
BATCH: Final = 500
FILES: Final = "blobs.files"
CHUNKS: Final = "blobs.chunks"
"""The collections of GridFS, in this order for deletion: chunks first, by their files."""
_FIELDS: Final = ("t", "tenant", "metadata.tenant")
"""Members that name the tenant of a document, besides the start of its `_id`."""
_PLAIN: Final = CODEC_OPTIONS.with_options(type_registry=TypeRegistry())
"""Decimals stay those of BSON."""
_OPTIONS: Final = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)


class ArchiveError(Exception):
    """A file can not be restored; the message says why."""


class ArchiveCutShortError(ArchiveError):
    """A file ends too early."""


async def condition(database: Database, name: str, tenant: str) -> Document:
    """Return the condition that holds for the documents of a tenant in a collection."""
    if name != CHUNKS:
        return owned_by(tenant)
    files = database.collection(FILES).find(owned_by(tenant), {"_id": 1})
    return {"files_id": {"$in": [document["_id"] async for document in files]}}


def owned_by(tenant: str) -> Document:
    """Return the condition that holds for the documents of a tenant in every collection but that of chunks of files."""
    return {"$or": [*({name: tenant} for name in _FIELDS), {"_id": tenant}, {"_id": {"$gte": f"{tenant}/", "$lt": f"{tenant}0"}}]}


async def collections(database: Database) -> list[str]:
    """Return the names of all collections, those of no resource type included."""
    names = sorted(name for name in await database.mongodb.list_collection_names() if not name.startswith("system."))
    return sorted(names, key=lambda name: name == FILES)


async def export(database: Database, tenant: str, path: Path) -> Counter[str]:
    """Write all that a tenant has to a file; return how many documents of each collection.

    What others write meanwhile may or may not be in it: suspend the tenant first for a state of one moment.
    """
    counts: Counter[str] = Counter()
    partial = path.with_name(path.name + ".partial")
    with _opened(partial) as file:
        file.write(json.dumps({"format": FORMAT, "version": VERSION, "tenant": tenant}) + "\n")
        for name in await collections(database):
            async for document in _documents(database, name, tenant):
                file.write(json_util.dumps({"collection": name, "document": document}, json_options=_OPTIONS) + "\n")
                counts[name] += 1
        file.write(json.dumps({"counts": counts}) + "\n")
    partial.rename(path)
    return counts


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    path.touch(mode=0o600)
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        yield file


async def _documents(database: Database, name: str, tenant: str) -> AsyncIterator[Document]:
    collection = database.mongodb.get_collection(name, codec_options=_PLAIN)
    async for document in collection.find(await condition(database, name, tenant)).sort("_id", 1).batch_size(BATCH):
        yield document


async def restore(database: Database, path: Path, tenant: str = "") -> Counter[str]:
    """Bring back what `export` wrote, under the same name or another; return how many documents of each collection.

    Raises:
        ArchiveError: the file is none, or the tenant has something already.
        ArchiveCutShortError: some of it is missing.
    """
    counts: Counter[str] = Counter()
    lines = _lines(path)
    first: dict[str, Any] = next(lines, {})
    if first.get("format") != FORMAT or first.get("version") != VERSION:
        raise ArchiveError(f"{path} is no file that `fhir-server tenants export` wrote.")
    old, new = str(first["tenant"]), tenant or str(first["tenant"])
    if any((await remains(database, new)).values()):
        raise ArchiveError(f"The tenant {new} has data already; delete it first, or restore under another name.")
    batch: list[tuple[str, Document]] = []
    last: Any = None
    for line in lines:
        last = line
        if "document" in line:
            batch.append((line["collection"], await _renamed(database, line["collection"], line["document"], old, new)))
            counts[line["collection"]] += 1
        if len(batch) >= BATCH or "counts" in line:
            await _insert(database, batch)
            batch = []
    if not isinstance(last, dict) or last.get("counts") != dict(counts):
        raise ArchiveCutShortError(f"{path} was cut short; what it held is restored, but it is not all. Delete the tenant {new}.")
    return counts


def _lines(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json_util.loads(line, json_options=_OPTIONS)
    except (OSError, EOFError, ValueError):
        return


async def _renamed(database: Database, name: str, document: Document, old: str, new: str) -> Document:
    if old == new:
        return document
    if name == KEYS:
        try:
            return await database.keyring.moved(document, new + document["_id"][len(old) :]) | {"t": new}
        except MasterKeyError as error:
            raise ArchiveError(f"The keys of {old} can not be given to {new}: {error}.") from None
    found = dict(document)
    if name == FILES:
        found["metadata"] = found["metadata"] | {"tenant": new}
    for member in _FIELDS:
        if found.get(member) == old:
            found[member] = new
    key = found["_id"]
    if isinstance(key, str) and (key == old or key.startswith(f"{old}/")):
        found["_id"] = new + key[len(old) :]
    return found


async def _insert(database: Database, batch: list[tuple[str, Document]]) -> None:
    for name in sorted({name for name, _ in batch}):
        if name.removesuffix(HISTORY) in RESOURCE_TYPES:
            await database.prepare(name.removesuffix(HISTORY))
        documents = [document for other, document in batch if other == name]
        if name == TENANTS:
            for document in documents:
                await database.collection(name).replace_one({"_id": document["_id"]}, document, upsert=True)
        else:
            try:
                await database.mongodb.get_collection(name, codec_options=_PLAIN).insert_many(documents, ordered=False)
            except BulkWriteError:
                raise ArchiveError(
                    f"Documents of {name} are there already: a tenant that keeps files in MongoDB can be restored under another "
                    "name only in another database, or after it was deleted in this one. Delete the new tenant."
                ) from None


async def remains(database: Database, tenant: str) -> dict[str, int]:
    """Return how many documents each collection has of a tenant; the record of the tenant itself is not counted."""
    found = {}
    for name in await collections(database):
        if name != TENANTS:
            found[name] = await database.collection(name).count_documents(await condition(database, name, tenant))
    return found


async def delete_and_prove(database: Database, tenant: str) -> tuple[dict[str, int], dict[str, int]]:
    """Delete all that a tenant has; return how many documents of each collection there were, and how many there are now.

    The tenant is suspended first; requests that were let in before may still write, hence the look afterwards.
    """
    change = {"$set": {"suspended": True, "deleted": utc_now()}}
    await database.collection(TENANTS).update_one({"_id": tenant}, change, upsert=True)
    deleted = await delete(database, tenant)
    return deleted, await remains(database, tenant)


async def delete(database: Database, tenant: str) -> dict[str, int]:
    """Delete all that a tenant has but its own record; return how many documents of each collection there were."""
    found = {}
    await _delete_objects(database, tenant)
    for name in await collections(database):
        if name != TENANTS:
            found[name] = (await database.collection(name).delete_many(await condition(database, name, tenant))).deleted_count
    return found


async def _delete_objects(database: Database, tenant: str) -> None:
    """Remove what is kept outside of MongoDB, as long as there are records of it."""
    if database.settings.blob_store != "s3":
        return
    store = S3(database.settings)
    try:
        async for record in database.collection("_blobs").find(owned_by(tenant), {"key": 1}):
            await store.delete(tenant, record["key"])
    finally:
        await store.close()
