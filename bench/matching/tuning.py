"""Sets what can not be counted: caps, penalties, and weights of levels that depend on each other.

A walk along one number after the other, by ever smaller steps, as long as the best F1 on the seeds for training grows.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bench.matching.evaluate import candidates, labelled
from bench.matching.population import make
from fhir_server.matching import Model, default_model
from fhir_server.matching.score import judge, levels_of

STEPS = (2.0, 1.0, 0.5)
TUNED: dict[str, tuple[str, ...]] = {
    "given": ("nickname", "similar", "sounds", "initial", "middle", "different"),
    "middle": ("different",),
    "family": ("part", "similar", "sounds", "renamed", "different"),
    "names": ("swapped", "crossed"),
    "birth": ("swapped", "digit", "near", "different"),
    "gender": ("different",),
    "phone": ("similar", "different"),
    "email": ("similar", "different"),
}
RULES = ("household_cap", "other_given", "other_birth", "least_address")
Levels = tuple[tuple[str, str], ...]


class Tuner:
    """Tries models on labelled populations, whose pairs are compared once."""

    def __init__(self, seeds: Iterable[int]) -> None:
        self._patterns: Counter[tuple[Levels, bool]] = Counter()
        self._truths = 0
        for seed in seeds:
            data = labelled(f"seed {seed}", make(seed))
            records = data.records()
            self._truths += len(data.truth)
            for one, other in candidates(data, records):
                levels = tuple(levels_of(default_model(), records[one], records[other]))
                self._patterns[levels, (one, other) in data.truth] += 1

    def quality(self, model: dict[str, Any]) -> tuple[float, float]:
        """Return the best F1 of a model, and at how many bits."""
        checked = Model.model_validate(model)
        scored = sorted(
            ((judge(checked, list(levels)).bits, same, number) for (levels, same), number in self._patterns.items()),
            key=lambda one: -one[0],
        )
        right = wrong = 0
        top = (0.0, 0.0)
        for place, (bits, same, number) in enumerate(scored):
            right, wrong = right + same * number, wrong + (not same) * number
            if place + 1 == len(scored) or scored[place + 1][0] != bits:
                top = max(top, (2 * right / (right + wrong + self._truths), bits))
        return top

    def tuned(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return a model that does better."""
        top = self.quality(model)
        for step in STEPS:
            for path in [(rule,) for rule in RULES] + [("weights", field, level) for field in TUNED for level in TUNED[field]]:
                for change in (step, -step):
                    model, top = self._walk(model, path, change, top)
            print(f"steps of {step}: F1 {top[0]:.4f} at {top[1]:.1f} bits", flush=True)
        return model

    def _walk(
        self, model: dict[str, Any], path: tuple[str, ...], change: float, top: tuple[float, float]
    ) -> tuple[dict[str, Any], tuple[float, float]]:
        while True:
            tried = changed(model, path, change)
            found = self.quality(tried)
            if found[0] < top[0] + 1e-5:
                return model, top
            model, top = tried, found


def changed(model: dict[str, Any], path: tuple[str, ...], change: float) -> dict[str, Any]:
    """Return a copy of a model with one number changed."""
    found: dict[str, Any] = json.loads(json.dumps(model))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = round(inner[path[-1]] + change, 2)
    return found
