"""Every version that there has been, newest first: https://hl7.org/fhir/R4/http.html#history.

Current versions and superseded ones stand in two collections of each type; one aggregation unites them. Pages follow
each other by the key (lastUpdated, type, id, version), so that writes in between neither repeat nor hide a version.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import ExecutionTimeout

from fhir_server.store.database import HISTORY
from fhir_server.store.repository import Repository
from fhir_server.store.versions import Version, current_key

Document = dict[str, Any]
Pipeline = tuple[str, str, list[Document]]
"""A collection, the resource type that it is of, and the stages that find versions in it."""
ORDER = {"u": DESCENDING, "k": ASCENDING, "i": ASCENDING, "v": DESCENDING}


@dataclass(frozen=True, slots=True)
class After:
    """The last version of the page before."""

    moment: datetime
    type: str
    id: str
    number: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions are asked for."""

    types: tuple[str, ...]
    id: str = ""
    """Only of this resource."""
    since: datetime | None = None
    """Only what was written at or after this moment."""
    at: tuple[datetime, datetime] | None = None
    """Only versions that were current at some time in [low, high)."""


async def find_versions(repo: Repository, wanted: Wanted, *, after: After | None, limit: int, timeout_ms: int) -> list[Version]:
    """Return at most `limit` versions, newest first.

    MongoDB looks at one collection after the other, at the current versions first. So one that is superseded in between
    is seen twice, and none is overseen.
    """
    versions = await _look(repo, wanted, after=after, limit=limit, timeout_ms=timeout_ms)
    found = _distinct(versions)
    if len(found) < len(versions):
        found = _distinct(await _look(repo, wanted, after=after, limit=2 * limit, timeout_ms=timeout_ms))
    return found[:limit]


def _distinct(versions: Iterable[Version]) -> list[Version]:
    return list({(version.type, version.id, version.number): version for version in versions}.values())


async def _look(repo: Repository, wanted: Wanted, *, after: After | None, limit: int, timeout_ms: int) -> list[Version]:
    pipelines = [
        (name, type_, [*_matching(repo.tenant, wanted, name, type_, after), {"$sort": _order(wanted)}, {"$limit": limit}])
        for type_ in wanted.types
        for name in (type_, type_ + HISTORY)
    ]
    if repo.session is not None:
        return await _one_after_the_other(repo, pipelines, limit, timeout_ms)
    return await _united(repo, pipelines, limit, timeout_ms) if pipelines else []


async def _united(repo: Repository, pipelines: list[Pipeline], limit: int, timeout_ms: int) -> list[Version]:
    first, _, pipeline = pipelines[0]
    stages = [*pipeline, {"$set": {"k": pipelines[0][1]}}]
    stages += [
        {"$unionWith": {"coll": name, "pipeline": [*stage, {"$set": {"k": type_}}]}} for name, type_, stage in pipelines[1:]
    ]
    stages += [{"$sort": ORDER}, {"$limit": limit}]
    cursor = await repo.database.collection(first).aggregate(stages, maxTimeMS=timeout_ms)
    return [Version.from_document(document["k"], document) async for document in cursor]


async def _one_after_the_other(repo: Repository, pipelines: list[Pipeline], limit: int, timeout_ms: int) -> list[Version]:
    """Do the same inside a transaction, where MongoDB has no `$unionWith`."""
    found: list[Version] = []
    for name, type_, stages in pipelines:
        cursor = await repo.database.collection(name).aggregate(stages, session=repo.session, maxTimeMS=timeout_ms)
        found += [Version.from_document(type_, document) async for document in cursor]
    found.sort(key=lambda version: (version.type, version.id, -version.number))
    found.sort(key=lambda version: version.last_updated, reverse=True)
    return found[:limit]


async def count_versions(repo: Repository, wanted: Wanted, *, timeout_ms: int) -> int | None:
    """Return how many versions there are; None when counting takes too long."""
    total = 0
    try:
        for type_ in wanted.types:
            for name in (type_, type_ + HISTORY):
                condition = _condition(repo.tenant, wanted, name, type_, None)
                total += await repo.database.collection(name).count_documents(
                    condition, session=repo.session, maxTimeMS=timeout_ms
                )
    except ExecutionTimeout:
        return None
    return total


def _order(wanted: Wanted) -> Mapping[str, int]:
    return {"_id": DESCENDING} if wanted.id else {"u": DESCENDING, "i": ASCENDING, "v": DESCENDING}


def _matching(tenant: str, wanted: Wanted, name: str, type_: str, after: After | None) -> Iterable[Document]:
    yield {"$match": _condition(tenant, wanted, name, type_, after)}
    yield {"$unset": "s"}


def _condition(tenant: str, wanted: Wanted, name: str, type_: str, after: After | None) -> Document:
    superseded = name.endswith(HISTORY)
    conditions: list[Document] = [{"t": tenant}]
    if wanted.id:
        key = current_key(tenant, wanted.id)
        conditions = [{"_id": {"$gte": f"{key}/", "$lt": f"{key}0"} if superseded else key}]
    if wanted.since is not None:
        conditions.append({"u": {"$gte": wanted.since}})
    if wanted.at is not None:
        low, high = wanted.at
        conditions.append({"u": {"$lt": high}} | ({"e": {"$gt": low}} if superseded else {}))
    if after is not None:
        conditions.append(_beyond(type_, after))
    return {"$and": conditions}


def _beyond(type_: str, after: After) -> Document:
    """Return the condition for versions that come after a page's last one in the order of ORDER."""
    earlier: Document = {"u": {"$lt": after.moment}}
    if type_ < after.type:
        return earlier
    if type_ > after.type:
        return {"u": {"$lte": after.moment}}
    same = {"u": after.moment, "$or": [{"i": {"$gt": after.id}}, {"i": after.id, "v": {"$lt": after.number}}]}
    return {"$or": [earlier, same]}
