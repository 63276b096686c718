"""Scopes for every type (`patient/*.rs`), type by type, so that a person can allow some of it.

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#scope-equivalence: a server may give less than it is
asked for. Where all parts are allowed the app gets the scope that it asked for, else one scope for each type that is left.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.registry import BUILTIN
from fhir_server.security.authorization.grantable import IDENTITY, LAUNCH, covers
from fhir_server.security.authorization.words import THINGS
from fhir_server.security.compartments import record_filter
from fhir_server.security.scopes import ALL, Scope, parse

OTHERS: Final = ALL
"""The part that holds all types for which there are no plain words."""
_ANYBODY: Final = "anybody"
_KEPT: Final = frozenset({*IDENTITY, *LAUNCH})


@dataclass(frozen=True, slots=True)
class Part:
    """What a person can allow or not within a scope for every type."""

    value: str
    """What the form sends: the scope, a space, the type or `*`."""
    text: str


def parts(scope: str) -> tuple[Part, ...]:
    """Return the parts of a scope for every type, in the order of their words; none of any other scope."""
    found = parse(scope)
    if found is None or found.type != ALL:
        return ()
    types = opened(found.context, found.letters)
    named = sorted(types & THINGS.keys(), key=lambda type_: THINGS[type_].casefold())
    rest = [Part(f"{scope} {OTHERS}", "everything else")] if types - THINGS.keys() else []
    return (*(Part(f"{scope} {type_}", THINGS[type_]) for type_ in named), *rest)


@lru_cache(maxsize=256)
def opened(context: str, letters: str) -> frozenset[str]:
    """Return the types that a scope for every type opens in a context."""
    if context != "patient":
        return frozenset(RESOURCE_TYPES)
    return frozenset(
        type_
        for type_ in RESOURCE_TYPES
        if any(record_filter(type_, _ANYBODY, letter, _ANYBODY, BUILTIN) is not None for letter in letters)
    )


def asked_about(scopes: Iterable[str]) -> list[str]:
    """Return the scopes that are asked about one by one.

    Those that say who and which patient are not among them, nor are those within a scope for every type that is asked for too.
    """
    asked = [scope for scope in dict.fromkeys(scopes) if scope not in _KEPT]
    widest = _widest(asked)
    return [scope for scope in asked if _around(scope, widest) == scope]


def given(scopes: Iterable[str], allowed: Collection[str], ticked: Collection[str]) -> tuple[str, ...]:
    """Return what an app gets that asked for scopes: `allowed` are scopes of `asked_about`, `ticked` values of their parts."""
    asked = tuple(dict.fromkeys(scopes))
    widest = _widest(asked)
    found: list[str] = []
    for scope in asked:
        around = _around(scope, widest)
        if scope in _KEPT:
            found.append(scope)
        elif around in allowed:
            found += _left(scope, around, ticked)
    return tuple(dict.fromkeys(found))


def _left(scope: str, around: str, ticked: Collection[str]) -> list[str]:
    """Return what is left of a scope that is, or is within, an allowed one."""
    divided, parsed = parts(around), parse(scope)
    names = {part.value.rpartition(" ")[2] for part in divided}
    chosen = {part.value.rpartition(" ")[2] for part in divided if part.value in ticked}
    if parsed is None or chosen == names:
        return [scope]

    def is_left(type_: str) -> bool:
        return (type_ if type_ in names else OTHERS) in chosen

    if parsed.type != ALL:
        return [scope] if is_left(parsed.type) else []
    if scope != around:
        return []  # What is left of the one around it holds the same.
    types = sorted(opened(parsed.context, parsed.letters))
    return [scope.replace(f"/{ALL}.", f"/{type_}.", 1) for type_ in types if is_left(type_)]


def _widest(asked: Iterable[str]) -> list[tuple[str, Scope]]:
    """Return the scopes for every type that are within no other; of those that mean the same (`read`, `rs`) the first."""
    wide = [(one, found) for one in asked if (found := parse(one)) is not None and found.type == ALL]
    return [
        (one, scope)
        for place, (one, scope) in enumerate(wide)
        if not any(
            covers(other, scope) and (before < place or not covers(scope, other))
            for before, (_, other) in enumerate(wide)
            if before != place
        )
    ]


def _around(scope: str, widest: Iterable[tuple[str, Scope]]) -> str:
    """Return the scope for every type that this one is within; itself where there is none."""
    narrow = parse(scope)
    return scope if narrow is None else next((one for one, wide in widest if covers(wide, narrow)), scope)
