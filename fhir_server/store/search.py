"""A search as MongoDB is asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Document = dict[str, Any]
MARK: Final = "_b"
Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A search of one collection: what `find` takes."""

    collection: str
    filter: Document
    projection: Mapping[str, Any]
    sort: tuple[tuple[str, int], ...]
    limit: int
    max_time_ms: int
    index: Mapping[str, int] | None = None
    """The keys of the index to use; None: MongoDB chooses."""

    def shape(self) -> Shape:
        """Return what searches have in common that cost about the same."""
        fields = tuple((name, tuple(value) if isinstance(value, dict) else "") for name, value in self.filter.items())
        return (self.collection, fields, self.sort, self.limit, tuple(self.projection.items()), bool(self.index))

    def command(self) -> Document:
        """Return it as a `find` that answers in one batch."""
        found: Document = {
            "find": self.collection,
            "filter": self.filter,
            "projection": self.projection,
            "limit": self.limit,
            "batchSize": self.limit + 1,
            "maxTimeMS": self.max_time_ms,
        }
        if self.sort:
            found["sort"] = dict(self.sort)
        if self.index:
            found["hint"] = self.index
        return found

    def stages(self, mark: int) -> list[Document]:
        """Return it as stages of an aggregation whose documents say where they belong."""
        sort: list[Document] = [{"$sort": dict(self.sort)}] if self.sort else []
        return [{"$match": self.filter}, *sort, {"$limit": self.limit}, {"$project": self.projection}, {"$set": {MARK: mark}}]
