"""What a merge changed, brought back part by part of its journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fhir_server.exchange import Context, Resource
from fhir_server.operations.merge.moving import changed
from fhir_server.operations.merge.restoring import restored, unstamped
from fhir_server.store.merges import Item, Merge, Merges
from fhir_server.store.versions import Version, history_key
from fhir_server.store.writes import Write

Key = tuple[str, str]
Left = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Returned:
    """What is to be written of several parts of a journal, each resource once, and what is left."""

    by_key: Mapping[Key, Write] = field(default_factory=dict)
    left: tuple[Left, ...] = ()

    @property
    def writes(self) -> list[Write]:
        """What is to be written."""
        return list(self.by_key.values())


def left_of(version: Version, path: str, text: str) -> Left:
    """Return what is said of something that is left to a person."""
    return {"reference": version.reference, "path": path, "text": text}


async def returned(ctx: Context, merge: Merge, number: int, so_far: Returned) -> Returned:
    """Return what bringing back one more part of the journal asks for; the later parts have to come first."""
    items = await Merges(ctx.repo.database).part(merge, number, ctx.repo.session)
    current = {(version.type, version.id): version for version in await ctx.repo.currents((item[0], item[1]) for item in items)}
    past = await _past(ctx, items)
    by_key, left = dict(so_far.by_key), list(so_far.left)
    for type_, id_, made in items:
        now = current.get((type_, id_))
        if now is None:
            continue
        if now.resource is None:
            left.append(left_of(now, "", "It has been deleted since the merge."))
            continue
        before, after = past.get((type_, id_, made - 1)), past.get((type_, id_, made), now.resource)
        if before is None:
            raise AssertionError
        earlier = by_key.get((type_, id_))
        base = now.resource if earlier is None or earlier.version.resource is None else earlier.version.resource
        found = restored(before, after, base)
        left += [left_of(now, path, "It has been changed since the merge.") for path in found.conflicts]
        if found.value != unstamped(base):
            by_key[type_, id_] = changed(ctx, now, found.value)
    return Returned(by_key, tuple(left))


async def _past(ctx: Context, items: Iterable[Item]) -> dict[Item, Resource]:
    """Return the superseded versions that the items are about, those made and those before, as far as they are superseded."""
    wanted: dict[str, list[str]] = {}
    for type_, id_, made in items:
        wanted.setdefault(type_, []).extend(history_key(ctx.tenant, id_, number) for number in (made - 1, made))
    found: dict[Item, Resource] = {}
    for type_, keys in wanted.items():
        cursor = ctx.repo.history_collection(type_).find(
            {"_id": {"$in": keys}}, {"i": 1, "v": 1, "r": 1}, session=ctx.repo.session
        )
        found |= {(type_, document["i"], document["v"]): document["r"] async for document in cursor if "r" in document}
    return found
