"""Conditions compiled to MongoDB filters.

https://hl7.org/fhir/R4/search.html

A single parameter's filter comes from the file of its type; here they are put together, and what needs other resources
(chains, lists, value sets) is resolved.
"""

from collections.abc import Sequence
from typing import Any

from fhir_server.fhir.outcome import bad_request
from fhir_server.search import terminology, vocabulary
from fhir_server.search.access import NOTHING, Access
from fhir_server.search.chain import Backward, Bounds, Compiled, Forward, together
from fhir_server.search.compartment import compartment_filter
from fhir_server.search.conditions import (
    AllOf,
    AnyOf,
    Chain,
    Condition,
    Has,
    InCompartment,
    Match,
    Negation,
    OnList,
)
from fhir_server.search.registry import Registry
from fhir_server.search.sort import Filter
from fhir_server.search.types import string, token
from fhir_server.search.values import escape, unescape

EVERYTHING: Filter = {}


class Compiler:
    """Compiles the conditions of one search."""

    def __init__(self, access: Access, registry: Registry) -> None:
        self._access = access
        self._registry = registry

    async def compile(self, type_: str, condition: Condition) -> Compiled:
        """Return what finds the resources of a type for which a condition holds."""
        match condition:
            case Match():
                return Compiled(await self._match(condition))
            case AllOf(conditions):
                return together([await self.compile(type_, part) for part in conditions])
            case Chain(parameter, branches):
                inner = [(target, await self.compile(target, part)) for target, part in branches]
                return Compiled(EVERYTHING, (Forward(parameter, tuple(inner)),))
            case Has(source, parameter, part):
                return Compiled(EVERYTHING, (Backward(type_, source, parameter, await self.compile(source, part)),))
            case InCompartment(reference):
                filter_ = compartment_filter(type_, reference, self._access.repo.tenant, self._registry)
                return Compiled(NOTHING if filter_ is None else filter_)
            case OnList(ids):
                return Compiled(await self._on_list(type_, ids))
            case AnyOf(conditions):
                return Compiled({"$or": [await self._listed(type_, part) for part in conditions]})
            case Negation(part):
                return Compiled({"$nor": [await self._listed(type_, part)]})

    async def _listed(self, type_: str, condition: Condition) -> Filter:
        """Return a condition as a filter alone, which it has to be under an OR or a NOT."""
        compiled = await self.compile(type_, condition)
        return (await compiled.resolve(self._access, exact_bounds(self._access))).filter

    async def _match(self, match: Match) -> Filter:
        parameter = match.parameter
        if parameter.code == "_id" and match.modifier != "missing":
            return self._id_filter(match)
        if parameter.type == "token" and match.modifier in terminology.MODIFIERS:
            return await self._by_terminology(match)
        if match.modifier == "contains" and string.has_words(parameter):
            return await vocabulary.containing(self._access, parameter, match.values)
        return self._access.filter_of(parameter, match.modifier, match.values)

    async def _by_terminology(self, match: Match) -> Filter:
        codings = await terminology.expand(self._access, match)
        listed = [coding for coding in codings if coding[1]]
        systems = [f"{escape(system)}|" for system, code in codings if not code]
        ways = [token.among(match.parameter.field, listed, match.parameter)] if listed else []
        if systems:
            ways.append(self._access.filter_of(match.parameter, "", systems))
        if match.modifier == "not-in":
            return {"$nor": ways} if ways else EVERYTHING
        return {"$or": ways} if len(ways) > 1 else ways[0] if ways else NOTHING

    def _id_filter(self, match: Match) -> Filter:
        """https://hl7.org/fhir/R4/search.html#id."""
        keys = [f"{self._access.repo.tenant}/{unescape(value)}" for value in match.values]
        if match.modifier not in ("", "not"):
            raise bad_request(f"_id:{match.modifier} is not supported; _id takes :not and :missing.", code="not-supported")
        if match.modifier == "not":
            return {"_id": {"$nin": keys}}
        return {"_id": keys[0] if len(keys) == 1 else {"$in": keys}}

    async def _on_list(self, type_: str, ids: Sequence[str]) -> Filter:
        lists = await self._access.repo.currents(("List", id_) for id_ in ids)
        items = [entry for one in lists if one.resource for entry in one.resource.get("entry", ())]
        found = [_item_id(item, type_) for item in items if not item.get("deleted")]
        return {"_id": {"$in": sorted({f"{self._access.repo.tenant}/{id_}" for id_ in found if id_})}}


def _item_id(entry: dict[str, Any], type_: str) -> str:
    kind, _, id_ = entry.get("item", {}).get("reference", "").partition("/")
    return str(id_.partition("/")[0]) if kind == type_ else ""


def exact_bounds(access: Access) -> Bounds:
    """Return the bounds of chains that must be listed as a whole."""
    return Bounds(access.settings.max_chain_ids, exact=True)
