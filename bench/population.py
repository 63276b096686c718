"""A light population for measuring at size: patients and other resources, the same for the same seed.

Names follow a law like that of real ones (a few are common, most are rare), and codes, dates and cities are spread, so
that searches select as they do on real data.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import Any

Resource = dict[str, Any]

MRN = "https://bench.example.org/mrn"
BORN_FIRST = date(1930, 1, 1)
BORN_DAYS = 34_000
_FAMILIES = 6_000
_GIVENS = 700
_CITIES = 300
_NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_ONSETS = (
    "B",
    "Br",
    "C",
    "Ch",
    "D",
    "F",
    "G",
    "Gr",
    "H",
    "J",
    "K",
    "Kl",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "Sch",
    "St",
    "T",
    "V",
    "W",
    "Z",
)
_VOWELS = ("a", "e", "i", "o", "u", "ei", "ó", "ü", "á", "ie")
_CODAS = ("", "n", "r", "l", "ck", "nd", "rt", "ss", "m", "ng")
_ENDINGS = ("son", "er", "man", "ez", "ski", "berg", "ová", "ini", "eau", "ton", "")
_OBSERVATIONS = (
    ("8867-4", "Heart rate", "/min", 50, 120),
    ("8310-5", "Body temperature", "Cel", 35, 40),
    ("29463-7", "Body weight", "kg", 40, 120),
    ("8302-2", "Body height", "cm", 140, 200),
    ("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 60, 220),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 9, 18),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 4, 11),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0, 3),
)
_MODES = ("SMSWRIT", "APPWRIT", "EMAILWRIT", "PHONE")
_APPOINTMENT = ("booked", "fulfilled", "cancelled", "noshow")
_THO = "http://terminology.hl7.org/CodeSystem/"


def _ssn(rng: Random) -> str:
    """Return a number of which no group is zero."""
    number = f"{rng.randint(10**8, 10**9 - 1)}"
    return f"{number[:3]}{max(1, int(number[3:5])):02}{max(1, int(number[5:])):04}"


class Vocabulary:
    """Names and cities with their weights."""

    def __init__(self, seed: int) -> None:
        rng = Random(f"{seed}/vocabulary")
        self.families = _words(rng, _FAMILIES, _ENDINGS)
        self.givens = _words(rng, _GIVENS, ("a", "o", "", "e"))
        self.cities = _words(rng, _CITIES, ("ville", "burg", "ton", " Springs", "field"))
        self.family_weights = list(accumulate(1 / (rank + 8) for rank in range(_FAMILIES)))
        self.given_weights = list(accumulate(1 / (rank + 8) for rank in range(_GIVENS)))
        self.city_weights = list(accumulate(1 / (rank + 4) for rank in range(_CITIES)))


def _words(rng: Random, count: int, endings: tuple[str, ...]) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < count:
        syllable = rng.choice(_VOWELS) + rng.choice(_CODAS)
        words[rng.choice(_ONSETS) + syllable + rng.choice(_ONSETS).lower() + rng.choice(_VOWELS) + rng.choice(endings)] = None
    return list(words)


class Population:
    """Resources by number: `patient(n)`, and what belongs to it."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.words = Vocabulary(seed)

    def patient(self, number: int) -> Resource:
        """Return a patient of about 900 bytes."""
        rng = Random(f"{self.seed}/patient/{number}")
        words = self.words
        family = rng.choices(words.families, cum_weights=words.family_weights)[0]
        given = rng.choices(words.givens, cum_weights=words.given_weights, k=2)
        return {
            "resourceType": "Patient",
            "id": f"p{number}",
            "identifier": [
                {"use": "usual", "type": {"coding": [_coding("v2-0203", "MR")]}, "system": MRN, "value": f"{number:08d}"},
                {"system": "http://hl7.org/fhir/sid/us-ssn", "value": _ssn(rng)},
            ],
            "active": number % 50 != 0,
            "name": [{"use": "official", "family": family, "given": given}],
            "telecom": [
                {"system": "phone", "value": f"+1-555-{rng.randint(0, 9_999_999):07d}", "use": "mobile"},
                {"system": "email", "value": f"patient{number}@example.org"},
            ],
            "gender": ("female", "male")[number % 2],
            "birthDate": (BORN_FIRST + timedelta(days=rng.randrange(BORN_DAYS))).isoformat(),
            "address": [
                {
                    "use": "home",
                    "line": [f"{rng.randint(1, 2000)} {rng.choice(words.families)} Street"],
                    "city": rng.choices(words.cities, cum_weights=words.city_weights)[0],
                    "state": rng.choice(("MA", "TX", "CA", "CO", "WA")),
                    "postalCode": f"{rng.randint(10000, 99999)}",
                    "country": "US",
                },
            ],
            "generalPractitioner": [{"reference": f"Practitioner/d{number % 200}"}],
        }

    def practitioner(self, number: int) -> Resource:
        """Return a practitioner; there are 200."""
        rng = Random(f"{self.seed}/practitioner/{number}")
        name = {"family": rng.choice(self.words.families), "given": [rng.choice(self.words.givens)]}
        return {"resourceType": "Practitioner", "id": f"d{number}", "active": True, "name": [name]}

    def other(self, number: int, patients: int) -> Resource:
        """Return one of the other resources, about patient `number % patients`."""
        rng = Random(f"{self.seed}/other/{number}")
        subject = f"Patient/p{number % patients}"
        when = _NOW - timedelta(minutes=rng.randrange(3_000_000))
        kind = number // patients % 5
        if kind == 0:
            return _encounter(number, subject, when)
        if kind == 3:  # noqa: PLR2004 -- the kinds are numbered
            return _communication(number, subject, when, rng)
        if kind == 4:  # noqa: PLR2004 -- the same
            return _appointment(number, subject, when, rng)
        return _observation(number, subject, when, rng)

    def resources(self, patients: int, others: int) -> Iterator[Resource]:
        """Yield the practitioners, the patients and so many other resources."""
        yield from (self.practitioner(number) for number in range(200))
        yield from (self.patient(number) for number in range(patients))
        yield from (self.other(number, patients) for number in range(others))


