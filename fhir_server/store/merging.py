"""Searches that differ in one value only are one search: for any of the values.

What comes back is told apart by the value. An aggregation of searches costs MongoDB a plan and a cursor for each of
them; this costs it one (docs/decisions/0009-lanes.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_server.store.search import Document, Search

ROOM: Final = 101
"""Documents for each search, on average, above which nothing is merged."""
_WHOLE: Final = {"s": 0}
_MEMBERS: Final = ("i", "v", "u", "m", "w", "r")


@dataclass(frozen=True, slots=True)
class Merge:
    """Several searches as one."""

    search: Search
    name: str
    """The index field of the value; "" where all searches are the same."""
    values: tuple[frozenset[str], ...]
    """What each of the searches asks for."""

    def parts(self, found: Sequence[Document], searches: Sequence[Search]) -> Iterator[list[Document]]:
        """Yield the documents of each search, in their order; each is a document of its own."""
        wanted: dict[str, list[int]] = {}
        for place, values in enumerate(self.values):
            for value in values:
                wanted.setdefault(value, []).append(place)
        parts: list[list[Document]] = [[] for _ in searches]
        for document in found:
            for place in self._places(document, wanted) if self.name else range(len(searches)):
                parts[place].append(dict(document))
        for search, part in zip(searches, parts, strict=True):
            yield part[: search.limit]

    def _places(self, document: Document, wanted: dict[str, list[int]]) -> list[int]:
        held = document["s"][self.name]
        if isinstance(held, str):
            return wanted.get(held, [])
        return sorted({place for value in set(held) if isinstance(value, str) for place in wanted.get(value, ())})


def merged(searches: Sequence[Search]) -> Merge | None:
    """Return searches of the same shape as one; None where they differ in anything but one value of an index field."""
    first = searches[0]
    differing = {field for search in searches[1:] for field, value in search.filter.items() if value != first.filter[field]}
    if not differing:
        return Merge(_bounded(first, first.filter, dict(first.projection), searches), "", ())
    field = differing.pop()
    name = field.removeprefix("s.")
    if differing or name == field or "." in name or name.startswith("$"):
        return None
    values = tuple(_asked(search.filter[field]) for search in searches)
    if not all(values):
        return None
    any_of = {"$in": sorted(frozenset().union(*values))}
    projection = dict(first.projection)
    if projection == _WHOLE:
        projection = dict.fromkeys(_MEMBERS, 1)
    elif 0 in projection.values():
        return None
    if "s" not in projection:
        projection[field] = 1
    return Merge(_bounded(first, {**first.filter, field: any_of}, projection, searches), name, values)


def _bounded(first: Search, filter_: Document, projection: dict[str, Any], searches: Sequence[Search]) -> Search:
    limit = min(sum(search.limit for search in searches), ROOM * len(searches)) + 1
    return replace(
        first, filter=filter_, projection=projection, limit=limit, max_time_ms=min(search.max_time_ms for search in searches)
    )


def _asked(value: Any) -> frozenset[str]:
    if isinstance(value, dict):
        value = value["$in"] if value.keys() == {"$in"} else ()
    found = frozenset((value,)) if isinstance(value, str) else frozenset(value) if isinstance(value, list) else frozenset()
    return found if all(isinstance(one, str) for one in found) else frozenset()
