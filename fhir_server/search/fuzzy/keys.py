"""Pairs of words of a patient's names, which a search as people type looks up.

docs/search/fuzzy.md

A pair is a given name and a family name in alphabetical order, so that it does not matter which comes first. Pairs are kept
among the keys that duplicates are found by, since one index serves both.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from fhir_server import matching
from fhir_server.matching.names import name_words, parts

FIELD: Final = matching.FIELD
PAIR: Final = "~"
"""What marks a pair; other keys of the field begin with other letters."""
MOST_PAIRS: Final = 16
MOST_NAMES: Final = 8
_MOST_WORDS: Final = 4
_LONGEST: Final = 32
"""So many letters of a word stand in a pair."""

Name = Mapping[str, Any]


def entries(patient: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the index entries of a valid Patient."""
    names = patient.get("name")
    found = pairs(names) if names else []
    return {FIELD: found} if found else {}


def pairs(names: Iterable[Name]) -> list[str]:
    """Return the keys of HumanNames, sorted, each once."""
    kept = [name for name, _ in zip(names, range(MOST_NAMES), strict=False)]
    given = [_given(name) for name in kept]
    family = [_family(name) for name in kept]
    usual_given, usual_family = next(filter(None, given), ()), next(filter(None, family), ())
    found: dict[str, None] = {}
    for name, ours, theirs in zip(kept, given, family, strict=True):
        if not ours and not theirs:
            text = parts(name_words(name.get("text") or "")[0])[:_MOST_WORDS]
            found |= dict.fromkeys(pair(one, other) for one, other in combinations(dict.fromkeys(text), 2))
            continue
        # A maiden name often stands alone, and a nickname too: they go with the rest of the usual name.
        found |= dict.fromkeys(_pairs(ours or usual_given, theirs or usual_family))
    return sorted(list(found)[:MOST_PAIRS])


def pair(one: str, other: str) -> str:
    """Return the key of two words."""
    one, other = one[:_LONGEST], other[:_LONGEST]
    return f"{PAIR}{one} {other}" if one <= other else f"{PAIR}{other} {one}"


def words_of(keys: Iterable[str]) -> Iterator[str]:
    """Yield the words of those keys that are pairs."""
    for key in keys:
        if key[:1] == PAIR:
            yield from key[1:].split(" ")


def joined(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words, and all of them as one where there are several: `anne`, `marie` and `annemarie`."""
    return (*words, "".join(words)) if len(words) > 1 else words


def _given(name: Name) -> tuple[str, ...]:
    return tuple(word for text in name.get("given", ()) if text for word in joined(name_words(text)[0]))[:_MOST_WORDS]


def _family(name: Name) -> tuple[str, ...]:
    words = name_words(name["family"])[0] if name.get("family") else ()
    return (*parts(words)[:_MOST_WORDS], *joined(words)[len(words) :])


def _pairs(given: tuple[str, ...], family: tuple[str, ...]) -> Iterator[str]:
    if given and family:
        for one in given:
            for other in family:
                yield pair(one, other)
        return
    for one, other in combinations(dict.fromkeys(given or family), 2):
        yield pair(one, other)
