"""Looks through all patients of a tenant for pairs that are probably one person, and makes a Task about each.

docs/matching.md

Patients are taken in the order of their keys; each is compared with those after it that share a blocking key, so that
every pair is seen once. How far it came is kept, so an interrupted run goes on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.exchange import Context
from fhir_server.matching import FIELD, WEAK, Assessment, Record, assess, record_of
from fhir_server.resources.duplicates import FLOOR, suspect
from fhir_server.resources.matches import IDENTIFIERS, KEYS, RANKS, TYPE, model, named, survivor_of
from fhir_server.resources.reviews import Pair, pair_of
from fhir_server.search.fuzzy.keys import PAIR

PROGRESS: Final = "_duplicates"
BATCH: Final = 500
MOST_SHARING: Final = 200
"""A key that more patients share says nothing: a switchboard's number, a hospital's address."""
_NOT_COMPARED: Final = frozenset({PAIR, WEAK})
_COMPARED: Final = ("name", "birthDate", "telecom", "address", "gender", "link")
PROJECTION: Final = {"i": 1, KEYS: 1, IDENTIFIERS: 1, **{f"r.{name}": 1 for name in _COMPARED}}

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: patients seen of all, pairs compared, pairs found, and Tasks made."""

    seen: int = 0
    total: int = 0
    compared: int = 0
    found: int = 0
    made: int = 0


@dataclass(frozen=True, slots=True)
class _Patient:
    key: str
    id: str
    record: Record
    keys: frozenset[str]
    merged: bool


async def find_duplicates(ctx: Context, *, restart: bool = False, progress: Callable[[Step], None] = lambda _: None) -> Step:
    """Look through all patients of the context's tenant; return what came of it.

    An interrupted run goes on where it was, unless it shall `restart`.
    """
    states = ctx.repo.database.collection(PROGRESS)
    state = {} if restart else await states.find_one({"_id": ctx.tenant}) or {}
    after = str(state.get("after", f"{ctx.tenant}/"))
    before = {name: int(state.get(name, 0)) for name in ("seen", "compared", "found", "made")}
    step = Step(total=await _total(ctx), **before)
    progress(step)
    while batch := await _batch(ctx, after):
        after = batch[-1].key
        pairs, compared = await _pairs(ctx, batch)
        made = await suspect(ctx, pairs)
        step = Step(
            step.seen + len(batch),
            max(step.total, step.seen + len(batch)),
            step.compared + compared,
            step.found + len(pairs),
            step.made + made,
        )
        kept = {"after": after, "seen": step.seen, "compared": step.compared, "found": step.found, "made": step.made}
        await states.update_one({"_id": ctx.tenant}, {"$set": kept}, upsert=True)
        progress(step)
    await states.delete_one({"_id": ctx.tenant})
    return step


async def _total(ctx: Context) -> int:
    return await ctx.repo.collection(TYPE).count_documents({"t": ctx.tenant, KEYS: {"$exists": True}})


async def _batch(ctx: Context, after: str) -> list[_Patient]:
    """Return the next patients in the order of their keys."""
    where = {"_id": {"$gt": after, "$lt": f"{ctx.tenant}0"}, KEYS: {"$exists": True}}
    cursor = ctx.repo.collection(TYPE).find(where, PROJECTION).sort("_id", 1).limit(BATCH)
    return [_patient(document) async for document in cursor]


def _patient(document: Document) -> _Patient:
    index, resource = document.get("s", {}), document.get("r", {})
    identifiers = index.get("identifier", ())
    keys = frozenset(
        (*(key for key in index.get(FIELD, ()) if key[0] not in _NOT_COMPARED), *(f"={one}" for one in named(identifiers)))
    )
    return _Patient(document["_id"], document["i"], record_of(resource, identifiers), keys, bool(survivor_of(resource)))


async def _pairs(ctx: Context, batch: list[_Patient]) -> tuple[dict[Pair, Assessment], int]:
    """Return the pairs of one of the batch and one after it that are probably one person, and how many were compared."""
    ours = model(ctx)
    found: dict[Pair, Assessment] = {}
    compared = 0
    for one, other in _sharing(batch, await _partners(ctx, batch)):
        compared += 1
        assessment = assess(ours, one.record, other.record)
        if RANKS[assessment.grade] >= RANKS[FLOOR]:
            found[pair_of(one.id, other.id)] = assessment
    return found, compared


async def _partners(ctx: Context, batch: list[_Patient]) -> list[_Patient]:
    """Return all patients after the first of a batch that share a key with one of it."""
    every = frozenset(key for one in batch for key in one.keys)
    ways = [
        {KEYS: {"$in": sorted(key for key in every if key[0] != "=")}},
        {IDENTIFIERS: {"$in": sorted(key[1:] for key in every if key[0] == "=")}},
    ]
    found: dict[str, _Patient] = {}
    for way in ways:
        where = {"t": ctx.tenant, **way, "_id": {"$gt": batch[0].key}}
        async for document in ctx.repo.collection(TYPE).find(where, PROJECTION):
            if document["_id"] not in found:
                found[document["_id"]] = _patient(document)
    return list(found.values())


def _sharing(batch: Iterable[_Patient], partners: Iterable[_Patient]) -> Iterator[tuple[_Patient, _Patient]]:
    """Yield each pair of one of the batch and a partner after it that share a key; merged patients are in none."""
    blocks: dict[str, list[_Patient]] = defaultdict(list)
    for partner in partners:
        if not partner.merged:
            for key in partner.keys:
                blocks[key].append(partner)
    for one in batch:
        if one.merged:
            continue
        sharing = {other.key: other for key in one.keys for other in _few(blocks.get(key, ())) if other.key > one.key}
        for other in sharing.values():
            yield one, other


def _few(block: Sequence[_Patient]) -> Sequence[_Patient]:
    return block if len(block) <= MOST_SHARING else ()
