"""Updates and deletions of single resources, several in a few round trips and without a transaction.

docs/decisions/0012-updates.md

First the superseded versions are copied to history, then the current ones are replaced under a predicate on their version.
The replacement of a document is what decides: before it nothing has happened, after it all has. Whoever is killed in
between leaves a copy of a version that is still current, with equal content; readers take each version once, and the
next update finds the copy in its place.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from fhir_server.store.database import HISTORY, Database, Document
from fhir_server.store.failures import failure, is_key_conflict
from fhir_server.store.jobs import Item
from fhir_server.store.versions import current_key, history_key
from fhir_server.store.writes import VersionConflictError

Result = BaseException | None
LARGEST_COMMAND: Final = 8_000_000
"""Bytes of documents that one command may have; PyMongo sends more than that in several."""


async def supersede(database: Database, type_: str, items: Sequence[Item]) -> list[Result]:
    """Replace current versions of one type; answer for each item None or why it is not written.

    No two items may be about the same resource.
    """
    results: list[Result] = [None] * len(items)
    known: set[int] = set()
    copies = [item.superseded for item in items if item.superseded is not None]
    try:
        if not (are_small(copies) and await database.insert(type_ + HISTORY, copies)):
            await database.collection(type_ + HISTORY).insert_many(copies, ordered=False)
    except BulkWriteError as error:
        if error.details["writeConcernErrors"]:
            return [error] * len(items)
        for found in error.details["writeErrors"]:
            if is_key_conflict(found):
                known.add(found["index"])
            else:
                results[found["index"]] = failure(type_, items[found["index"]], found)
    except PyMongoError as error:
        return [error] * len(items)
    results = await _replace(database, type_, items, results)
    await _end(database, type_, [items[place] for place in sorted(known) if results[place] is None])
    return results


async def _replace(database: Database, type_: str, items: Sequence[Item], results: list[Result]) -> list[Result]:
    places = [place for place, result in enumerate(results) if result is None]
    if not places:
        return results
    current = [items[place] for place in places]
    if are_small([item.current for item in current]) and await database.update(type_, [_statement(item) for item in current]):
        return results
    # Those that this has replaced are not replaced again, and their tokens tell that they were.
    try:
        done = await database.collection(type_).bulk_write([replacement(items[place]) for place in places], ordered=False)
        matched = done.matched_count
    except BulkWriteError as error:
        if error.details["writeConcernErrors"]:
            return [error if result is None else result for result in results]
        matched = error.details["nMatched"]
        for found in error.details["writeErrors"]:
            place = places[found["index"]]
            results[place] = failure(type_, items[place], found)
    except PyMongoError as error:
        return [error if result is None else result for result in results]
    won = [place for place in places if results[place] is None]
    if matched < len(won):
        written = await tokens_of(database, type_, [items[place] for place in won])
        for place in won:
            if items[place].write.version.token not in written:
                results[place] = VersionConflictError(type_, items[place].write.version.id)
    return results


async def tokens_of(database: Database, type_: str, items: Sequence[Item]) -> set[int]:
    """Return the tokens of those versions that are, or by now were, current."""
    versions = [(item.tenant, item.write.version) for item in items]
    current = {"_id": {"$in": [current_key(tenant, version.id) for tenant, version in versions]}}
    history = {"_id": {"$in": [history_key(tenant, version.id, version.number) for tenant, version in versions]}}
    tokens: set[int] = set()
    # The current ones first: a version that is superseded in between is seen twice, and none is overseen.
    for name, condition in ((type_, current), (type_ + HISTORY, history)):
        found: list[Document] = await database.collection(name).find(condition, {"w": 1}).to_list()
        tokens |= {document.get("w", 0) for document in found}
    return tokens


async def _end(database: Database, type_: str, items: Sequence[Item]) -> None:
    """Note when versions were superseded whose copy somebody else had made, for an update that then lost or died."""
    changes: list[UpdateOne] = []
    for item in items:
        version = item.write.version
        key = history_key(item.tenant, version.id, version.number - 1)
        changes.append(UpdateOne({"_id": key}, {"$set": {"e": version.last_updated}}))
    if changes:
        await database.collection(type_ + HISTORY).bulk_write(changes, ordered=False)


def are_small(documents: Sequence[RawBSONDocument]) -> bool:
    """Tell whether documents fit into one command."""
    return sum(len(document.raw) for document in documents) <= LARGEST_COMMAND


def replacement(item: Item) -> "ReplaceOne[Any]":
    """Return what replaces a current version, unless somebody else was faster."""
    statement = _statement(item)
    return ReplaceOne(statement["q"], statement["u"])


def _statement(item: Item) -> Document:
    number = item.write.previous.number if item.write.previous else 0
    return {"q": {"_id": current_key(item.tenant, item.write.version.id), "v": number}, "u": item.current}


def removals(items: Iterable[Item]) -> list[DeleteMany]:
    """Return what takes current versions away, but for those that somebody else was faster to write."""
    keys: dict[int, list[str]] = {}
    for item in items:
        number = item.write.previous.number if item.write.previous else 0
        keys.setdefault(number, []).append(current_key(item.tenant, item.write.version.id))
    return [DeleteMany({"_id": {"$in": found}, "v": number}) for number, found in keys.items()]
