"""A change taken back although others have changed the same resource since: a three-way comparison.

`before` and `after` are what the change made of a resource, `current` is what it is now. Where nobody has touched what the
change did, it is undone; where somebody has, theirs stays and the place is told; all else stays as it is now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final

from fhir_server.fhir.codec import encode

MISSING: Final[Any] = object()
_STAMPS: Final = frozenset({"versionId", "lastUpdated"})


@dataclass(slots=True)
class Restored:
    """What became of an undoing."""

    value: Any
    conflicts: list[str] = field(default_factory=list)
    """FHIRPaths of what somebody else has changed since, and was left."""


def restored(before: dict[str, Any], after: dict[str, Any], current: dict[str, Any]) -> Restored:
    """Return `current` with the change from `before` to `after` taken back, as far as that goes."""
    conflicts: list[str] = []
    path = str(current.get("resourceType", ""))
    return Restored(_node(unstamped(before), unstamped(after), unstamped(current), path, conflicts), conflicts)


def unstamped(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the resource without what each version has of its own."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name.lstrip("_") not in _STAMPS}
    rest = {name: value for name, value in resource.items() if name != "meta"}
    return rest | {"meta": meta} if meta else rest


def _node(before: Any, after: Any, current: Any, path: str, conflicts: list[str]) -> Any:
    if _same(before, after):
        return current
    if _same(after, current):
        return before
    if _same(before, current) or current is MISSING:
        return current  # Somebody has undone it already, or taken it away.
    if isinstance(before, dict) and isinstance(after, dict) and isinstance(current, dict):
        return _object(before, after, current, path, conflicts)
    lists = [[] if one is MISSING else one for one in (before, after, current)]
    if all(isinstance(one, list) for one in lists):
        return _array(lists[0], lists[1], lists[2], path, conflicts) or MISSING
    conflicts.append(path)
    return current


def _same(one: Any, other: Any) -> bool:
    return one is other or (one is not MISSING and other is not MISSING and bool(one == other))


def _object(before: dict[str, Any], after: dict[str, Any], current: dict[str, Any], path: str, conflicts: list[str]) -> Any:
    result: dict[str, Any] = {}
    for name in dict.fromkeys((*current, *before)):
        was, then, now = (one.get(name, MISSING) for one in (before, after, current))
        value = _node(was, then, now, f"{path}.{name}", conflicts)
        if value is not MISSING:
            result[name] = value
    return result


def _array(before: list[Any], after: list[Any], current: list[Any], path: str, conflicts: list[str]) -> list[Any]:
    """Undo, in a list whose members may have been moved, what became of each member."""
    now: dict[int, Any] = dict(enumerate(current))
    places = dict(_aligned(after, current))
    returning: list[Any] = []
    for old, new in _changes(before, after):
        place = places.get(new) if new is not None else None
        if new is None:
            returning.append(before[old or 0])
        elif place is None:
            continue
        elif old is None:
            if _same(after[new], current[place]):
                now[place] = MISSING
            else:
                conflicts.append(f"{path}[{place}]")
        else:
            now[place] = _node(before[old], after[new], current[place], f"{path}[{place}]", conflicts)
    kept = [value for value in now.values() if value is not MISSING]
    return [*kept, *(one for one in returning if one not in kept)]


def _changes(before: list[Any], after: list[Any]) -> Iterator[tuple[int | None, int | None]]:
    """Yield the members that the change has changed (both places), added (no old one) or removed (no new one)."""
    if len(before) == len(after):
        yield from ((at, at) for at in range(len(before)) if not _same(before[at], after[at]))
        return
    for tag, start, end, begin, stop in _matched(before, after):
        if tag == "equal":
            continue
        for at in range(max(end - start, stop - begin)):
            yield (start + at if start + at < end else None), (begin + at if begin + at < stop else None)


def _aligned(after: list[Any], current: list[Any]) -> Iterator[tuple[int, int]]:
    """Yield where the members are now: those that are equal, and those that stand alone between the same neighbours."""
    for tag, start, end, begin, stop in _matched(after, current):
        if tag == "equal" or (tag == "replace" and end - start == stop - begin):
            yield from zip(range(start, end), range(begin, stop), strict=True)


def _matched(one: list[Any], other: list[Any]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, [encode(item) for item in one], [encode(item) for item in other], autojunk=False).get_opcodes()
