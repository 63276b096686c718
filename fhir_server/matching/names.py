"""Words of names: split, without ornaments, how they sound and which nicknames stand for them.

https://hl7.org/fhir/R4/datatypes.html#HumanName
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from doublemetaphone import doublemetaphone
from nicknames import NickNamer

from fhir_server.fhir.folding import fold

_BREAK: Final = re.compile(r"[^\w]+|_")
_APOSTROPHE: Final = re.compile("['`\u2018\u2019\u02bc]")
_GENERATIONS: Final = {
    **dict.fromkeys(("sr", "snr", "senior", "1st"), "1"),
    **dict.fromkeys(("jr", "jnr", "junior", "ii", "2nd"), "2"),
    **dict.fromkeys(("iii", "3rd"), "3"),
    **dict.fromkeys(("iv", "4th"), "4"),
}
_PARTICLES: Final = frozenset(
    [
        *("al", "bin", "da", "das", "de", "del", "den", "der", "di", "do", "dos", "du", "el", "ibn"),
        *("la", "las", "le", "los", "st", "ter", "van", "von", "y"),
    ]
)
_PLACEHOLDERS: Final = frozenset(
    [
        *("baby", "babyboy", "babygirl", "boy", "girl", "infant", "newborn", "male", "female", "unknown", "unk"),
        *("anonymous", "none", "null", "na", "nfn", "nln", "fnu", "lnu"),
    ]
)
"""Words that stand where a name is not known, as newborns have them."""
_OWN_NICKNAMES: Final = (
    "francisco paco pancho kiko",
    "jose pepe chepe",
    "guadalupe lupe lupita",
    "dolores lola",
    "ignacio nacho",
    "jesus chuy chucho",
    "concepcion concha conchita",
    "enrique quique kike",
    "guillermo memo",
    "antonio tono toni",
    "isabel chabela isa",
    "rosario charo chayo",
)
"""Spanish ones, which the table of the package `nicknames` lacks."""
_REMEMBERED: Final = 1 << 16


@lru_cache(_REMEMBERED)
def words(text: str) -> tuple[str, ...]:
    """Return the folded words of a text; an apostrophe is no gap, so `O'Brien` is one word."""
    return tuple(word for word in _BREAK.split(_APOSTROPHE.sub("", fold(text))) if word)


def generation(word: str) -> str:
    """Return the number of a generation that a folded word states (`jr` and `ii`: `2`); "" for other words."""
    return _GENERATIONS.get(word, "")


@lru_cache(_REMEMBERED)
def name_words(text: str) -> tuple[tuple[str, ...], str]:
    """Return the words of a name without placeholders, and the generation that it states."""
    found = words(text)
    if len(found) > 1 and (rank := generation(found[-1])):
        return tuple(word for word in found[:-1] if word not in _PLACEHOLDERS), rank
    return tuple(word for word in found if word not in _PLACEHOLDERS), ""


def parts(family: Iterable[str]) -> tuple[str, ...]:
    """Return the words of a family name that tell families apart: without `de`, `van`, `la`."""
    every = tuple(family)
    return tuple(word for word in every if word not in _PARTICLES) or every


@lru_cache(_REMEMBERED)
def sound(word: str) -> str:
    """Return how a folded word sounds in English ears; a word outside the Latin alphabet sounds as it is."""
    return doublemetaphone(word)[0] or word


@lru_cache(_REMEMBERED)
def sounds(word: str) -> frozenset[str]:
    """Return all ways that a folded word may sound."""
    return frozenset(found for found in doublemetaphone(word) if found) or frozenset((word,))


def are_nicknames(one: str, other: str) -> bool:
    """Tell whether one folded name stands for the other, or both for a third."""
    table = _table()
    ours, theirs = table.get(one), table.get(other)
    if ours is None or theirs is None:
        return False
    return not ours.isdisjoint(theirs)


def namesakes(name: str) -> frozenset[str]:
    """Return the folded names that stand for a folded name, that it stands for, or that stand for the same one."""
    table = _table()
    return frozenset(other for full in table.get(name, ()) for other in _short()[full]) - {name}


@lru_cache(1)
def _short() -> dict[str, set[str]]:
    """Return for each full name the names that may stand for it, itself among them."""
    found: dict[str, set[str]] = {}
    for name, full in _table().items():
        for one in full:
            found.setdefault(one, set()).add(name)
    return found


@lru_cache(1)
def _table() -> dict[str, frozenset[str]]:
    """Return for each name of the tables the names that it may stand for, itself among them."""
    found: dict[str, set[str]] = {}
    for full, short in NickNamer().nickname_lookup.items():
        for name in short:
            _stands_for(found, name, full)
    for group in _OWN_NICKNAMES:
        full, *rest = group.split()
        for name in rest:
            _stands_for(found, name, full)
    return {name: frozenset(full) for name, full in found.items()}


def _stands_for(found: dict[str, set[str]], name: str, full: str) -> None:
    for one in (name, full):
        found.setdefault(one, {one})
    found[name].add(full)
