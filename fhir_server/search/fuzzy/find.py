"""Patients that may be meant by what was typed, the best first.

docs/search/fuzzy.md

Few patients are looked at, however many there are: those of the pairs of words that are near enough, of the numbers, and
of the date of birth. Only where this finds too little, words with two slips are tried as well.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from fhir_server.search.access import Access, Document
from fhir_server.search.fuzzy import expand, rank
from fhir_server.search.fuzzy.expand import EXACT, Expanded, Meanings
from fhir_server.search.fuzzy.keys import FIELD, pair
from fhir_server.search.fuzzy.typed import Typed
from fhir_server.search.sort import Filter, all_of
from fhir_server.search.types import string

MOST: Final = 50
"""So many patients are shown at most."""
MOST_PAIRS: Final = 600
MOST_WORDS: Final = 100
READ: Final = 40
READ_FAR: Final = 60
READ_DAY: Final = 300
NEAR: Final = 1.0
ENOUGH: Final = 0.85
"""What fits so well is not surpassed by a word with two slips."""
_TYPE: Final = "Patient"
FIELDS: Final = {"name": "s.name", "birthdate": "s.birthdate"}
"""What is looked at of each patient, by the search parameter that it is of."""
_MONTH: Final = 7


@dataclass(frozen=True, slots=True)
class Sought:
    """What was typed, and the filters of what is not a name."""

    typed: Typed
    narrow: Filter
    """Whom to look among."""
    dates: Sequence[Filter] = ()
    numbers: Sequence[Filter] = ()

    @property
    def is_day(self) -> bool:
        """Whether a whole date of birth was typed, which few patients share."""
        return any(len(way) > _MONTH for ways in self.typed.dates for way in ways)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A patient, and how well it fits."""

    score: float
    document: Document


