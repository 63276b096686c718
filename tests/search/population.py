"""Small populations of few values, so that random queries hit, miss and tie often."""

import random
from typing import Any

Resource = dict[str, Any]

FAMILIES = ["Abel", "abel", "Abelson", "Bär", "Bar", "Cho", "de Groot", "O'Neil"]
GIVEN = ["Ann", "Anna", "Bo", "Çelik", "Dee"]
CODES = ["a", "b", "c"]
SYSTEMS = ["urn:s1", "urn:s2"]
DAYS = ["2020", "2020-01", "2020-01-15", "2020-02-01", "2021-06-30", "2021-07"]
STATUSES = ["final", "amended", "preliminary"]


def population(seed: int) -> dict[str, list[Resource]]:
    """Return the resources of a world, by type; the same for the same seed."""
    pick = random.Random(seed)
    world: dict[str, list[Resource]] = {}
    world["Organization"] = [_organization(pick, f"o{number}", number) for number in range(6)]
    world["Practitioner"] = [_practitioner(pick, f"d{number}") for number in range(8)]
    world["Patient"] = [_patient(pick, f"p{number:02d}") for number in range(40)]
    world["Encounter"] = [_encounter(pick, f"e{number:02d}") for number in range(30)]
    world["Observation"] = [_observation(pick, f"b{number:03d}") for number in range(90)]
    return world


def _some(pick: random.Random, **members: Any) -> Resource:
    """Return those members that chance keeps; each stands in two of three resources."""
    return {name: value for name, value in members.items() if value is not None and pick.random() < 2 / 3}


def _reference(pick: random.Random, type_: str, prefix: str, count: int, width: int = 0) -> dict[str, str]:
    return {"reference": f"{type_}/{prefix}{pick.randrange(count):0{width}d}"}


def _organization(pick: random.Random, id_: str, number: int) -> Resource:
    parent = {"reference": f"Organization/o{pick.randrange(number)}"} if number else None
    return {"resourceType": "Organization", "id": id_, "name": pick.choice(FAMILIES)} | _some(
        pick, active=pick.random() < 0.5, partOf=parent
    )


def _practitioner(pick: random.Random, id_: str) -> Resource:
    return {"resourceType": "Practitioner", "id": id_} | _some(pick, name=_names(pick), gender=pick.choice(["male", "female"]))


def _names(pick: random.Random) -> list[Resource]:
    return [
        {"family": pick.choice(FAMILIES), "given": pick.sample(GIVEN, pick.randrange(1, 3))} for _ in range(pick.randrange(1, 3))
    ]


def _patient(pick: random.Random, id_: str) -> Resource:
    return {"resourceType": "Patient", "id": id_} | _some(
        pick,
        active=pick.random() < 0.5,
        name=_names(pick),
        gender=pick.choice(["male", "female", "other"]),
        birthDate=pick.choice(DAYS),
        identifier=[{"system": pick.choice(SYSTEMS), "value": pick.choice(CODES)}],
        managingOrganization=_reference(pick, "Organization", "o", 7),
        generalPractitioner=[_reference(pick, "Practitioner", "d", 8), _reference(pick, "Organization", "o", 6)],
    )


def _encounter(pick: random.Random, id_: str) -> Resource:
    needed = {"status": pick.choice(["planned", "finished"]), "class": {"system": "urn:class", "code": pick.choice(CODES)}}
    return {"resourceType": "Encounter", "id": id_, **needed} | _some(
        pick,
        subject=_reference(pick, "Patient", "p", 42, 2),
        serviceProvider=_reference(pick, "Organization", "o", 6),
    )


def _observation(pick: random.Random, id_: str) -> Resource:
    coding = [{"system": pick.choice(SYSTEMS), "code": pick.choice(CODES)} for _ in range(pick.randrange(1, 3))]
    subject = _reference(pick, "Patient", "p", 42, 2) if pick.random() < 0.8 else _reference(pick, "Group", "g", 3)
    return {"resourceType": "Observation", "id": id_, "status": pick.choice(STATUSES), "code": {"coding": coding}} | _some(
        pick,
        subject=subject,
        encounter=_reference(pick, "Encounter", "e", 32, 2),
        effectiveDateTime=pick.choice(DAYS),
        performer=[_reference(pick, "Practitioner", "d", 8), _reference(pick, "Organization", "o", 6)],
        hasMember=[_reference(pick, "Observation", "b", 90, 3)],
    )
