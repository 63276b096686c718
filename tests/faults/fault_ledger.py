"""What clients were told, against which the server is judged after a fault.

Every write carries a marker that no other write carries, and its content follows from the marker, so that each version
that is found can be traced to the request that made it and compared as a whole.
"""

from dataclasses import dataclass, field
from typing import Any

MARKER = "urn:test:marker"
KEY = "urn:test:key"
TRANSACTION = "urn:test:transaction"
DELETED = "(deleted)"

Reference = tuple[str, str]


@dataclass
class Ledger:
    """Requests and their answers."""

    acknowledged: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """Type, id and version number that an answer named, with the marker of what was sent."""
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was sent, by its marker."""
    refused: set[str] = field(default_factory=set)
    """Markers of requests that were answered by 4xx: nothing of them may be there."""
    unknown: set[str] = field(default_factory=set)
    """Markers of requests without an answer, or with 503: they may be there, whole."""
    transactions: dict[str, int] = field(default_factory=dict)
    """How many versions each transaction writes."""
    committed: set[str] = field(default_factory=set)
    """Transactions that were acknowledged."""
    keys: dict[str, str] = field(default_factory=dict)
    """The id that conditional creates named, by their key."""
    tried: dict[str, None] = field(default_factory=dict)
    """The keys of all conditional creates, in their order."""
    failures: list[str] = field(default_factory=list)
    """Answers that no client should ever get."""
    living: dict[Reference, int] = field(default_factory=dict)
    """The newest acknowledged version of Patients that are there, as far as is known."""
    answers: dict[str, int] = field(default_factory=dict)
    """How many answers there were, by kind of request and status."""

    def acknowledge(self, reference: Reference, number: int, marker: str) -> None:
        """Note a version that an answer named."""
        place = (*reference, number)
        if self.acknowledged.setdefault(place, marker) != marker:
            self.failures.append(f"{place} was acknowledged twice")
        if marker == DELETED:
            self.living.pop(reference, None)
        elif reference[0] == "Patient" and number >= self.living.get(reference, 0):
            self.living[reference] = number

    def count(self, kind: str, status: int) -> None:
        """Count an answer; 0 stands for none."""
        name = f"{kind} {status or 'lost'}"
        self.answers[name] = self.answers.get(name, 0) + 1


def patient(marker: str, *identifiers: tuple[str, str]) -> dict[str, Any]:
    """Return a Patient that follows from its marker."""
    number = int(marker.rpartition("-")[2])
    return {
        "resourceType": "Patient",
        "identifier": [{"system": system, "value": value} for system, value in ((MARKER, marker), *identifiers)],
        "name": [{"family": f"Nuñez {marker}", "given": [f"given {number % 97}"]}],
        "birthDate": f"19{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}",
        "multipleBirthInteger": number % 5 + 1,
    }


def observation(marker: str, subject: str, *identifiers: tuple[str, str]) -> dict[str, Any]:
    """Return an Observation that follows from its marker and what it is about."""
    return {
        "resourceType": "Observation",
        "identifier": [{"system": system, "value": value} for system, value in ((MARKER, marker), *identifiers)],
        "status": "final",
        "code": {"text": marker},
        "subject": {"reference": subject},
    }


def identifiers_of(resource: dict[str, Any]) -> dict[str, str]:
    """Return the values of a resource's identifiers by their system."""
    return {item["system"]: item["value"] for item in resource["identifier"]}