@dataclass(slots=True)
class Finder:
    """Looks for patients in one or two steps."""

    access: Access
    sought: Sought
    projection: Mapping[str, Any]
    """What to read of each patient: `FIELDS`, and what is shown."""
    _found: dict[str, Document] = field(default_factory=dict)
    _hits: list[set[str]] = field(default_factory=list)

    async def best(self, count: int) -> list[Ranked]:
        """Return up to `count` patients that fit best."""
        typed = self.sought.typed
        numbers = asyncio.gather(*(self._read([one], READ) for one in self.sought.numbers))
        expanded = await expand.nearest(self.access, typed.words, typed.open) if typed.words else Expanded((), ())
        await self._look(self._near(expanded))
        self._hits = [{document["i"] for document in found} for found in await numbers]
        ranked = self._ranked(expanded)
        if typed.words and not self._suffices(ranked, count):
            expanded = await expand.farther(self.access, expanded)
            await self._look(self._far(expanded))
            ranked = self._ranked(expanded)
        if not ranked and len(typed.words) > 1:
            await self._look(self._apart(expanded))
            ranked = self._ranked(expanded)
        return ranked[:count]

    def _suffices(self, ranked: Sequence[Ranked], count: int) -> bool:
        """Tell whether words with two slips would not change what is shown first."""
        if ranked and ranked[0].score > 1 - 2 * rank.ANOTHER_WORD:
            return True
        return len(ranked) >= count and ranked[count - 1].score >= ENOUGH

    def _ranked(self, expanded: Expanded) -> list[Ranked]:
        found = []
        for id_, document in self._found.items():
            fits = rank.score(self.sought.typed, expanded, document, [id_ in hits for hits in self._hits])
            if fits >= rank.LEAST:
                found.append(Ranked(fits, document))
        return sorted(found, key=lambda one: (-one.score, one.document["i"]))

    async def _look(self, lookups: Iterable[tuple[list[Filter], int]]) -> None:
        await asyncio.gather(*(self._read(filters, limit) for filters, limit in lookups))

    async def _read(self, filters: list[Filter], limit: int) -> list[Document]:
        wanted = all_of([one for one in (self.sought.narrow, *filters) if one])
        documents = await self.access.read(_TYPE, wanted, self.projection, limit=limit)
        self._found |= {document["i"]: document for document in documents}
        return documents

    def _near(self, expanded: Expanded) -> list[tuple[list[Filter], int]]:
        """Return what to look up first, with how much to read of it."""
        dates = [_any_of(self.sought.dates)] if self.sought.dates else []
        meanings = expanded.meanings
        if not meanings:
            return [(dates, READ_DAY)] if dates else []
        named = [self._having(one, NEAR) for one in meanings]
        lookups: list[tuple[list[Filter], int]] = []
        if dates:
            lookups.append(([*dates, _any_of(named) if self.sought.is_day else self._by_name(expanded)], READ))
        if len(meanings) == 1:
            exact = [word for word, distance in meanings[0].items() if distance == EXACT]
            others = [word for word, distance in meanings[0].items() if EXACT < distance <= NEAR][:MOST_WORDS]
            return [*lookups, *(([_having_words(words)], READ_FAR) for words in (exact, others) if words)]
        if len(meanings) > 2:  # noqa: PLR2004 -- a pair
            for one, other in combinations(range(len(meanings)), 2):
                rest = [named[place] for place in range(len(meanings)) if place not in (one, other)]
                both = Expanded((), (meanings[one], meanings[other]))
                lookups.append(([_among(_pairs(both, EXACT, 2 * NEAR)), *rest], READ))
        tiers = ((EXACT, EXACT, READ), (0.1, NEAR, READ), (NEAR + 0.1, 2 * NEAR, READ_FAR))
        found = ((_pairs(expanded, least, most), limit) for least, most, limit in tiers)
        return [*lookups, *(([_among(keys)], limit) for keys, limit in found if keys)]

    def _by_name(self, expanded: Expanded) -> Filter:
        if len(expanded.meanings) == 1:
            return self._having(expanded.meanings[0], NEAR)
        return _among(_pairs(expanded, EXACT, 2 * NEAR))

    def _far(self, expanded: Expanded) -> list[tuple[list[Filter], int]]:
        """Return what two slips in a word lead to."""
        if len(expanded.meanings) == 1:
            words = [word for word, distance in expanded.meanings[0].items() if distance > NEAR][:MOST_WORDS]
            return [([_having_words(words)], READ_FAR)] if words else []
        keys = _pairs(expanded, NEAR + 0.1, 3 * NEAR, slipped=True)
        return [([_among(keys)], READ_FAR)] if keys else []

    def _apart(self, expanded: Expanded) -> list[tuple[list[Filter], int]]:
        """Return patients that have one of the words only."""
        return [([self._having(one, NEAR)], READ) for one in expanded.meanings if one]

    def _having(self, meanings: Meanings, most: float) -> Filter:
        return _having_words([word for word, distance in meanings.items() if distance <= most][:MOST_WORDS])


def _pairs(expanded: Expanded, least: float, most: float, *, slipped: bool = False) -> list[str]:
    """Return the pairs of words that are so far away together, the nearest first; `slipped`: one word has two slips."""
    found: dict[str, float] = {}
    for one, other in combinations(expanded.meanings, 2):
        for ours, distance in one.items():
            if distance > most:
                break
            for theirs, further in other.items():
                together = distance + further
                if together > most:
                    break
                if together >= least and (not slipped or max(distance, further) > NEAR):
                    key = pair(ours, theirs)
                    found[key] = min(together, found.get(key, together))
    return sorted(sorted(found, key=found.__getitem__)[:MOST_PAIRS])


def _among(keys: Sequence[str]) -> Filter:
    return {f"s.{FIELD}": {"$in": list(keys)}}


def _having_words(words: Sequence[str]) -> Filter:
    return string.having_words("s.name", words)


def _any_of(filters: Sequence[Filter]) -> Filter:
    return filters[0] if len(filters) == 1 else {"$or": list[Any](filters)}
