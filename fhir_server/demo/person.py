"""Who a patient is, as all other modules see it."""

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from fhir_server.demo.build import Element, age_on, link, make_id, years_before
from fhir_server.demo.clinic import Clinic, Staff
from fhir_server.demo.names import CULTURES, Culture, Name

ADULT = 18
_AGES = ((0, 4), (5, 17), (18, 39), (40, 64), (65, 79), (80, 97))
_AGE_WEIGHTS = (8, 14, 26, 28, 18, 6)


@dataclass(frozen=True, slots=True)
class Person:
    """A patient as the other modules see them."""

    seed: int
    number: int
    rng: Random
    clinic: Clinic
    today: date
    gender: str
    birth: date
    culture: Culture
    family: str
    given: tuple[str, ...]
    native: str
    phone: str
    email: str
    deceased: date | None
    household: int
    """A number from 0; people of one household share address, family name and telephone."""

    @property
    def id(self) -> str:
        """Id of the Patient."""
        return make_id(self.seed, "patient", self.number)

    @property
    def name(self) -> str:
        """Given and family name."""
        return f"{self.given[0]} {self.family}"

    @property
    def reference(self) -> Element:
        """A Reference to the Patient."""
        return link("Patient", self.id, self.name)

    @property
    def age(self) -> int:
        """Age in whole years, at death for those who died."""
        return age_on(self.birth, self.last_day)

    @property
    def last_day(self) -> date:
        """The last day of which there can be records."""
        return self.deceased or self.today

    @property
    def doctor(self) -> Staff:
        """The general practitioner: the pediatrician for children."""
        return self.clinic.staff[2 if self.age < ADULT else self.number % 2]

    def new_id(self, kind: str, *numbers: object) -> str:
        """Return the id of something that belongs to the patient."""
        return make_id(self.seed, kind, self.number, *numbers)


def meet(seed: int, number: int, clinic: Clinic, today: date) -> Person:
    """Return patient `number`; the same whatever the size of the population."""
    rng = Random(f"{seed}/patient/{number}")
    household = number // 3 if number % 7 in (1, 2) else number + 1_000_000
    home = Random(f"{seed}/household/{household}")
    culture = home.choices(CULTURES, [culture.weight for culture in CULTURES])[0]
    gender = rng.choices(("female", "male", "other", "unknown"), (500, 490, 6, 4))[0]
    family = home.choice(culture.families)
    if culture.two_surnames:
        family = (f"{family[0]} {home.choice(culture.families)[0]}", "")
    names = culture.male if gender == "male" or (gender != "female" and rng.random() < 0.5) else culture.female
    given = rng.sample(names, 2 if rng.random() < 0.55 else 1)
    low, high = _AGES[rng.choices(range(len(_AGES)), _AGE_WEIGHTS)[0]]
    birth = years_before(today, rng.randint(low, high)) - timedelta(days=rng.randint(1, 364))
    deceased = today - timedelta(days=rng.randint(20, 700)) if age_on(birth, today) > 60 and rng.random() < 0.07 else None
    return Person(
        seed,
        number,
        rng,
        clinic,
        today,
        gender,
        birth,
        culture,
        family[0],
        tuple(name[0] for name in given),
        _native(family, given[0]),
        clinic.phone(home),
        f"patient{number}@mail.example.org",
        deceased,
        household,
    )


def _native(family: Name, given: Name) -> str:
    return f"{family[1]} {given[1]}" if family[1] and given[1] else ""
