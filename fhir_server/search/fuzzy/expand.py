"""Which words that stand in names somebody may have meant by the words that were typed.

docs/search/fuzzy.md
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rapidfuzz.distance import OSA, DamerauLevenshtein, JaroWinkler
from rapidfuzz.process import extract

from fhir_server.matching.names import namesakes
from fhir_server.search import vocabulary
from fhir_server.search.access import Access

EXACT, NAMESAKE, BEGUN = 0.0, 0.5, 0.75
"""What a word is away from the one that was typed: the word itself, a nickname, what it begins. Each slip counts 1."""
MOST: Final = 64
"""So many words are tried for one that was typed, the nearest first."""
MOST_BEGUN: Final = 200
SHORTEST_BEGUN: Final = 2
SHORTEST: Final = 3
"""In shorter words no slips are looked for."""
LONG: Final = 5
"""Of shorter words too little is left without two letters: two slips in them are looked for where letters are missing."""

Meanings = Mapping[str, float]
"""Known words, the nearest first, and how far they are away."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """What the words that were typed may mean, in their order."""

    words: tuple[str, ...]
    meanings: tuple[Meanings, ...]


async def nearest(access: Access, words: Sequence[str], begun: str) -> Expanded:
    """Return the words themselves, nicknames, words with one slip, and what `begun`, one of them, begins."""
    reading = _within(access, words, 1)
    beginning = vocabulary.words_from(access, begun, MOST_BEGUN) if len(begun) >= SHORTEST_BEGUN else _nothing()
    known, begins = await asyncio.gather(reading, beginning)
    meanings = _measured(words, known, 1)
    for word, found in zip(words, meanings, strict=True):
        others = dict.fromkeys(namesakes(word), NAMESAKE)
        if word == begun:
            others = dict.fromkeys((one for one in begins if one != word), BEGUN) | others
        for other, distance in others.items():
            found[other] = min(distance, found.get(other, distance))
    return Expanded(tuple(words), tuple(_sorted(word, found) for word, found in zip(words, meanings, strict=True)))


async def farther(access: Access, expanded: Expanded) -> Expanded:
    """Return the same with the words that two slips lead to."""
    found = _measured(expanded.words, await _within(access, expanded.words, 2), 2)
    both = [far | dict(near) for far, near in zip(found, expanded.meanings, strict=True)]
    return Expanded(expanded.words, tuple(_sorted(word, one) for word, one in zip(expanded.words, both, strict=True)))


async def _nothing() -> list[str]:
    return []


async def _within(access: Access, words: Iterable[str], slips: int) -> set[str]:
    """Return the words that so many slips may lead to, and others."""
    return await vocabulary.words_left(access, {text for word in words for text in (_left, _left_far)[slips - 1](word)})


def _left(word: str) -> Iterator[str]:
    """Yield what is left of a word and of those that are one slip away."""
    one, _ = vocabulary.shortened(word) if len(word) >= SHORTEST else ({word}, set())
    for text in one:
        yield vocabulary.ONE_LESS + text


def _left_far(word: str) -> Iterator[str]:
    """Yield what is left of a word and of those that are two slips away."""
    if len(word) < SHORTEST:
        return
    one, two = vocabulary.shortened(word)
    for text in (one | two) if len(word) >= LONG else one:
        if len(text) >= SHORTEST:
            yield vocabulary.TWO_LESS + text
    for text in two if len(word) >= LONG else one:
        yield vocabulary.ONE_LESS + text


def _measured(words: Sequence[str], known: Iterable[str], slips: int) -> list[dict[str, float]]:
    """Return for each word those that are at most so many slips away, and how many."""
    choices = list(known)
    return [_near(word, choices, slips if len(word) >= SHORTEST else 0) for word in words]


def _near(word: str, choices: Sequence[str], most: int) -> dict[str, float]:
    # Two slips where two letters have changed places and one came between them are three for OSA, which is much faster.
    others = extract(word, choices, scorer=OSA.distance, score_cutoff=most + (most > 1), limit=None)
    found = ((one, distance if distance <= most else DamerauLevenshtein.distance(word, one)) for one, distance, _ in others)
    return {one: float(distance) for one, distance in found if distance <= most}


def _sorted(word: str, found: Mapping[str, float]) -> Meanings:
    nearest = sorted(found, key=lambda one: (found[one], -JaroWinkler.similarity(word, one), one))
    return {one: found[one] for one in nearest[: MOST + MOST_BEGUN]}
