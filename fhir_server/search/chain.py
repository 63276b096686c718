"""Chains and `_has`: conditions on resources at the other end of a reference.

https://hl7.org/fhir/R4/search.html#chaining, https://hl7.org/fhir/R4/search.html#has

Where few resources stand at the other end, their ids become a `$in`. Where they are many, a semi-join tests the
candidates of a page instead, a batch at a time, so that no list of ids grows with the data
(docs/decisions/0008-chains.md has the measurements).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fhir_server.search.access import Access, Document
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.sort import Filter, all_of, value_at
from fhir_server.search.types import reference

FEW = 500
"""So many ids are put into a `$in` at once."""
WORK = 4 * FEW
"""So many documents are read in search of few ids before it is left."""
BATCH = 500


class SemiJoin(Protocol):
    """A test of documents that needs other documents."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the documents must bring."""
        ...

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents for which the condition holds, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition on the resources of one type: a filter, and tests of what it lets through."""

    filter: Filter
    joins: tuple[SemiJoin, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the tests need."""
        return tuple(field for join in self.joins for field in join.fields)

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents that pass all tests."""
        kept = list(documents)
        for join in self.joins:
            kept = await join.keep(access, kept) if kept else kept
        return kept


@dataclass(frozen=True, slots=True)
class Forward:
    """The reference in `field` leads to a resource of one of the branches."""

    field: str
    branches: tuple[tuple[str, Compiled], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The reference."""
        return (self.field,)

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents whose reference leads to what is asked for."""
        referred = [references(document, self.field) for document in documents]
        wanted = {text for one in referred for text in one}
        found: set[str] = set()
        for type_, compiled in self.branches:
            ids = [text[len(type_) + 1 :] for text in wanted if text.startswith(type_ + "/")]
            found.update(f"{type_}/{id_}" for id_ in await passing_ids(access, type_, compiled, ids))
        return [document for document, one in zip(documents, referred, strict=True) if not found.isdisjoint(one)]


@dataclass(frozen=True, slots=True)
class Backward:
    """A resource of type `source`, for which `compiled` holds, refers to this one by `parameter`."""

    type: str
    source: str
    parameter: SearchParameter
    compiled: Compiled

    @property
    def fields(self) -> tuple[str, ...]:
        """The id, which every document brings."""
        return ()

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents that are referred to."""
        wanted = {f"{self.type}/{document['i']}" for document in documents}
        filter_ = all_of([reference.among(self.parameter.field, sorted(wanted), self.parameter), self.compiled.filter])
        if not self.compiled.joins:
            found = set(await access.distinct(self.source, self.parameter.field, filter_)) & wanted
        else:
            found = await self._referred(access, filter_, wanted)
        return [document for document in documents if f"{self.type}/{document['i']}" in found]

    async def _referred(self, access: Access, filter_: Filter, wanted: set[str]) -> set[str]:
        found: set[str] = set()
        async for batch in passing(access, self.source, Compiled(filter_, self.compiled.joins), (self.parameter.field,)):
            found.update(text for document in batch for text in references(document, self.parameter.field))
            if wanted <= found:
                break
        return found & wanted


def references(document: Document, field: str) -> list[str]:
    """Return the references at a field of a document."""
    value = value_at(document, field)
    if isinstance(value, list):
        return [one for one in value if isinstance(one, str)]
    return [value] if isinstance(value, str) else []


async def passing(access: Access, type_: str, compiled: Compiled, fields: Iterable[str] = ()) -> Any:
    """Yield, a batch at a time, the documents of a type that fulfil a condition, in no order."""
    projection = dict.fromkeys(("i", *fields, *compiled.fields), 1)
    with access.in_time():
        cursor = access.find(type_, compiled.filter, projection).batch_size(BATCH)
        while batch := await cursor.to_list(BATCH):
            yield await compiled.keep(access, batch)


async def passing_ids(access: Access, type_: str, compiled: Compiled, ids: Sequence[str]) -> list[str]:
    """Return those ids whose resources fulfil a condition."""
    if not ids:
        return []
    keys = {"_id": {"$in": sorted(f"{access.repo.tenant}/{id_}" for id_ in ids)}}
    found: list[str] = []
    async for batch in passing(access, type_, Compiled(all_of([keys, compiled.filter]), compiled.joins)):
        found.extend(document["i"] for document in batch)
    return found


async def collect_ids(access: Access, type_: str, compiled: Compiled, limit: int, work: int) -> list[str] | None:
    """Return the ids of the resources that fulfil a condition; None if they are more than `limit` or take more `work`."""
    found: list[str] = []
    if not compiled.joins:
        with access.in_time():
            keys = await access.find(type_, compiled.filter, {"_id": 1}, limit=limit + 1).to_list()
        start = len(access.repo.tenant) + 1
        return [key["_id"][start:] for key in keys] if len(keys) <= limit else None
    async for batch in passing(access, type_, compiled):
        found.extend(document["i"] for document in batch)
        work -= BATCH
        if len(found) > limit or work < 0:
            return None
    return found


async def collect_references(
    access: Access, source: str, parameter: SearchParameter, compiled: Compiled, type_: str, limit: int, work: int
) -> list[str] | None:
    """Return the distinct ids of `type_` that resources of `source` refer to in `field`; None as in `collect_ids`."""
    found: set[str] = set()
    prefix = type_ + "/"
    present = all_of([compiled.filter, {parameter.field: {"$ne": None}}])
    async for batch in passing(access, source, Compiled(present, compiled.joins), (parameter.field,)):
        found.update(one for document in batch for one in references(document, parameter.field) if one.startswith(prefix))
        work -= BATCH
        if len(found) > limit or work < 0:
            return None
    return [text[len(prefix) :] for text in found]
