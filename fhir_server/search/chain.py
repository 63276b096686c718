"""Chains and `_has`: conditions on resources at the other end of a reference.

https://hl7.org/fhir/R4/search.html#chaining, https://hl7.org/fhir/R4/search.html#has

Such a condition is a semi-join, and there are two ways to run it. Where few resources stand at the other end, `resolve`
lists them, and their ids become a `$in`. Where they are many, `keep` tests the candidates of a page instead, a batch at a
time, so that no list of ids grows with the data (docs/decisions/0011-chains.md has the measurements).
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fhir_server.fhir.outcome import FhirError, too_costly
from fhir_server.search.access import NOTHING, Access, Document
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.sort import Filter, all_of, value_at
from fhir_server.search.types import reference

FEW = 1500
"""So many ids are put into a `$in` without hesitation; half as many documents are read to find some."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the other end of a reference is listed."""

    ids: int
    exact: bool = False
    """Whether it is an error if there are more; else a semi-join is left."""

    def error(self, code: str) -> FhirError:
        """403: more would have to be listed than the settings allow."""
        return too_costly(
            f"The chain by {code!r} leads through more than {self.ids} resources, which can neither be listed nor, in this place,"
            " be tested one by one. Narrow its last condition.",
            status=403,
        )


class Join(Protocol):
    """A condition on documents that needs other documents."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the documents must bring."""
        ...

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents for which the condition holds, in their order."""
        ...

    async def resolve(self, access: Access, bounds: Bounds) -> "Compiled":
        """Return the same condition as a filter where it can be listed within the bounds.

        Raises:
            FhirError: 403 `too-costly` where it can not, and the bounds are exact.
        """
        ...


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition on the resources of one type: a filter, and joins with other resources."""

    filter: Filter
    joins: tuple[Join, ...] = ()
    listed: int = 0
    """How many references the filter lists in the place of joins."""

    @property
    def tests_first(self) -> bool:
        """Whether testing candidates is cheaper than listing: what refers to them has to be read as a whole for a list."""
        return all(isinstance(join, Backward) for join in self.joins)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the joins need."""
        return tuple(field for join in self.joins for field in join.fields)

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents, which match the filter, for which all joins hold too."""
        kept = list(documents)
        for join in self.joins:
            kept = await join.keep(access, kept) if kept else kept
        return kept

    async def resolve(self, access: Access, bounds: Bounds) -> "Compiled":
        """Return the same condition with as many joins as possible turned into filters."""
        if not self.joins:
            return self
        return together([Compiled(self.filter), *[await join.resolve(access, bounds) for join in self.joins]])


def together(parts: Sequence[Compiled]) -> Compiled:
    """Return what finds the resources for which all parts hold."""
    joins = tuple(join for part in parts for join in part.joins)
    return Compiled(_merged([part.filter for part in parts]), joins, sum(part.listed for part in parts))


def _merged(filters: Sequence[Filter]) -> Filter:
    """Return the conjunction; flat as long as no field stands twice, which is cheaper for MongoDB to plan."""
    flat: Filter = {}
    for part in filters:
        if flat.keys() & part.keys():
            return all_of(filters)
        flat |= part
    return flat


