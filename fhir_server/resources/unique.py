"""Identifiers that only one resource of a type has, ever: https://hl7.org/fhir/R4/datatypes.html#Identifier.

They are claimed with the write that first has them (`fhir_server.store.claims`), so that of two that are written at the
same time one is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fhir_server.exchange import Call, Context, Draft
from fhir_server.fhir.outcome import FhirError, duplicate
from fhir_server.store.claims import claimed
from fhir_server.store.writes import claim_key

Pair = tuple[str, str]


async def with_unique(ctx: Context, draft: Draft, type_: str, is_unique: Callable[[str], bool]) -> Draft:
    """Return the draft with claims for those identifiers that are new and whose system is one of the unique.

    Raises:
        FhirError: 409, another resource has one of them, or had it; it is named to whoever may read it.
    """
    before = draft.previous.resource if draft.previous else None
    held = dict(_pairs(before or {}, is_unique))
    fresh = {pair: place for pair, place in _pairs(draft.resource, is_unique) if pair not in held}
    if not fresh:
        return draft
    keys = {claim_key(ctx.tenant, key_of(type_, *pair)): pair for pair in fresh}
    taken = await claimed(ctx.repo.database, keys)
    for key, claim in taken.items():
        # It may have had it before.
        if (claim.type, claim.id) != (type_, draft.id):
            raise await _is_taken(ctx, type_, claim.id, fresh[keys[key]])
    return replace(draft, claims=(*draft.claims, *(key_of(type_, *pair) for key, pair in keys.items() if key not in taken)))


async def holder_of(ctx: Context, type_: str, system: str, value: str) -> str:
    """Return the id of the resource that an identifier is claimed for; "" where it is free."""
    key = claim_key(ctx.tenant, key_of(type_, system, value))
    found = (await claimed(ctx.repo.database, [key])).get(key)
    return found.id if found is not None else ""


async def claimed_of(ctx: Context, type_: str, system: str, values: list[str]) -> frozenset[str]:
    """Return those values of a system that are claimed."""
    keys = {claim_key(ctx.tenant, key_of(type_, system, value)): value for value in values}
    return frozenset(keys[key] for key in await claimed(ctx.repo.database, keys))


def key_of(type_: str, system: str, value: str) -> str:
    """Return what is claimed for an identifier."""
    return f"identifier/{type_}/{system}|{value}"


def _pairs(resource: Mapping[str, Any], is_unique: Callable[[str], bool]) -> Iterator[tuple[Pair, int]]:
    for place, found in enumerate(resource.get("identifier", ())):
        system, value = found.get("system", ""), found.get("value", "")
        if system and value and is_unique(system):
            yield (system, value), place


async def _is_taken(ctx: Context, type_: str, id_: str, place: int) -> FhirError:
    whose = f"is that of {type_}/{id_}" if await _may_read(ctx, type_, id_) else f"is that of another {type_}"
    return duplicate(f"The identifier {whose}; nothing was stored.", f"{type_}.identifier[{place}]")


async def _may_read(ctx: Context, type_: str, id_: str) -> bool:
    try:
        await ctx.dispatch(ctx, Call("read", type_, id_))
    except FhirError:
        return False
    return True
