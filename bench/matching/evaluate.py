"""From labelled records to pairs, their scores and what these are worth."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fhir_server.matching import Assessment, Model, Record, assess, match_keys, record_of

Pair = tuple[int, int]
MOST_IN_BLOCK = 500


@dataclass(frozen=True)
class Data:
    """Records, the pairs of them that are one person, and whether only pairs of two sources count."""

    name: str
    patients: list[dict[str, Any]]
    truth: frozenset[Pair]
    sources: list[int] | None = None

    def records(self) -> list[Record]:
        """Return the records as the server compares them."""
        return [record_of(patient) for patient in self.patients]


def labelled(name: str, found: Iterable[tuple[dict[str, Any], int]]) -> Data:
    """Return data whose truth follows from the number of the person behind each record."""
    patients: list[dict[str, Any]] = []
    members: dict[int, list[int]] = defaultdict(list)
    for patient, person in found:
        members[person].append(len(patients))
        patients.append(patient)
    return Data(name, patients, frozenset(pair for group in members.values() for pair in combinations(group, 2)))


def candidates(data: Data, records: list[Record]) -> set[Pair]:
    """Return the pairs that share a blocking key, as the server finds them."""
    blocks: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        for key in match_keys(record):
            blocks[key].append(index)
    found: set[Pair] = set()
    for members in blocks.values():
        if len(members) <= MOST_IN_BLOCK:
            found.update(combinations(members, 2))
    sources = data.sources
    return found if sources is None else {pair for pair in found if sources[pair[0]] != sources[pair[1]]}


def assessments(model: Model, records: list[Record], pairs: Iterable[Pair]) -> dict[Pair, Assessment]:
    """Return the assessment of each pair."""
    return {(one, other): assess(model, records[one], records[other]) for one, other in pairs}


@dataclass(frozen=True)
class Quality:
    """Precision, recall and F1 over all pairs."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def quality(found: set[Pair] | frozenset[Pair], truth: frozenset[Pair]) -> Quality:
    """Judge what was found."""
    right = len(found & truth)
    return Quality(right / len(found) if found else 1.0, right / len(truth) if truth else 1.0)


def best(scores: Mapping[Pair, float], truth: frozenset[Pair]) -> tuple[float, Quality]:
    """Return the threshold with the best F1, which nobody knows without the truth, and what it gives."""
    ordered = sorted(scores.items(), key=lambda one: -one[1])
    right, top, at = 0, Quality(1.0, 0.0), 0.0
    for place, (pair, score) in enumerate(ordered, start=1):
        right += pair in truth
        if place < len(ordered) and ordered[place][1] == score:
            continue
        here = Quality(right / place, right / len(truth))
        if here.f1 > top.f1:
            top, at = here, score
    return at, top
