"""The hard population: people who resemble each other, and second records of some of them that do not resemble the first.

`make(seed)` gives Patients with the number of the person behind each: families that share phone and address, twins, juniors,
and duplicates with swapped names, day and month swapped, married names, nicknames, moves, slips and missing values.
"""

import random
import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nicknames import NickNamer

from bench.matching.people import Person, Town

Labelled = tuple[dict[str, Any], int]
SIZE, DUPLICATES = 20_000, 6_000
_NICKNAMES = NickNamer().nickname_lookup
_NEAR = {"a": "qsz", "e": "wrd", "i": "uok", "o": "ipl", "u": "yij", "n": "bm", "m": "n", "s": "adz", "r": "et", "t": "ry"}
_NEAR |= {"l": "k", "c": "xv", "d": "sf", "b": "vn", "g": "fh", "h": "gj", "k": "jl", "p": "o", "v": "cb", "y": "tu"}


def make(seed: int, size: int = SIZE, duplicates: int = DUPLICATES) -> list[Labelled]:
    """Return `size` people and `duplicates` second records, in random order."""
    rng = random.Random(seed)
    town = Town(rng, size)
    people = town.people(size)
    records = [(_missing(rng, person, 0.5), number) for number, person in enumerate(people)]
    for _ in range(duplicates):
        number = rng.randrange(size)
        records.append((again(rng, town, people[number]), number))
    rng.shuffle(records)
    return [(patient(rng, person, f"p{index}"), number) for index, (person, number) in enumerate(records)]


def again(rng: random.Random, town: Town, person: Person) -> Person:
    """Return what a second clerk wrote down, perhaps years later."""
    for change, share in CHANGES:
        if rng.random() < share:
            person = change(rng, town, person)
    return _missing(rng, person, 1.0)


def slip(rng: random.Random, text: str) -> str:
    """Return a text with one slip of the finger."""
    if len(text) < 3:
        return text
    place = rng.randrange(1, len(text))
    kind = rng.randrange(4)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + rng.choice(string.ascii_lowercase) + text[place:]
    if kind == 2 and place + 1 < len(text):
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + rng.choice(_NEAR.get(text[place], string.ascii_lowercase)) + text[place + 1 :]


def _slip_in_digits(rng: random.Random, digits: str) -> str:
    place = rng.randrange(len(digits) - 1)
    if rng.random() < 0.5:
        return digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
    return digits[:place] + str(rng.randrange(10)) + digits[place + 1 :]


def _slip_in_given(rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, given=slip(rng, person.given))


def _slip_in_family(rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, family=slip(rng, person.family))


def _nickname(rng: random.Random, _town: Town, person: Person) -> Person:
    known = sorted(_NICKNAMES.get(person.given.lower(), ()))
    return replace(person, given=rng.choice(known).title()) if known else person


def _initial(_rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, given=person.given[0])


def _middle(_rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, given=person.middle, middle=person.given) if person.middle else person


def _swap_names(_rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, given=person.family, family=person.given)


def _swap_birth(_rng: random.Random, _town: Town, person: Person) -> Person:
    year, month, day = person.birth.split("-")
    return replace(person, birth=f"{year}-{day}-{month}") if int(day) <= 12 else person


def _slip_in_birth(rng: random.Random, _town: Town, person: Person) -> Person:
    year, month, day = person.birth.split("-")
    part = rng.randrange(3)
    if part == 0:
        return replace(person, birth=f"{year[:2]}{_slip_in_digits(rng, year[2:])}-{month}-{day}")
    if part == 1:
        return replace(person, birth=f"{year}-{rng.randint(1, 12):02d}-{day}")
    return replace(person, birth=f"{year}-{month}-{rng.randint(1, 28):02d}")


def _marry(rng: random.Random, town: Town, person: Person) -> Person:
    if person.gender != "female" or person.birth > "2006":
        return person
    other = town.people(1)[0].family
    if rng.random() < 0.25:
        return replace(person, family=f"{person.family}-{other}")
    return replace(person, family=other, maiden=person.family if rng.random() < 0.2 else "")