@dataclass(frozen=True, slots=True)
class Forward:
    """The reference of `parameter` leads to a resource of one of the branches."""

    parameter: SearchParameter
    branches: tuple[tuple[str, Compiled], ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The reference."""
        return (self.parameter.field,)

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents whose reference leads to what is asked for."""
        referred = [references(document, self.parameter.field) for document in documents]
        wanted = {text for one in referred for text in one}
        found: set[str] = set()
        for type_, compiled in self.branches:
            ids = [text[len(type_) + 1 :] for text in wanted if text.startswith(type_ + "/")]
            found.update(f"{type_}/{id_}" for id_ in await _passing_ids(access, type_, compiled, ids))
        return [document for document, one in zip(documents, referred, strict=True) if not found.isdisjoint(one)]

    async def resolve(self, access: Access, bounds: Bounds) -> Compiled:
        """List what stands at the other end."""
        branches = [(type_, await compiled.resolve(access, bounds)) for type_, compiled in self.branches]
        found: list[str] = []
        for type_, compiled in branches:
            ids = await _collect_ids(access, type_, compiled, bounds)
            if ids is None:
                if bounds.exact:
                    raise bounds.error(self.parameter.code)
                return Compiled({}, (Forward(self.parameter, tuple(branches)),))
            found += [f"{type_}/{id_}" for id_ in ids]
        condition = reference.among(self.parameter.field, sorted(found), self.parameter) if found else NOTHING
        return Compiled(condition, listed=len(found))


@dataclass(frozen=True, slots=True)
class Backward:
    """A resource of type `source`, for which `compiled` holds, refers to this one, of `type`, by `parameter`."""

    type: str
    source: str
    parameter: SearchParameter
    compiled: Compiled

    @property
    def fields(self) -> tuple[str, ...]:
        """None: every document brings its key."""
        return ()

    async def keep(self, access: Access, documents: Sequence[Document]) -> list[Document]:
        """Return those documents that are referred to."""
        named = [f"{self.type}/{id_of(document)}" for document in documents]
        wanted = set(named)
        among = reference.among(self.parameter.field, sorted(wanted), self.parameter)
        compiled = Compiled(all_of([among, self.compiled.filter]), self.compiled.joins)
        if compiled.joins:
            found = await self._referred(access, compiled, wanted)
        else:
            found = set(await access.distinct(self.source, self.parameter.field, compiled.filter))
        return [document for document, name in zip(documents, named, strict=True) if name in found]

    async def _referred(self, access: Access, compiled: Compiled, wanted: set[str]) -> set[str]:
        found: set[str] = set()
        async for batch in _passing(access, self.source, compiled, (self.parameter.field,)):
            found.update(text for document in batch for text in references(document, self.parameter.field))
            if wanted <= found:
                break
        return found

    async def resolve(self, access: Access, bounds: Bounds) -> Compiled:
        """List what is referred to."""
        compiled = await self.compiled.resolve(access, bounds)
        ids = await _collect_references(access, self.source, self.parameter, compiled, self.type, bounds)
        if ids is not None:
            return Compiled({"_id": {"$in": sorted(f"{access.repo.tenant}/{id_}" for id_ in ids)}})
        if bounds.exact:
            raise bounds.error(self.parameter.code)
        return Compiled({}, (Backward(self.type, self.source, self.parameter, compiled),))


def id_of(document: Document) -> str:
    """Return the id of the resource, by the key of its document, which every index ends with."""
    return str(document["_id"]).rpartition("/")[2]


def references(document: Document, field: str) -> list[str]:
    """Return the references at a field of a document."""
    value = value_at(document, field)
    if isinstance(value, list):
        return [one for one in value if isinstance(one, str)]
    return [value] if isinstance(value, str) else []


async def _passing(
    access: Access, type_: str, compiled: Compiled, fields: Iterable[str] = (), *, limit: int = 0
) -> AsyncIterator[list[Document]]:
    """Yield, a batch at a time, the documents of a type that fulfil a condition, in no order.

    With a `limit` so many documents are read at most, of which some may not pass.
    """
    projection = dict.fromkeys(("_id", *fields, *compiled.fields), 1)
    with access.in_time():
        cursor = access.find(type_, compiled.filter, projection, limit=limit).batch_size(limit or BATCH)
        while batch := await cursor.to_list(limit or BATCH):
            yield await compiled.keep(access, batch)


async def _passing_ids(access: Access, type_: str, compiled: Compiled, ids: Sequence[str]) -> list[str]:
    """Return those ids whose resources fulfil a condition."""
    if not ids:
        return []
    keys = {"_id": {"$in": sorted(f"{access.repo.tenant}/{id_}" for id_ in ids)}}
    if not compiled.joins:
        wanted = all_of([keys, compiled.filter])
        return [id_of(document) for document in await access.read(type_, wanted, {"_id": 1}, limit=len(ids))]
    found: list[str] = []
    async for batch in _passing(access, type_, Compiled(all_of([keys, compiled.filter]), compiled.joins)):
        found.extend(id_of(document) for document in batch)
    return found


async def _collect_ids(access: Access, type_: str, compiled: Compiled, bounds: Bounds) -> list[str] | None:
    """Return the ids of the resources that fulfil a condition; None if they are too many."""
    if not compiled.joins:
        # The key alone can be read from an index.
        keys = await access.read(type_, compiled.filter, {"_id": 1}, limit=bounds.ids + 1)
        start = len(access.repo.tenant) + 1
        return [key["_id"][start:] for key in keys] if len(keys) <= bounds.ids else None
    found: list[str] = []
    async for batch in _bounded(access, type_, compiled, (), bounds):
        if batch is None:
            return None
        found.extend(id_of(document) for document in batch)
        if len(found) > bounds.ids:
            return None
    return found


async def _collect_references(
    access: Access, source: str, parameter: SearchParameter, compiled: Compiled, type_: str, bounds: Bounds
) -> list[str] | None:
    """Return the distinct ids of `type_` that such resources of `source` refer to; None if they are too many."""
    found: set[str] = set()
    prefix = type_ + "/"
    present = Compiled(all_of([compiled.filter, {parameter.field: {"$ne": None}}]), compiled.joins)
    async for batch in _bounded(access, source, present, (parameter.field,), bounds):
        if batch is None:
            return None
        found.update(one for document in batch for one in references(document, parameter.field) if one.startswith(prefix))
        if len(found) > bounds.ids:
            return None
    return [text[len(prefix) :] for text in found]


async def _bounded(
    access: Access, type_: str, compiled: Compiled, fields: Iterable[str], bounds: Bounds
) -> AsyncIterator[list[Document] | None]:
    """Yield what passes; then None where, short of exactness, more would have to be read than is worth it."""
    limit = 0 if bounds.exact else bounds.ids // 2 + 1
    whole = Compiled(compiled.filter)
    async for batch in _passing(access, type_, whole, (*fields, *compiled.fields), limit=limit):
        if limit and len(batch) == limit:
            yield None
            return
        yield await compiled.keep(access, batch)
