"""Conditions compiled to MongoDB filters.

https://hl7.org/fhir/R4/search.html

A single parameter's filter comes from the file of its type; here they are put together, and what needs other resources
(chains, lists, value sets) is resolved.
"""

from collections.abc import Sequence
from typing import Any

from fhir_server.fhir.outcome import bad_request, too_costly
from fhir_server.search import chain, terminology
from fhir_server.search.access import NOTHING, Access
from fhir_server.search.chain import Backward, Compiled, Forward, SemiJoin
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
from fhir_server.search.sort import Filter, all_of
from fhir_server.search.types import reference, token
from fhir_server.search.values import escape, unescape

EVERYTHING: Filter = {}


class Compiler:
    """Compiles the conditions of one search.

    Unless `exact`, a chain through many resources becomes a semi-join. Where that can not be (under an OR or a NOT, or
    where `exact`), all ids on the way are fetched, up to the bound of the settings.
    """

    def __init__(self, access: Access, registry: Registry, *, exact: bool = False) -> None:
        self._access = access
        self._registry = registry
        self._exact = exact

    async def compile(self, type_: str, condition: Condition) -> Compiled:
        """Return what finds the resources of a type for which a condition holds."""
        match condition:
            case Match():
                return Compiled(await self._match(condition))
            case AllOf(conditions):
                return together([await self.compile(type_, part) for part in conditions])
            case Chain():
                return await self._chain(condition)
            case Has():
                return await self._has(type_, condition)
            case InCompartment(reference):
                filter_ = compartment_filter(type_, reference, self._access.repo.tenant, self._registry)
                return Compiled(NOTHING if filter_ is None else filter_)
            case OnList(ids):
                return Compiled(await self._on_list(type_, ids))
            case AnyOf(conditions):
                exactly = self._exactly()
                return Compiled({"$or": [(await exactly.compile(type_, part)).filter for part in conditions]})
            case Negation(negated):
                filter_ = (await self._exactly().compile(type_, negated)).filter
                return Compiled({"$nor": [filter_]})

    def _exactly(self) -> "Compiler":
        return self if self._exact else Compiler(self._access, self._registry, exact=True)

    async def _match(self, match: Match) -> Filter:
        parameter = match.parameter
        if parameter.code == "_id" and match.modifier != "missing":
            return self._id_filter(match)
        if parameter.type == "token" and match.modifier in terminology.MODIFIERS:
            return await self._by_terminology(match)
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

    async def _chain(self, condition: Chain) -> Compiled:
        branches = [(type_, await self.compile(type_, inner)) for type_, inner in condition.branches]
        references: list[str] = []
        for type_, compiled in branches:
            ids = await chain.collect_ids(self._access, type_, compiled, *self._bounds())
            if ids is None:
                return self._many(condition.parameter.code, Forward(condition.parameter.field, tuple(branches)))
            references += [f"{type_}/{id_}" for id_ in ids]
        if not references:
            return Compiled(NOTHING)
        return Compiled(reference.among(condition.parameter.field, sorted(references), condition.parameter))

    async def _has(self, type_: str, condition: Has) -> Compiled:
        compiled = await self.compile(condition.type, condition.condition)
        parameter = condition.parameter
        ids = await chain.collect_references(self._access, condition.type, parameter, compiled, type_, *self._bounds())
        if ids is None:
            return self._many(parameter.code, Backward(type_, condition.type, parameter, compiled))
        tenant = self._access.repo.tenant
        return Compiled({"_id": {"$in": sorted(f"{tenant}/{id_}" for id_ in ids)}})

    def _bounds(self) -> tuple[int, int]:
        """Return how many ids may be put into a list, and how many documents may be read for it."""
        if self._exact:
            return self._access.settings.max_chain_ids, 1 << 62
        return chain.FEW, chain.WORK

    def _many(self, code: str, join: SemiJoin) -> Compiled:
        if self._exact:
            raise too_costly(
                f"The chain by {code!r} leads through more than {self._access.settings.max_chain_ids} resources, which can"
                " neither be listed nor, in this place, be tested one by one. Narrow its last condition.",
                status=403,
            )
        return Compiled(EVERYTHING, (join,))

    async def _on_list(self, type_: str, ids: Sequence[str]) -> Filter:
        lists = await self._access.repo.currents(("List", id_) for id_ in ids)
        items = [entry for one in lists if one.resource for entry in one.resource.get("entry", ())]
        found = [_item_id(item, type_) for item in items if not item.get("deleted")]
        return {"_id": {"$in": sorted({f"{self._access.repo.tenant}/{id_}" for id_ in found if id_})}}


def _item_id(entry: dict[str, Any], type_: str) -> str:
    kind, _, id_ = entry.get("item", {}).get("reference", "").partition("/")
    return str(id_.partition("/")[0]) if kind == type_ else ""


def together(parts: Sequence[Compiled]) -> Compiled:
    """Return what finds the resources for which all parts hold."""
    return Compiled(merged([part.filter for part in parts]), tuple(join for part in parts for join in part.joins))


def merged(filters: Sequence[Filter]) -> Filter:
    """Return the conjunction of filters; flat as long as no field stands twice, which is cheaper for MongoDB to plan."""
    flat: Filter = {}
    for part in filters:
        if flat.keys() & part.keys():
            return all_of(filters)
        flat |= part
    return flat
