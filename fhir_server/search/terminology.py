"""Codes by value set and by hierarchy: `:in`, `:not-in`, `:above`, `:below` of token parameters.

https://hl7.org/fhir/R4/search.html#token, https://hl7.org/fhir/R4/valueset.html#compositions

Value sets and code systems are those that are stored as resources, else those of the specification. What they can not
enumerate is refused, never guessed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from fhir_server.exchange import Resource
from fhir_server.fhir.definitions import code_system_concepts, value_set_codes
from fhir_server.fhir.outcome import FhirError, bad_request, not_supported
from fhir_server.search.access import Access
from fhir_server.search.conditions import Match
from fhir_server.search.registry import BUILTIN
from fhir_server.search.values import escape, split_escaped, unescape
from fhir_server.store.stored import resource_of

MODIFIERS: Final = frozenset({"in", "not-in", "above", "below"})
MAX_NESTING: Final = 8
Token = tuple[str, str]
"""System and code; the code "" stands for every code of the system."""


async def expand(access: Access, match: Match) -> list[Token]:
    """Return the codes that a match by value set or hierarchy is about, each once.

    Raises:
        FhirError: 400 for a value set or code system that is not known or can not be enumerated.
    """
    terms = _Terminology(access)
    tokens: list[Token] = []
    for value in match.values:
        if match.modifier in ("in", "not-in"):
            tokens += await terms.value_set(unescape(value))
        else:
            tokens += await terms.relatives(match.parameter.code, value, match.modifier)
    found = list(dict.fromkeys(tokens))
    if len(found) > access.settings.max_chain_ids:
        raise not_supported(f"{match.parameter.code}:{match.modifier}: the value set has {len(found)} codes, which are too many.")
    return found


class _Terminology:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def value_set(self, canonical: str, nesting: int = 0) -> list[Token]:
        """Return the codes of a value set, named by its url (with a version) or by a reference."""
        if nesting > MAX_NESTING:
            raise not_supported(f"The value set {canonical!r} is made of others deeper than {MAX_NESTING} levels.")
        resource = await self._stored("ValueSet", canonical)
        if resource is not None:
            return await self._codes(resource, canonical, nesting)
        built_in = value_set_codes(canonical.partition("|")[0])
        if built_in is None:
            raise _unknown("value set", "ValueSet", canonical)
        return [(system, code) for system, codes in built_in.items() for code in sorted(codes)]

    async def relatives(self, name: str, value: str, direction: str) -> list[Token]:
        """Return a code with all codes above it, or all below it."""
        parts = split_escaped(value, "|")
        if len(parts) != 2 or not all(parts):  # noqa: PLR2004 -- a system and a code
            raise bad_request(f"{name}:{direction}={value!r} is not of the form system|code.")
        system, code = (unescape(part) for part in parts)
        return [(system, one) for one in await self._hierarchy(system, code, direction)]

    async def _hierarchy(self, system: str, code: str, direction: str) -> list[str]:
        resource = await self._code_system(system)
        if resource is None:
            raise _unknown("code system", "CodeSystem", system)
        concepts = resource.get("concept", ())
        path = _path_to(concepts, code)
        if path is None:
            raise bad_request(f"The code system {system!r} has no code {code!r}.", code="code-invalid")
        return [one["code"] for one in path] if direction == "above" else list(_all_codes([path[-1]]))

    async def _code_system(self, system: str) -> Resource | None:
        stored = await self._stored("CodeSystem", system)
        built_in = code_system_concepts(system) if stored is None else None
        return stored if built_in is None else {"content": "complete", "concept": built_in}

    async def _stored(self, type_: str, canonical: str) -> Resource | None:
        kind, _, id_ = canonical.rpartition("/")
        if kind == type_:
            version = await self._access.repo.current(type_, id_)
            return version.resource if version else None
        url, _, wanted = canonical.partition("|")
        parameter = BUILTIN.get(type_, "url")
        filter_ = self._access.filter_of(parameter, "", [escape(url)]) if parameter else {}
        if wanted:
            filter_ = {**filter_, "r.version": wanted}
        found = await self._access.read(type_, filter_, {"r": 1}, sort=[("u", -1)], limit=1)
        return resource_of(found[0]) if found else None

    async def _codes(self, resource: Resource, canonical: str, nesting: int) -> list[Token]:
        if "contains" in resource.get("expansion", {}):
            return list(_expansion(resource["expansion"]["contains"]))
        compose = resource.get("compose", {})
        found: list[Token] = []
        for part in compose.get("include", ()):
            found += await self._component(part, canonical, nesting)
        for part in compose.get("exclude", ()):
            gone = set(await self._component(part, canonical, nesting))
            if any(code == "" and (system, "") not in gone for system, code in found):
                raise not_supported(
                    f"The value set {canonical!r} excludes codes from a whole code system, which is not stored here."
                )
            found = [token for token in found if token not in gone and (token[0], "") not in gone]
        return found

    async def _component(self, part: dict[str, Any], canonical: str, nesting: int) -> list[Token]:
        sets = [set(await self.value_set(other, nesting + 1)) for other in part.get("valueSet", ())]
        if "system" not in part:
            return sorted(set.intersection(*sets)) if sets else []
        own = await self._of_system(part, canonical)
        for other in sets:
            own = [token for token in own if token in other or (token[0], "") in other]
        return own

    async def _of_system(self, part: dict[str, Any], canonical: str) -> list[Token]:
        system = part["system"]
        if "concept" in part:
            return [(system, concept["code"]) for concept in part["concept"]]
        if "filter" in part:
            sets = [set(await self._filtered(system, one, canonical)) for one in part["filter"]]
            return [(system, code) for code in sorted(set.intersection(*sets))]
        stored = await self._code_system(system)
        if stored is not None and stored.get("content") == "complete":
            return [(system, code) for code in _all_codes(stored.get("concept", ()))]
        return [(system, "")]

    async def _filtered(self, system: str, filter_: dict[str, Any], canonical: str) -> list[str]:
        property_, operator, value = filter_.get("property"), filter_.get("op"), filter_.get("value", "")
        if property_ in ("concept", "code") and operator in ("is-a", "descendent-of"):
            found = await self._hierarchy(system, value, "below")
            return [code for code in found if code != value or operator == "is-a"]
        if property_ in ("concept", "code") and operator in ("=", "in"):
            return value.split(",") if operator == "in" else [value]
        raise not_supported(f"The value set {canonical!r} filters by {property_} {operator}, which this server can not evaluate.")


def _expansion(contains: Iterable[dict[str, Any]]) -> Iterator[Token]:
    for one in contains:
        if "code" in one and not one.get("abstract"):
            yield one.get("system", ""), one["code"]
        yield from _expansion(one.get("contains", ()))


def _all_codes(concepts: Iterable[dict[str, Any]]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _all_codes(concept.get("concept", ()))


def _path_to(concepts: Sequence[dict[str, Any]], code: str) -> list[dict[str, Any]] | None:
    """Return the concepts from the root down to the code."""
    for concept in concepts:
        if concept["code"] == code:
            return [concept]
        below = _path_to(concept.get("concept", ()), code)
        if below is not None:
            return [concept, *below]
    return None


def _unknown(what: str, type_: str, canonical: str) -> FhirError:
    return bad_request(f"The {what} {canonical!r} is not known here; store it as a {type_} first.", code="not-found")
