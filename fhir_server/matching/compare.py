"""How two records agree, field by field: a level for each field that both have.

The levels of a field are ordered from the strongest agreement to disagreement; which weight each has is the model's
(`fhir_server.matching.model`).
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product
from typing import Final

import phonenumbers
from rapidfuzz.distance import DamerauLevenshtein, JaroWinkler

from fhir_server.fhir.contact import normal_phone
from fhir_server.matching.keys import any_order
from fhir_server.matching.names import are_nicknames, namesakes, sounds
from fhir_server.matching.record import Address, Name

Level = str
EXACT, SIMILAR, DIFFERENT = "exact", "similar", "different"
NICKNAME, SOUNDS, INITIAL, MIDDLE, PART = "nickname", "sounds", "initial", "middle", "part"
SWAPPED, CROSSED, RENAMED, DIGIT, NEAR = "swapped", "crossed", "renamed", "digit", "near"

LEVELS: Final = {
    "given": (EXACT, NICKNAME, SIMILAR, SOUNDS, INITIAL, MIDDLE, DIFFERENT),
    "middle": (EXACT, INITIAL, DIFFERENT),
    "family": (EXACT, PART, SIMILAR, SOUNDS, RENAMED, DIFFERENT),
    "names": (SWAPPED, CROSSED),
    "birth": (EXACT, SWAPPED, DIGIT, NEAR, PART, DIFFERENT),
    "gender": (EXACT, DIFFERENT),
    "generation": (EXACT, DIFFERENT),
    "phone": (EXACT, SIMILAR, DIFFERENT),
    "email": (EXACT, SIMILAR, DIFFERENT),
    "number": (EXACT, DIFFERENT),
    "street": (EXACT, SIMILAR, DIFFERENT),
    "city": (EXACT, DIFFERENT),
    "postcode": (EXACT, SIMILAR, DIFFERENT),
    "identifier": (EXACT, DIFFERENT),
}
"""Every field with its levels."""

_ALIKE: Final = 0.88
_SHORTEST_ALIKE: Final = 3
_SHORTEST_SLIP: Final = 4
_PHONE_END: Final = 8
_REMEMBERED: Final = 1 << 16
_DAY, _MONTH, _YEAR = 8, 6, 4


@lru_cache(_REMEMBERED)
def alike(one: str, other: str) -> bool:
    """Tell whether two words differ by what a slip of the finger changes."""
    if min(len(one), len(other)) < _SHORTEST_ALIKE:
        return False
    if DamerauLevenshtein.distance(one, other, score_cutoff=1) <= 1:
        return True
    return JaroWinkler.similarity(one, other, score_cutoff=_ALIKE) > 0


@lru_cache(_REMEMBERED)
def first_names(one: str, other: str) -> Level:
    """Compare two first names."""
    if one == other:
        return EXACT
    if are_nicknames(one, other):
        return NICKNAME
    if len(one) == 1 or len(other) == 1:
        return INITIAL if one[0] == other[0] else DIFFERENT
    if alike(one, other):
        return SIMILAR
    if not sounds(one).isdisjoint(sounds(other)) or _is_misspelt_nickname(one, other) or _is_misspelt_nickname(other, one):
        return SOUNDS
    return DIFFERENT


def _is_misspelt_nickname(name: str, other: str) -> bool:
    """Tell whether the other is, but for a slip of the finger, a name that stands for the first."""
    size = len(other)
    if size < _SHORTEST_SLIP:
        return False
    distance = DamerauLevenshtein.distance
    return any(-1 <= len(one) - size <= 1 and distance(one, other, score_cutoff=1) <= 1 for one in _long_namesakes(name))


@lru_cache(_REMEMBERED)
def _long_namesakes(name: str) -> tuple[str, ...]:
    return tuple(one for one in namesakes(name) if len(one) >= _SHORTEST_SLIP)


@lru_cache(_REMEMBERED)
def family_words(one: str, other: str) -> Level:
    """Compare two family names."""
    if one == other:
        return EXACT
    if alike(one, other):
        return SIMILAR
    return DIFFERENT if sounds(one).isdisjoint(sounds(other)) else SOUNDS


def given(one: Name, other: Name) -> Level | None:
    """Compare the given names, the first above all; None where one has none."""
    if not one.given or not other.given:
        return None
    level = first_names(one.given[0], other.given[0])
    if level == DIFFERENT and _meet(one.given, other.given):
        return MIDDLE
    return level


def _meet(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Tell whether someone's first name is among the other's further ones."""
    return (len(theirs) > 1 and ours[0] in theirs) or (len(ours) > 1 and theirs[0] in ours)


def middle(one: Name, other: Name) -> Level | None:
    """Compare the second given names."""
    if len(one.given) < 2 or len(other.given) < 2:  # noqa: PLR2004 -- the second
        return None
    ours, theirs = one.given[1], other.given[1]
    if ours == theirs:
        return EXACT
    if len(ours) == 1 or len(theirs) == 1:
        return INITIAL if ours[0] == theirs[0] else DIFFERENT
    return EXACT if alike(ours, theirs) else DIFFERENT


def family(one: Name, other: Name) -> Level | None:
    """Compare the family names; None where one has none."""
    if not one.family or not other.family:
        return None
    level = family_words(one.family, other.family)
    if level in (DIFFERENT, SOUNDS) and (len(one.parts) > 1 or len(other.parts) > 1 or one.family != "".join(one.parts)):
        if not set(one.parts).isdisjoint(other.parts):
            return PART
        if any(alike(ours, theirs) for ours, theirs in product(one.parts, other.parts)):
            return SOUNDS
    return level