def _coding(system: str, code: str) -> dict[str, str]:
    return {"system": _THO + system, "code": code}


def _encounter(number: int, subject: str, when: datetime) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": f"e{number}",
        "status": "finished",
        "class": _coding("v3-ActCode", "AMB"),
        "type": [{"coding": [{"system": "http://snomed.info/sct", "code": "185349003", "display": "Encounter for check up"}]}],
        "subject": {"reference": subject},
        "period": {"start": when.isoformat(), "end": (when + timedelta(minutes=20)).isoformat()},
    }


def _observation(number: int, subject: str, when: datetime, rng: Random) -> Resource:
    code, display, unit, low, high = rng.choice(_OBSERVATIONS)
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [{"coding": [_coding("observation-category", "vital-signs")]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
        "subject": {"reference": subject},
        "effectiveDateTime": when.isoformat(),
        "valueQuantity": {
            "value": Decimal(rng.randint(low * 10, high * 10)).scaleb(-1),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
    }


def _communication(number: int, subject: str, when: datetime, rng: Random) -> Resource:
    return {
        "resourceType": "Communication",
        "id": f"c{number}",
        "status": "completed",
        "category": [{"coding": [_coding("communication-category", "reminder")]}],
        "medium": [{"coding": [_coding("v3-ParticipationMode", rng.choice(_MODES))]}],
        "subject": {"reference": subject},
        "sent": when.isoformat(),
        "received": (when + timedelta(seconds=20)).isoformat(),
        "recipient": [{"reference": subject}],
        "payload": [{"contentString": f"Reminder {number}: you have an appointment. Reply C to confirm."}],
    }


def _appointment(number: int, subject: str, when: datetime, rng: Random) -> Resource:
    return {
        "resourceType": "Appointment",
        "id": f"a{number}",
        "status": rng.choice(_APPOINTMENT),
        "start": when.isoformat(),
        "end": (when + timedelta(minutes=30)).isoformat(),
        "participant": [
            {"actor": {"reference": subject}, "status": "accepted"},
            {"actor": {"reference": f"Practitioner/d{number % 200}"}, "status": "accepted"},
        ],
    }
