"""Patients with the names that people have, and what somebody types who looks for one of them.

The names and how common they are come from the package `names` (MIT), which has the tables of the United States Census
Bureau of 1990: 88,799 family names and 5,494 given names, in the public domain.
"""

import string
from collections.abc import Callable
from importlib.resources import files
from itertools import accumulate
from random import Random
from typing import Any

from bench.population import Population, Resource

Slip = Callable[[Random, str], str]
_SECOND_NAME = 0.4
_SHORTEST = 4
"""Words of fewer letters are typed without slips: with one they might be anything."""


class Names:
    """Names with their weights."""

    def __init__(self) -> None:
        self.families, self._family_weights = _read("dist.all.last")
        female, male = _read("dist.female.first"), _read("dist.male.first")
        self._givens = {"female": female, "male": male}

    def family(self, rng: Random) -> str:
        """Return a family name."""
        return rng.choices(self.families, cum_weights=self._family_weights)[0]

    def given(self, rng: Random, gender: str) -> list[str]:
        """Return one given name, or two."""
        names, weights = self._givens[gender]
        return list(dict.fromkeys(rng.choices(names, cum_weights=weights, k=2 if rng.random() < _SECOND_NAME else 1)))


def _read(name: str) -> tuple[list[str], list[float]]:
    lines = [line.split() for line in (files("names") / name).read_text("ascii").splitlines()]
    return [line[0].title() for line in lines], list(accumulate(max(float(line[1]), 0.0005) for line in lines))


class People:
    """The population of `bench.population` with these names."""

    def __init__(self, seed: int = 1) -> None:
        self._population = Population(seed)
        self._seed = seed
        self._names = Names()

    def patient(self, number: int) -> Resource:
        """Return a patient."""
        patient = self._population.patient(number)
        rng = Random(f"{self._seed}/name/{number}")
        name = {"use": "official", "family": self._names.family(rng), "given": self._names.given(rng, patient["gender"])}
        return {**patient, "name": [name]}


def slip(rng: Random, word: str) -> str:
    """Return a word with one slip: a letter left out, doubled or put in, another one, or two swapped."""
    if len(word) < _SHORTEST:
        return word
    place = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:place] + word[place + 1 :]
    if kind == 1:
        return word[:place] + rng.choice(string.ascii_lowercase) + word[place:]
    if kind == 2:  # noqa: PLR2004 -- the kinds are numbered
        return word[:place] + rng.choice(string.ascii_lowercase) + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def twice(rng: Random, word: str) -> str:
    """Return a word with two slips."""
    return slip(rng, slip(rng, word))


def kinds() -> dict[str, Callable[[Random, Resource], str]]:
    """Return what may be typed to find a patient, by kind."""

    def name(given: Slip, family: Slip, *, swapped: bool = False) -> Callable[[Random, Resource], str]:
        def typed(rng: Random, patient: Resource) -> str:
            words = [given(rng, _given(patient)), family(rng, _family(patient))]
            return " ".join(reversed(words) if swapped else words)

        return typed

    return {
        "exact": name(_plain, _plain),
        "one slip in each name": name(slip, slip),
        "two slips in the family name": name(_plain, twice),
        "swapped, with a slip": name(_plain, slip, swapped=True),
        "family name begun": lambda _, patient: f"{_given(patient)} {_family(patient)[:4]}",
        "slip, and the date of birth": lambda rng, patient: f"{slip(rng, _family(patient))} {patient['birthDate']}",
        "phone number": lambda _, patient: str(patient["telecom"][0]["value"]),
        "MRN": lambda _, patient: str(patient["identifier"][0]["value"]),
    }


def _plain(_: Random, word: str) -> str:
    return word


def _given(patient: dict[str, Any]) -> str:
    return str(patient["name"][0]["given"][0]).lower()


def _family(patient: dict[str, Any]) -> str:
    return str(patient["name"][0]["family"]).lower()


def is_meant(patient: Resource, found: Resource) -> bool:
    """Tell whether who was found has the names of the one who was meant: nothing else was typed that tells them apart."""
    ours, theirs = patient["name"][0], found["name"][0]
    return bool(ours["family"] == theirs["family"] and ours["given"][0] in theirs["given"])