def crossed(one: Name, other: Name) -> Level | None:
    """Compare given names with family names, which people write into each other's place; None where they do not agree."""
    if not (one.given and other.given and one.family and other.family):
        return None
    levels = first_names(one.given[0], other.family), first_names(other.given[0], one.family)
    if not {DIFFERENT, SOUNDS, INITIAL, MIDDLE} & set(levels):
        return SWAPPED
    return CROSSED if EXACT in levels else None


@lru_cache(_REMEMBERED)
def birth(one: str, other: str) -> Level:
    """Compare two dates of birth, of which one may be a year or a month only."""
    if len(one) < _DAY or len(other) < _DAY:
        known = min(len(one), len(other))
        return PART if one[:known] == other[:known] else DIFFERENT
    if one == other:
        return EXACT
    if any_order(one) == any_order(other):
        return SWAPPED
    if DamerauLevenshtein.distance(one, other, score_cutoff=1) <= 1:
        return DIGIT
    same = (one[:4] == other[:4]) + (one[4:6] == other[4:6]) + (one[6:] == other[6:])
    return NEAR if same == 2 else DIFFERENT  # noqa: PLR2004 -- two of year, month and day


def phone(ours: tuple[str, ...], theirs: tuple[str, ...]) -> Level:
    """Compare phone numbers, of which one may lack the prefix of its country or area."""
    ends = {number[-_PHONE_END:]: number for number in theirs}
    level = DIFFERENT
    for number in ours:
        found = ends.get(number[-_PHONE_END:])
        if found is not None:
            if same_phone(number, found):
                return EXACT
            level = SIMILAR
    if level == DIFFERENT and any(_is_slip(number, found) for number in ours for found in theirs):
        return SIMILAR
    return level


def _is_slip(one: str, other: str) -> bool:
    return len(one) == len(other) and DamerauLevenshtein.distance(one, other, score_cutoff=1) <= 1


@lru_cache(_REMEMBERED)
def same_phone(one: str, other: str) -> bool:
    """Tell whether two numbers, as digits, are one: https://github.com/google/libphonenumber."""
    if one == other:
        return True
    if one.endswith(other) or other.endswith(one):
        return True
    # Numbers of Mexico and Brazil have gained or lost a digit.
    if (normal := normal_phone(f"+{one}", "")) and normal == normal_phone(f"+{other}", ""):
        return True
    return bool(phonenumbers.is_number_match(_international(one), _international(other)) >= phonenumbers.MatchType.NSN_MATCH)


def _international(digits: str) -> str:
    """Return a number with its `+` where it has the length of one with a country."""
    return "+" + digits if len(digits) > 10 else digits  # noqa: PLR2004 -- longer than a number of North America


def email(ours: tuple[str, ...], theirs: tuple[str, ...]) -> Level:
    """Compare email addresses."""
    if not set(ours).isdisjoint(theirs):
        return EXACT
    return SIMILAR if any(_alike_addresses(one, other) for one, other in product(ours, theirs)) else DIFFERENT


@lru_cache(_REMEMBERED)
def _alike_addresses(one: str, other: str) -> bool:
    if one.partition("@")[0] == other.partition("@")[0]:
        return True
    return DamerauLevenshtein.distance(one, other, score_cutoff=2) <= 2  # noqa: PLR2004 -- slips


def address(one: Address, other: Address) -> list[tuple[str, Level]]:
    """Compare two addresses: field and level of each part that both have."""
    return [
        (field, compare(ours, theirs))
        for field, compare, ours, theirs in (
            ("number", _plain, one.number, other.number),
            ("street", street, one.street, other.street),
            ("city", _city, one.city, other.city),
            ("postcode", postcode, one.postcode, other.postcode),
        )
        if ours and theirs
    ]


Compare = Callable[[str, str], Level]


def _plain(one: str, other: str) -> Level:
    return EXACT if one == other else DIFFERENT


def _city(one: str, other: str) -> Level:
    return EXACT if one == other or alike(one, other) else DIFFERENT


@lru_cache(_REMEMBERED)
def street(one: str, other: str) -> Level:
    """Compare two streets."""
    if one == other:
        return EXACT
    ours, theirs = one.split(), other.split()
    if JaroWinkler.similarity(one, other, score_cutoff=0.9) > 0 or sorted(ours) == sorted(theirs):
        return SIMILAR
    shorter, longer = sorted((ours, theirs), key=len)
    return SIMILAR if all(any(word == found or alike(word, found) for found in longer) for word in shorter) else DIFFERENT


@lru_cache(_REMEMBERED)
def postcode(one: str, other: str) -> Level:
    """Compare two postal codes."""
    if one == other:
        return EXACT
    return SIMILAR if DamerauLevenshtein.distance(one, other, score_cutoff=1) <= 1 else DIFFERENT


def identifiers(ours: frozenset[str], theirs: frozenset[str], exclusive: Iterable[str]) -> Level | None:
    """Compare identifiers: the same one, or others of a system that gives everyone one only (`exclusive`)."""
    if not ours or not theirs:
        return None
    if any(not entry.startswith("|") and not entry.endswith("|") for entry in ours & theirs):
        return EXACT
    for system in exclusive:
        ending = "|" + system
        if any(one.endswith(ending) for one in ours) and any(other.endswith(ending) for other in theirs):
            return DIFFERENT
    return None
