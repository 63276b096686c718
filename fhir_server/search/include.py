"""Resources that come along: `_include` and `_revinclude`.

https://hl7.org/fhir/R4/search.html#revinclude

The matches are asked once for all includes; what was included is asked again for those that iterate, until nothing new
turns up. Each step is one query for each type, and all steps together stay within the bound of the settings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import Issue
from fhir_server.search.access import Access, Document
from fhir_server.search.chain import references
from fhir_server.search.query import ALL, Include
from fhir_server.search.registry import Registry, SearchParameter
from fhir_server.search.types import reference
from fhir_server.search.values import escape
from fhir_server.store.versions import Version

Found = tuple[str, Document]
_MEMBERS = ("i", "u", "v", "m", "w", "r")
_WHOLE: Mapping[str, Any] = {"s": 0}


def projection(
    registry: Registry, types: Iterable[str], includes: Sequence[Include], fields: Iterable[str] = ()
) -> dict[str, Any]:
    """Return what to read of documents whose includes are to be followed, and whose index fields are wanted."""
    wanted = set(fields)
    for type_ in types:
        parameters = [parameter for include in includes for parameter in _forward(registry, type_, include)]
        wanted.update(parameter.field for parameter in parameters)
        wanted.update(f"{parameter.field}:version" for parameter in parameters if _is_canonical(parameter))
    return dict.fromkeys((*_MEMBERS, *project_fields(wanted)), 1) if wanted else dict(_WHOLE)


def project_fields(wanted: Iterable[str]) -> list[str]:
    """Return the fields without those that lie within others, which a projection may not name as well."""
    every = set(wanted)
    return sorted(field for field in every if not any(field.startswith(other + ".") for other in every))


async def included(
    access: Access, registry: Registry, includes: Sequence[Include], matches: Sequence[Found]
) -> tuple[tuple[Version, ...], tuple[Issue, ...]]:
    """Return the resources that come along with the matches, none of them twice and none that is a match itself."""
    if not includes or not matches:
        return (), ()
    gathering = _Gathering(access, registry, {(type_, document["i"]) for type_, document in matches})
    iterating = [include for include in includes if include.iterate]
    news, wanted = list(matches), list(includes)
    while news and wanted and not gathering.full:
        news = await gathering.step(news, wanted, iterating)
        wanted = iterating
    versions = tuple(Version.from_document(type_, document) for type_, document in gathering.found)
    return versions, (gathering.truncation(),) if gathering.full else ()


class _Gathering:
    def __init__(self, access: Access, registry: Registry, known: set[tuple[str, str]]) -> None:
        self._access = access
        self._registry = registry
        self._known = known
        self._limit = access.settings.max_includes
        self.found: list[Found] = []
        self.full = False

    def truncation(self) -> Issue:
        """Return what says that not all is there."""
        return Issue(
            "incomplete",
            f"More than {self._limit} resources would be included on this page; only {self._limit} are. Ask for a smaller _count,"
            " or search for the included resources themselves.",
            severity="warning",
        )

    async def step(self, sources: Sequence[Found], includes: Sequence[Include], following: Sequence[Include]) -> list[Found]:
        """Include what the sources lead to, and return what was new."""
        start = len(self.found)
        by_type: dict[str, list[Document]] = {}
        for type_, document in sources:
            by_type.setdefault(type_, []).append(document)
        await self._forward_step(by_type, includes, following)
        for include in includes:
            if include.reverse and not self.full:
                await self._reverse_step(by_type, include, following)
        return self.found[start:]

    async def _forward_step(
        self, by_type: Mapping[str, Sequence[Document]], includes: Sequence[Include], following: Sequence[Include]
    ) -> None:
        wanted: dict[str, set[str]] = {}
        canonical: dict[str, set[str]] = {}
        for type_, documents in by_type.items():
            for include in includes:
                for parameter in _forward(self._registry, type_, include):
                    for document in documents:
                        for text in references(document, parameter.field):
                            target, _, id_ = text.partition("/")
                            if include.target in ("", target) and _may_lead_to(parameter, target) and "/" not in id_:
                                wanted.setdefault(target, set()).add(id_)
                    if _is_canonical(parameter):
                        for target in [include.target] if include.target else parameter.target:
                            canonical.setdefault(target, set()).update(_canonicals(documents, parameter.field))
        await self._by_id(wanted, following)
        for target, texts in sorted(canonical.items()):
            await self._by_canonical(target, sorted(texts), following)

    async def _by_id(self, wanted: Mapping[str, set[str]], following: Sequence[Include]) -> None:
        tenant = self._access.repo.tenant
        for target, ids in sorted(wanted.items()):
            keys = sorted(f"{tenant}/{id_}" for id_ in ids if (target, id_) not in self._known)
            if keys and not self.full:
                await self._add(target, {"_id": {"$in": keys}}, following)

    async def _by_canonical(self, target: str, texts: Sequence[str], following: Sequence[Include]) -> None:
        """https://hl7.org/fhir/R4/references.html#canonical: by url, and by version where one is stated."""
        parameter = self._registry.get(target, "url")
        if parameter is None or not texts or self.full:
            return
        ways = []
        for text in texts:
            url, _, version = text.partition("|")
            found = self._access.filter_of(parameter, "", [escape(url)])
            ways.append({**found, "r.version": version} if version else found)
        await self._add(target, {"$or": ways}, following)

    async def _reverse_step(
        self, by_type: Mapping[str, Sequence[Document]], include: Include, following: Sequence[Include]
    ) -> None:
        sources = [include.source] if include.source != ALL else sorted(await self._access.repo.existing_types())
        for source in sources:
            ways = []
            for parameter in _parameters(self._registry, source, include.code):
                targets = [
                    f"{type_}/{document['i']}"
                    for type_, documents in by_type.items()
                    if include.target in ("", type_) and _may_lead_to(parameter, type_)
                    for document in documents
                ]
                if targets:
                    ways.append(reference.among(parameter.field, targets, parameter))
            if ways and not self.full:
                await self._add(source, ways[0] if len(ways) == 1 else {"$or": ways}, following)

    async def _add(self, type_: str, filter_: dict[str, Any], following: Sequence[Include]) -> None:
        room = self._limit - len(self.found)
        wanted = projection(self._registry, [type_], following)
        # Those that are known already may come first: leave room for them, so that they do not hide new ones.
        known = sum(1 for other, _ in self._known if other == type_)
        documents = await self._access.read(type_, filter_, wanted, sort=[("_id", 1)], limit=room + known + 1)
        fresh = [document for document in documents if (type_, document["i"]) not in self._known]
        self.full = self.full or len(fresh) > room
        for document in fresh[:room]:
            self._known.add((type_, document["i"]))
            self.found.append((type_, document))


def _forward(registry: Registry, type_: str, include: Include) -> list[SearchParameter]:
    if include.reverse or include.source not in (ALL, type_):
        return []
    return _parameters(registry, type_, include.code)


def _is_canonical(parameter: SearchParameter) -> bool:
    return not parameter.value_types.isdisjoint({"canonical", "uri"})


def _canonicals(documents: Sequence[Document], field: str) -> Iterator[str]:
    """Yield the canonicals in a field, with their versions where they have them."""
    for document in documents:
        versioned = references(document, f"{field}:version")
        bare = {text.partition("|")[0] for text in versioned}
        yield from versioned
        yield from (text for text in references(document, field) if ":" in text and text not in bare)


def _may_lead_to(parameter: SearchParameter, type_: str) -> bool:
    return type_ in (parameter.target or RESOURCE_TYPES)


def _parameters(registry: Registry, type_: str, code: str) -> list[SearchParameter]:
    if code == ALL:
        return [parameter for parameter in registry.of(type_).values() if parameter.type == "reference"]
    parameter = registry.get(type_, code)
    return [parameter] if parameter is not None and parameter.type == "reference" else []
