"""Made-up people who live together: names by their frequency, shared phones and addresses, twins, juniors.

Everything follows from one random generator, so the same seed makes the same people.
"""

import random
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

from faker.providers.person.en_US import Provider as English
from faker.providers.person.es_MX import Provider as Spanish

TODAY = date(2026, 1, 1)
STREETS = ("Street", "Avenue", "Road", "Lane", "Drive", "Court")
DOMAINS = ("gmail.com", "yahoo.com", "outlook.com", "aol.com", "icloud.com", "proton.me")
SHARE_SPANISH, SHARE_JUNIOR, SHARE_TWINS = 0.2, 0.04, 0.03


@dataclass(frozen=True)
class Home:
    """Where people live."""

    number: str
    street: str
    city: str
    postcode: str


@dataclass(frozen=True)
class Person:
    """One person, as a careful clerk would write them down; what is unknown is empty."""

    given: str
    middle: str
    family: str
    suffix: str
    gender: str
    birth: str
    phone: str
    email: str
    home: Home | None
    maiden: str = ""


class Weighted:
    """A choice by frequency."""

    def __init__(self, names: Any) -> None:
        pairs = list(names.items()) if hasattr(names, "items") else [(name, 1.0) for name in names]
        self._names = [name for name, _ in pairs]
        self._weights = list(accumulate(weight for _, weight in pairs))

    def pick(self, rng: random.Random) -> str:
        """Return one name."""
        return str(rng.choices(self._names, cum_weights=self._weights)[0])


ENGLISH_FAMILIES, SPANISH_FAMILIES = Weighted(English.last_names), Weighted(Spanish.last_names)
GIVEN = {
    ("male", False): Weighted(English.first_names_male),
    ("female", False): Weighted(English.first_names_female),
    ("male", True): Weighted(Spanish.first_names_male),
    ("female", True): Weighted(Spanish.first_names_female),
}


class Town:
    """Postcodes, their streets, and the families in them."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self._rng = rng
        places = max(12, size // 400)
        self._places = [
            (f"{ENGLISH_FAMILIES.pick(rng)} {rng.choice(('City', 'Falls', 'Springs', 'Park', 'Hill'))}", f"{10_000 + 37 * n}")
            for n in range(places)
        ]
        self._streets = [f"{ENGLISH_FAMILIES.pick(rng)} {rng.choice(STREETS)}" for _ in range(400)]

    def home(self) -> Home:
        """Return an address."""
        city, postcode = self._rng.choice(self._places)
        return Home(str(self._rng.randint(1, 2500)), self._rng.choice(self._streets), city, postcode)

    def phone(self) -> str:
        """Return a phone number."""
        rng = self._rng
        return f"{rng.choice((212, 305, 415, 510, 617, 702, 808, 917))}{rng.randint(200, 999)}{rng.randint(0, 9999):04d}"

    def people(self, size: int) -> list[Person]:
        """Return that many people, household by household."""
        found: list[Person] = []
        while len(found) < size:
            found += self._household()
        return found[:size]

    def _household(self) -> list[Person]:
        rng = self._rng
        spanish = rng.random() < SHARE_SPANISH
        family = self._family(spanish)
        home = self.home()
        landline = self.phone() if rng.random() < 0.6 else ""
        adults = [self.person(spanish, gender, self._born(24, 85), family, home, landline) for gender in self._couple()]
        if len(adults) == 2 and rng.random() < 0.25:
            adults[1] = replace(adults[1], family=self._family(spanish))
        children = self._children(spanish, adults, home, landline) if rng.random() < 0.55 else []
        return adults + children

    def _couple(self) -> list[str]:
        if self._rng.random() < 0.35:
            return [self._rng.choice(("male", "female"))]
        return ["male", "female"]

    def _children(self, spanish: bool, adults: list[Person], home: Home, landline: str) -> list[Person]:
        rng = self._rng
        parent = adults[0]
        found = []
        for _ in range(rng.randint(1, 3)):
            born = self._born(0, 22)
            child = self.person(spanish, rng.choice(("male", "female")), born, parent.family, home, landline or parent.phone)
            if not found and child.gender == parent.gender == "male" and rng.random() < SHARE_JUNIOR * 4:
                child = replace(child, given=parent.given, middle=parent.middle, suffix="Jr")
            if rng.random() < 0.5:
                child = replace(child, email=parent.email)
            found.append(child)
            if rng.random() < SHARE_TWINS * 2:
                gender = rng.choice((child.gender, child.gender, "male" if child.gender == "female" else "female"))
                found.append(self.person(spanish, gender, born, parent.family, home, child.phone))
        # Parents do not give two children the same name.
        named: dict[str, Person] = {}
        for child in found:
            named.setdefault(child.given, child)
        return list(named.values())

    def person(self, spanish: bool, gender: str, birth: date, family: str, home: Home, phone: str) -> Person:
        """Return one person."""
        rng = self._rng
        given = GIVEN[gender, spanish]
        first = given.pick(rng)
        adult = (TODAY - birth).days > 16 * 365
        own = self.phone() if not phone or (adult and rng.random() < 0.5) else phone
        email = self._email(first, family, birth) if adult and rng.random() < 0.7 else ""
        middle = given.pick(rng) if rng.random() < 0.5 else ""
        return Person(first, middle, family, "", gender, birth.isoformat(), own, email, home)

    def _email(self, given: str, family: str, birth: date) -> str:
        rng = self._rng
        plain = f"{given}.{family}".lower().replace(" ", "").replace("'", "")
        return f"{plain}{rng.choice(('', str(birth.year % 100), str(rng.randint(1, 999))))}@{rng.choice(DOMAINS)}"

    def _family(self, spanish: bool) -> str:
        rng = self._rng
        if not spanish:
            return ENGLISH_FAMILIES.pick(rng)
        if rng.random() < 0.5:
            return f"{SPANISH_FAMILIES.pick(rng)} {SPANISH_FAMILIES.pick(rng)}"
        return SPANISH_FAMILIES.pick(rng)

    def _born(self, least: int, most: int) -> date:
        return TODAY - timedelta(days=self._rng.randint(least * 365, most * 365))
