"""How well a patient fits what was typed: 0 to 1.

docs/search/fuzzy.md
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from rapidfuzz.distance import OSA, DamerauLevenshtein

from fhir_server.matching.names import name_words, sound
from fhir_server.search.fuzzy.expand import BEGUN, EXACT, NAMESAKE, Expanded, Meanings
from fhir_server.search.fuzzy.keys import joined
from fhir_server.search.fuzzy.typed import Typed
from fhir_server.search.types.string import folded_of

LEAST: Final = 0.5
"""What fits less is not shown."""
WORD, DATE, NUMBER = 1.0, 1.5, 2.5
"""What an item counts."""
_NAMESAKE: Final = 0.9
_BEGUN: Final = 0.85
_SOUNDS_ALIKE: Final = 0.03
ANOTHER_WORD: Final = 0.01
_UNKNOWN: Final = 0.6
"""Words that were not found as meanings are compared too; of what is less alike nothing counts."""
_SWAPPED, _ONE_DIGIT, _LESS_EXACT = 0.8, 0.7, 0.8
_MONTH, _DAY = 7, 10

Document = Mapping[str, Any]


def score(typed: Typed, expanded: Expanded, document: Document, hits: Sequence[bool]) -> float:
    """Return how well a patient fits; `hits` says for each number whether it is one of the patient's."""
    index = document.get("s", {})
    whole = WORD * len(typed.words) + DATE * len(typed.dates) + NUMBER * len(typed.numbers)
    born = _born(index.get("birthdate"))
    points, left = _names(expanded, index.get("name", ()))
    found = WORD * points + DATE * sum(_best_date(ways, born) for ways in typed.dates)
    for number, hit in zip(typed.numbers, hits, strict=True):
        found += NUMBER * (1.0 if hit else _best_date(number.dates, born))
    if not whole:
        return 0.0
    return round(max(0.0, found / whole - ANOTHER_WORD * left), 4)


def _names(expanded: Expanded, entries: Iterable[str]) -> tuple[float, float]:
    """Return the points of the words that were typed, and the share of the patient's words that nothing was typed of."""
    if not expanded.words:
        return 0.0, 0.0
    free = dict.fromkeys(word for entry in entries for word in _words(folded_of(entry)))
    every = len(free)
    points = 0.0
    for word, meanings in zip(expanded.words, expanded.meanings, strict=True):
        best, found = 0.0, ""
        for other in free:
            likeness = _likeness(word, other, meanings)
            if likeness > best:
                best, found = likeness, other
        if found:
            del free[found]
            points += best
    return points, len(free) / every if every else 0.0


@lru_cache(1 << 16)
def _words(folded: str) -> tuple[str, ...]:
    return joined(name_words(folded)[0])


def _likeness(word: str, other: str, meanings: Meanings) -> float:
    distance = meanings.get(other)
    if distance is None:
        return unlike(word, other)
    if distance == EXACT:
        return 1.0
    if distance == NAMESAKE:
        return _NAMESAKE
    if distance == BEGUN:
        return _BEGUN + (1 - _BEGUN) * len(word) / len(other)
    return alike(word, other)


@lru_cache(1 << 16)
def alike(word: str, other: str) -> float:
    """Return how much two words are alike: less with each slip, a little more where they sound the same."""
    found: float = DamerauLevenshtein.normalized_similarity(word, other)
    return min(0.99, found + (_SOUNDS_ALIKE if sound(word) == sound(other) else 0.0))


@lru_cache(1 << 16)
def unlike(word: str, other: str) -> float:
    """Return how much two words are alike that nobody would take for each other at first."""
    found: float = OSA.normalized_similarity(word, other, score_cutoff=_UNKNOWN)
    return 0.8 * found


def _born(entry: Any) -> str:
    """Return the FHIR date of an index entry; "" where there is none."""
    if not entry:
        return ""
    low, high = entry["l"], entry["h"]
    days = (high - low).days
    return str(low.strftime("%Y-%m-%d" if days <= 1 else "%Y-%m" if days <= 31 else "%Y"))  # noqa: PLR2004 -- a month


def _best_date(ways: Iterable[str], born: str) -> float:
    return max((_date(way, born) for way in ways), default=0.0)


@lru_cache(1 << 12)
def _date(typed: str, born: str) -> float:
    if not born:
        return 0.0
    if born.startswith(typed):
        return 1.0
    if typed.startswith(born):
        return _LESS_EXACT
    if len(typed) < _DAY or len(born) < _DAY:
        return 0.0
    if typed[:4] == born[:4] and typed[5:7] == born[8:] and typed[8:] == born[5:7]:
        return _SWAPPED
    return _ONE_DIGIT if sum(one != other for one, other in zip(typed, born, strict=True)) == 1 else 0.0
