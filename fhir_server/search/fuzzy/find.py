"""Patients that may be meant by what was typed, the best first.

docs/search/fuzzy.md

Few patients are looked at, however many there are: those of the pairs of words that are near enough, of the numbers, and
of the date of birth. Only where this finds too little, words with two slips are tried as well.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from operator import itemgetter
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
READ_DAY: Final = 100
SOMETHING: Final = 0.1
NEAR: Final = 1.0
CLOSE: Final = 0.75
SURE: Final = 0.95
"""Names that fit so well were typed without a slip; while there is room, words with two slips are tried for all others."""
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
    numbers: Sequence[Sequence[Filter]] = ()
    """For each number the ways to find it; together MongoDB would read the whole collection for them."""

    @property
    def is_day(self) -> bool:
        """Whether a whole date of birth was typed, which few patients share."""
        return any(len(way) > _MONTH for ways in self.typed.dates for way in ways)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A patient, and how well it fits."""

    score: float
    document: Document


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is looked up, and how much of it is read."""

    filters: Sequence[Filter]
    limit: int = READ
    near: bool = True
    """Whether what it finds is at most one slip away."""
    further: Filter | None = None
    """What is asked for as well where this finds more than the limit."""


@dataclass(slots=True)
class Finder:
    """Looks for patients in one or two steps."""

    access: Access
    sought: Sought
    projection: Mapping[str, Any]
    """What to read of each patient: `FIELDS`, and what is shown."""
    _found: dict[str, Document] = field(default_factory=dict)
    _near: set[str] = field(default_factory=set)
    _hits: list[set[str]] = field(default_factory=list)

    async def best(self, shown: int) -> list[Ranked]:
        """Return up to `MOST` patients that fit best; the first `shown` matter most."""
        typed = self.sought.typed
        numbers = asyncio.gather(*(self._having_number(ways) for ways in self.sought.numbers))
        expanded = await expand.nearest(self.access, typed.words, typed.open) if typed.words else Expanded((), ())
        await self._look(nearby(self.sought, expanded))
        self._hits = list(await numbers)
        ranked = self._ranked(expanded)
        if typed.words and not self._suffices(ranked, shown):
            expanded = await expand.farther(self.access, expanded)
            await self._look(far_off(expanded))
            ranked = self._ranked(expanded)
        if not ranked and len(typed.words) > 1:
            await self._look([Lookup([_having(one)]) for one in expanded.meanings if one])
            ranked = self._ranked(expanded)
        return ranked[:MOST]

    def _suffices(self, ranked: Sequence[Ranked], shown: int) -> bool:
        """Tell whether words with two slips would not change what is shown first."""
        typed = self.sought.typed
        good = CLOSE if len(ranked) >= shown or typed.dates or typed.numbers else SURE
        if ranked and ranked[0].score >= good and ranked[0].document["i"] in self._near:
            return True
        return len(ranked) >= shown and ranked[shown - 1].score >= ENOUGH

    def _ranked(self, expanded: Expanded) -> list[Ranked]:
        found = []
        for id_, document in self._found.items():
            fits = rank.score(self.sought.typed, expanded, document, [id_ in hits for hits in self._hits])
            if fits >= rank.LEAST:
                found.append(Ranked(fits, document))
        return sorted(found, key=lambda one: (-one.score, one.document["i"]))

    async def _having_number(self, ways: Sequence[Filter]) -> set[str]:
        found = await asyncio.gather(*(self._read(Lookup([way])) for way in ways))
        return set().union(*found)

    async def _look(self, lookups: Iterable[Lookup]) -> None:
        await asyncio.gather(*(self._read(lookup) for lookup in lookups))

    async def _read(self, lookup: Lookup) -> set[str]:
        wanted = all_of([one for one in (self.sought.narrow, *lookup.filters) if one])
        documents = await self.access.read(_TYPE, wanted, self.projection, limit=lookup.limit)
        if lookup.further is not None and len(documents) == lookup.limit:
            documents = await self.access.read(_TYPE, all_of([wanted, lookup.further]), self.projection, limit=READ)
        self._found |= {document["i"]: document for document in documents}
        ids = {document["i"] for document in documents}
        if lookup.near:
            self._near |= ids
        return ids


def nearby(sought: Sought, expanded: Expanded) -> list[Lookup]:
    """Return what to look up first."""
    meanings = expanded.meanings
    if not meanings:
        return [Lookup([_any_of(sought.dates)], READ_DAY)] if sought.dates else []
    lookups = _dated(sought, expanded) if sought.dates else []
    if len(meanings) == 1:
        exact = [word for word, distance in meanings[0].items() if distance == EXACT]
        others = [word for word, distance in meanings[0].items() if EXACT < distance <= NEAR][:MOST_WORDS]
        return [*lookups, *(Lookup([_having_words(words)], READ_FAR) for words in (exact, others) if words)]
    tiers = ((EXACT, EXACT, READ), (SOMETHING, NEAR, READ), (NEAR + SOMETHING, 2 * NEAR, READ_FAR))
    found = ((_pairs(expanded, least, most), limit, most <= NEAR) for least, most, limit in tiers)
    return [*lookups, *_whole(meanings), *(Lookup([_among(keys)], limit, near) for keys, limit, near in found if keys)]


def _dated(sought: Sought, expanded: Expanded) -> list[Lookup]:
    """Return who was born then; where many were born then, who has one of the words, or a pair of them, as well."""
    born = _any_of(sought.dates)
    if sought.is_day:
        return [Lookup([born], READ_DAY, further=_any_of([_having(one) for one in expanded.meanings]))]
    if len(expanded.meanings) == 1:
        return [Lookup([born, _having(expanded.meanings[0])])]
    return [Lookup([born, _among(_pairs(expanded, EXACT, 2 * NEAR))])]


def _whole(meanings: Sequence[Meanings]) -> list[Lookup]:
    """Return who has all of more than two words: of those who have two of them there may be many."""
    lookups = []
    for one, other in combinations(range(len(meanings)), 2) if len(meanings) > 2 else ():  # noqa: PLR2004 -- a pair
        rest = [_having(meanings[place]) for place in range(len(meanings)) if place not in (one, other)]
        keys = _pairs(Expanded((), (meanings[one], meanings[other])), EXACT, 2 * NEAR)
        if keys:
            lookups.append(Lookup([_among(keys), *rest]))
    return lookups


def far_off(expanded: Expanded) -> list[Lookup]:
    """Return what two slips in a word lead to."""
    if len(expanded.meanings) == 1:
        words = [word for word, distance in expanded.meanings[0].items() if distance > NEAR][:MOST_WORDS]
        return [Lookup([_having_words(words)], READ_FAR, near=False)] if words else []
    # Apart: those whose other word is a nickname would fill the limit before those whose other word was typed so.
    tiers = ((NEAR + SOMETHING, 2 * NEAR), (2 * NEAR + SOMETHING, 3 * NEAR))
    found = (_pairs(expanded, least, most, slipped=True) for least, most in tiers)
    return [Lookup([_among(keys)], READ_FAR, near=False) for keys in found if keys]


def _pairs(expanded: Expanded, least: float, most: float, *, slipped: bool = False) -> list[str]:
    """Return the pairs of words that are so far away together, the nearest first; `slipped`: one word has two slips."""
    together = [
        (distance + further, ours, theirs)
        for one, other in combinations(map(_levels, expanded.meanings), 2)
        for distance, ours in one
        for further, theirs in other
        if least <= distance + further <= most and (not slipped or max(distance, further) > NEAR)
    ]
    together.sort(key=itemgetter(0))
    every = (pair(one, other) for _, ours, theirs in together for one in ours for other in theirs)
    found: set[str] = set()
    for key in every:
        found.add(key)
        if len(found) == MOST_PAIRS:
            break
    return sorted(found)


def _levels(meanings: Meanings) -> list[tuple[float, list[str]]]:
    """Return the words of each distance, the nearest first."""
    return [(distance, list(words)) for distance, words in groupby(meanings, meanings.__getitem__)]


def _among(keys: Sequence[str]) -> Filter:
    return {f"s.{FIELD}": {"$in": list(keys)}}


def _having(meanings: Meanings) -> Filter:
    """Return the filter for patients with a word that is at most one slip away."""
    return _having_words([word for word, distance in meanings.items() if distance <= NEAR][:MOST_WORDS])


def _having_words(words: Sequence[str]) -> Filter:
    return string.having_words("s.name", words)


def _any_of(filters: Sequence[Filter]) -> Filter:
    return filters[0] if len(filters) == 1 else {"$or": list[Any](filters)}
