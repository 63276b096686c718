"""Weights from labelled data: log2 of how often a level occurs among pairs of one person, over how often among others.

How often among others is counted in pairs of records drawn at random, in addition to what chance gives rare levels
(half a pair), so that no weight is infinite.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable

from bench.matching.evaluate import Data, Pair
from fhir_server.matching import Record, default_model
from fhir_server.matching.score import levels_of

RANDOM_PAIRS = 2_000_000
Counts = dict[str, Counter[str]]


def count(records: list[Record], pairs: Iterable[Pair]) -> Counts:
    """Return how often each level of each field occurs."""
    found: Counts = defaultdict(Counter)
    for one, other in pairs:
        for field, level in levels_of(default_model(), records[one], records[other]):
            found[field][level] += 1
    return found


def random_pairs(rng: random.Random, data: Data, number: int) -> Iterable[Pair]:
    """Yield pairs that are not of one person."""
    size = len(data.patients)
    for _ in range(number):
        one, other = sorted((rng.randrange(size), rng.randrange(size)))
        if one != other and (one, other) not in data.truth:
            yield one, other


def fitted(data: Iterable[Data], seed: int = 0, number: int = RANDOM_PAIRS) -> dict[str, dict[str, float]]:
    """Return the weight of each level that occurs, in bits."""
    rng = random.Random(seed)
    same: Counts = defaultdict(Counter)
    other: Counts = defaultdict(Counter)
    sets = list(data)
    for one in sets:
        records = one.records()
        for counts, pairs in ((same, one.truth), (other, random_pairs(rng, one, number // len(sets)))):
            for field, levels in count(records, pairs).items():
                counts[field].update(levels)
    sizes = [max(counts["given"].total() + counts["names"].total(), 1) for counts in (same, other)]
    return {field: _weights(same[field], other[field], sizes if field == "names" else None) for field in same}


def _weights(same: Counter[str], other: Counter[str], sizes: list[int] | None = None) -> dict[str, float]:
    ours, theirs = sizes or (same.total(), max(other.total(), 1))
    return {
        level: round(math.log2((same[level] + 0.5) / (ours + 1)) - math.log2((other[level] + 0.5) / (theirs + 1)), 2)
        for level in sorted({*same, *other}, key=lambda level: -same[level])
    }
