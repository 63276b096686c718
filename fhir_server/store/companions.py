"""Documents that are in the database before a resource whose index entries lead to them.

docs/decisions/0014-words-of-names.md

A companion is made once and never changed, so whoever has seen it need not look again: in the common case a write
costs nothing here. One whose resource is then not written, after all, does no harm.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from pymongo import IndexModel, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from fhir_server.store.batcher import Batcher
from fhir_server.store.failures import is_key_conflict

Document = dict[str, Any]
Indexed = tuple[str, Mapping[str, Any]]
"""A resource type and the index entries of a resource."""

REMEMBERED: Final = 50_000
"""So many keys, and those that were used before them, are known to be there."""
TOGETHER: Final = 1000
"""Companions of one round trip."""


class Companions(Protocol):
    """Which companions there are."""

    @property
    def collection(self) -> str:
        """The collection that they are in."""
        ...

    @property
    def indexes(self) -> Sequence[IndexModel]:
        """The indexes of the collection."""
        ...

    def keys(self, tenant: str, type_: str, index: Mapping[str, Any]) -> Iterable[str]:
        """Return the `_id` of the companions that a resource needs."""
        ...

    @property
    def lists(self) -> str:
        """The collection of lists that companions stand in."""
        ...

    def document(self, key: str) -> Document:
        """Return a companion."""
        ...

    def listed(self, key: str) -> Iterable[tuple[str, str]]:
        """Return the `_id` of each list that a companion stands in, and what stands there, in its array `w`."""
        ...


class Known:
    """A set that forgets what has not been asked for during the last `size` others."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._recent: set[str] = set()
        self._older: set[str] = set()

    def __contains__(self, key: str) -> bool:
        if key in self._recent:
            return True
        if key not in self._older:
            return False
        self.add(key)
        return True

    def add(self, key: str) -> None:
        """Remember a key."""
        if len(self._recent) >= self._size:
            self._older, self._recent = self._recent, set()
        self._recent.add(key)


class Accompanist:
    """Sees to it that the companions are there."""

    def __init__(
        self,
        companions: Companions,
        collection: AsyncCollection[Document],
        lists: AsyncCollection[Document],
        patience: float,
    ) -> None:
        self._companions = companions
        self._collection = collection
        # What is written after them is on a majority only once they are.
        self._lists = lists.with_options(write_concern=WriteConcern(w=1))
        self._known = Known()
        self._maker: Batcher[list[str], None] = Batcher(self._make, parallel=1, patience=patience)
        self._prepared = False

    async def __call__(self, tenant: str, resources: Iterable[Indexed]) -> None:
        """Return when the companions of these resources are on a majority."""
        keys, known = self._companions.keys, self._known
        if missing := [key for type_, index in resources for key in keys(tenant, type_, index) if key not in known]:
            await self._maker(missing)

    async def _make(self, wanted: list[list[str]]) -> list[None]:
        if not self._prepared:
            await self._collection.create_indexes(list(self._companions.indexes))
            self._prepared = True
        keys = sorted({key for some in wanted for key in some})
        for start in range(0, len(keys), TOGETHER):
            await self._insert(keys[start : start + TOGETHER])
        for key in keys:
            self._known.add(key)
        return [None] * len(wanted)

    async def _insert(self, keys: Sequence[str]) -> None:
        found = {document["_id"] async for document in self._collection.find({"_id": {"$in": keys}}, {"_id": 1})}
        new = [key for key in keys if key not in found]
        if not new:
            return
        await self._list(new)
        # Last: a companion that is there stands in all its lists.
        await _inserted(self._collection, [self._companions.document(key) for key in new])

    async def _list(self, keys: Iterable[str]) -> None:
        lists: dict[str, list[str]] = {}
        for key in keys:
            for name, text in self._companions.listed(key):
                lists.setdefault(name, []).append(text)
        present = {document["_id"] async for document in self._lists.find({"_id": {"$in": sorted(lists)}}, {"_id": 1})}
        # Most are new, and an insert costs a fifth of an update that may become one.
        new = [name for name in lists if name not in present]
        present |= {new[place] for place in await _inserted(self._lists, [{"_id": name, "w": lists[name]} for name in new])}
        changes = [UpdateOne({"_id": name}, {"$addToSet": {"w": {"$each": lists[name]}}}) for name in sorted(present)]
        if changes:
            await self._lists.bulk_write(changes, ordered=False)


async def _inserted(collection: AsyncCollection[Document], documents: Sequence[Document]) -> list[int]:
    """Insert what is not there yet, and return the places of what is."""
    try:
        if documents:
            await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        found = error.details["writeErrors"]
        if not all(map(is_key_conflict, found)) or error.details["writeConcernErrors"]:
            raise
        return [int(one["index"]) for one in found]
    return []


Accompany = Callable[[str, Iterable[Indexed]], Awaitable[None]]


async def alone(_tenant: str, _resources: Iterable[Indexed]) -> None:
    """Let resources be without companions."""
