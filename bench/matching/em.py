"""Weights of a population that nobody has labelled, by expectation maximisation, as Fellegi and Sunter's model has it.

How often a level occurs among pairs of different persons is counted in random pairs; how often among pairs of one person is
what makes the pairs that share a blocking key likeliest. Relatives who live together would be taken for one person by this,
so it is for populations of single persons, such as FEBRL's.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from bench.matching.evaluate import Data, Pair
from bench.matching.weights import count, random_pairs
from fhir_server.matching import Model, Record, default_model
from fhir_server.matching.compare import LEVELS
from fhir_server.matching.score import levels_of

ROUNDS, RANDOM_PAIRS, LEAST = 30, 400_000, 0.05
SINGLE = {"household_cap": 60.0, "least_address": -60.0, "other_given": 0.0, "other_birth": 0.0}
"""What a population without households changes of the default model."""
Shares = dict[str, dict[str, float]]
Pattern = tuple[tuple[str, str], ...]


def estimated(data: Data, records: list[Record], pairs: Iterable[Pair], seed: int = 0) -> Model:
    """Return the model of a population: all weights that its pairs say something about, the others as they are by default."""
    patterns: Counter[Pattern] = Counter(tuple(levels_of(default_model(), records[one], records[other])) for one, other in pairs)
    rng = random.Random(seed)
    # Whether a random pair is one person is not asked: nearly none is.
    unlabelled = Data(data.name, data.patients, frozenset(), data.sources)
    others = _shares(count(records, random_pairs(rng, unlabelled, RANDOM_PAIRS)))
    same = {field: _first(levels) for field, levels in LEVELS.items()}
    share = 0.5
    for _ in range(ROUNDS):
        share, same = _round(patterns, share, same, others)
    base = default_model().model_dump()
    weights = {field: dict(levels) for field, levels in base["weights"].items()}
    for field, levels in same.items():
        for level, found in levels.items():
            if field in others:
                weights[field][level] = round(max(-20.0, min(20.0, math.log2(found / others[field][level]))), 2)
    return Model.model_validate(base | SINGLE | {"weights": weights})


def _first(levels: tuple[str, ...]) -> dict[str, float]:
    """Return what is assumed first: agreement in nine of ten."""
    rest = len(levels) - 1
    return {level: (0.9 if place == 0 else 0.1 / rest) if rest else 0.9 for place, level in enumerate(levels)}


def _shares(counts: Mapping[str, Counter[str]]) -> Shares:
    found: Shares = {}
    total = max((levels.total() for levels in counts.values()), default=0)
    for field, levels in LEVELS.items():
        size = max(counts[field].total(), 1) if field != "names" else total
        found[field] = {level: (counts[field][level] + LEAST) / (size + LEAST * len(levels)) for level in levels}
    return found


def _round(patterns: Counter[Pattern], share: float, same: Shares, others: Shares) -> tuple[float, Shares]:
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    matched = 0.0
    for pattern, number in patterns.items():
        odds = math.log2(share / (1 - share)) + sum(
            math.log2(same[field][level] / others[field][level]) for field, level in pattern
        )
        likely = number / (1 + 2.0 ** min(-odds, 1000.0))
        matched += likely
        for field, level in pattern:
            sums[field][level] += likely
    found: Shares = {}
    for field, levels in LEVELS.items():
        size = matched if field == "names" else sum(sums[field].values())
        found[field] = {level: (sums[field][level] + LEAST) / (size + LEAST * len(levels)) for level in levels}
    return min(max(matched / patterns.total(), 1e-6), 1 - 1e-6), found