def _move(rng: random.Random, town: Town, person: Person) -> Person:
    person = replace(person, home=town.home())
    return replace(person, phone=town.phone()) if rng.random() < 0.4 else person


def _slip_in_home(rng: random.Random, _town: Town, person: Person) -> Person:
    home = person.home
    if home is None:
        return person
    part = rng.randrange(3)
    if part == 0:
        return replace(person, home=replace(home, street=slip(rng, home.street)))
    if part == 1:
        return replace(person, home=replace(home, postcode=_slip_in_digits(rng, home.postcode)))
    return replace(person, home=replace(home, number=str(rng.randint(1, 2500))))


def _new_phone(_rng: random.Random, town: Town, person: Person) -> Person:
    return replace(person, phone=town.phone())


def _slip_in_phone(rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, phone=_slip_in_digits(rng, person.phone)) if person.phone else person


def _new_email(rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, email=f"{person.given[:1]}{person.family}{rng.randint(1, 9999)}@work.example".lower().replace(" ", ""))


def _other_gender(_rng: random.Random, _town: Town, person: Person) -> Person:
    return replace(person, gender="female" if person.gender == "male" else "male")


Change = Callable[[random.Random, Town, Person], Person]
CHANGES: tuple[tuple[Change, float], ...] = (
    (_marry, 0.1),
    (_nickname, 0.15),
    (_middle, 0.02),
    (_initial, 0.02),
    (_slip_in_given, 0.15),
    (_slip_in_family, 0.15),
    (_swap_names, 0.05),
    (_swap_birth, 0.05),
    (_slip_in_birth, 0.08),
    (_move, 0.25),
    (_slip_in_home, 0.15),
    (_new_phone, 0.15),
    (_slip_in_phone, 0.05),
    (_new_email, 0.15),
    (_other_gender, 0.01),
)
MISSING = {"middle": 0.5, "suffix": 0.3, "gender": 0.03, "birth": 0.04, "phone": 0.12, "email": 0.25, "home": 0.1, "given": 0.005}
"""How often a second clerk leaves a field empty; the first does half as often."""


def _missing(rng: random.Random, person: Person, share: float) -> Person:
    lost: dict[str, Any] = {name: "" for name, rate in MISSING.items() if rng.random() < rate * share}
    if "home" in lost:
        lost["home"] = None
    return replace(person, **lost)


def patient(rng: random.Random, person: Person, id_: str) -> dict[str, Any]:
    """Return the Patient of a record, written in one of the ways that people write."""
    name: dict[str, Any] = {"use": "official"}
    if person.family:
        name["family"] = person.family
    if given := [part for part in (person.given, person.middle) if part]:
        name["given"] = given
    if person.suffix:
        name["suffix"] = [person.suffix]
    found: dict[str, Any] = {"resourceType": "Patient", "id": id_, "name": [name]}
    if person.maiden:
        found["name"].append({"use": "maiden", "family": person.maiden, **({"given": given} if given else {})})
    if person.gender:
        found["gender"] = person.gender
    if person.birth:
        found["birthDate"] = person.birth
    telecom = [{"system": "phone", "value": _written(rng, person.phone)}] if person.phone else []
    telecom += [{"system": "email", "value": person.email}] if person.email else []
    if telecom:
        found["telecom"] = telecom
    if home := person.home:
        line = f"{home.number} {home.street}"
        if rng.random() < 0.3:
            line = line.replace("Street", "St").replace("Avenue", "Ave").replace("Road", "Rd")
        found["address"] = [{"line": [line], "city": home.city, "postalCode": home.postcode}]
    return found


def _written(rng: random.Random, phone: str) -> str:
    area, exchange, line = phone[:3], phone[3:6], phone[6:]
    return rng.choice((f"({area}) {exchange}-{line}", f"+1{phone}", f"{area}-{exchange}-{line}", f"+1 {area} {exchange} {line}"))
