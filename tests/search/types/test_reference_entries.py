"""`search/types/reference.py`; the name is another than that of the tests of `fhir/reference.py`, as pytest wants."""

from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import modifiers, parameter_filter
from fhir_server.search.types.reference import among

BASE = "http://here/fhir"


def find(value: str, modifier: str = "", type_: str = "Observation", code: str = "subject") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, [value], base_url=BASE)


def entry(**reference: Any) -> dict[str, Any]:
    found = entries({"resourceType": "Observation", "subject": reference}, base_url=BASE)
    return {key: value for key, value in found.items() if key != "_content"}


def test_local_references_are_relative() -> None:
    """References to other servers stay absolute, versions stand apart."""
    assert entry(reference="Patient/1") == {"subject": "Patient/1"}
    assert entry(reference=f"{BASE}/Patient/1") == {"subject": "Patient/1"}
    assert entry(reference="http://there/Patient/1") == {"subject": "http://there/Patient/1"}
    assert entry(reference="Patient/1/_history/2") == {"subject": "Patient/1", "subject:version": ["Patient/1/_history/2"]}


def test_logical_references_have_their_identifier() -> None:
    """As a token."""
    assert entry(identifier={"system": "urn:a", "value": "1"}) == {"subject:identifier": ["1|urn:a"]}


def test_canonicals_have_their_version_apart() -> None:
    """So they are found with and without it."""
    plan = {"resourceType": "CarePlan", "instantiatesCanonical": ["http://x/plan|2"]}
    found = entries(plan)
    assert found["instantiates-canonical"] == ["http://x/plan"] * 2
    assert found["instantiates-canonical:version"] == ["http://x/plan|2"]


def test_the_first_entry_of_a_bundle_is_referred_to() -> None:
    """Bundle.composition is the resource itself."""
    bundle = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Composition", "id": "c"}}]}
    assert entries(bundle)["composition"] == "Composition/c"


@pytest.mark.parametrize(
    ("value", "modifier", "condition"),
    [
        ("Patient/1", "", {"s.subject": "Patient/1"}),
        (f"{BASE}/Patient/1", "", {"s.subject": "Patient/1"}),
        ("1", "Patient", {"s.subject": "Patient/1"}),
        ("Patient/1", "Patient", {"s.subject": "Patient/1"}),
        ("1", "", {"s.subject": {"$in": ["Group/1", "Device/1", "Patient/1", "Location/1"]}}),
        ("Patient/1/_history/2", "", {"s.subject": "Patient/1", "s.subject:version": "Patient/1/_history/2"}),
        ("http://there/Patient/1", "", {"s.subject": "http://there/Patient/1"}),
        ("urn:uuid:1", "", {"s.subject": "urn:uuid:1"}),
        ("urn:a|1", "identifier", {"s.subject:identifier": "1|urn:a"}),
    ],
)
def test_finds_by_id_type_and_url(value: str, modifier: str, condition: dict[str, Any]) -> None:
    """An id alone may be of any type that the parameter refers to."""
    assert find(value, modifier) == condition


def test_canonicals_are_found_with_and_without_version() -> None:
    """A version narrows."""
    assert find("http://x/plan", type_="CarePlan", code="instantiates-canonical") == {"s.instantiates-canonical": "http://x/plan"}
    assert find("http://x/plan|2", type_="CarePlan", code="instantiates-canonical") == {
        "s.instantiates-canonical": "http://x/plan",
        "s.instantiates-canonical:version": "http://x/plan|2",
    }


def test_patient_reads_the_entries_of_subject() -> None:
    """Its id is that of a Patient, and a subject of another type is none."""
    assert find("1", code="patient") == {"s.subject": "Patient/1"}
    assert find("false", "missing", code="patient") == {"s.subject": {"$regex": "(?:^|/)(?:Patient)/"}}
    assert find("true", "missing", code="patient") == {"$nor": [{"s.subject": {"$regex": "(?:^|/)(?:Patient)/"}}]}


@pytest.mark.parametrize(
    ("value", "modifier", "reason"),
    [
        ("1", "Medication", "subject:Medication: subject refers to"),
        ("1", "Nonsense", "The modifier :Nonsense is not supported"),
        ("Group/1", "Patient", "it is no Patient"),
        ("", "", "expected an id, Type/id or a url"),
        ("a b", "", "expected an id, Type/id or a url"),
    ],
)
def test_refuses_what_can_not_be_referred_to(value: str, modifier: str, reason: str) -> None:
    """A 400 quotes it."""
    with pytest.raises(FhirError, match=reason):
        find(value, modifier)


def test_missing_looks_at_identifiers_as_well() -> None:
    """A logical reference is a value too."""
    assert find("true", "missing") == {"s.subject": {"$exists": False}, "s.subject:identifier": {"$exists": False}}


def test_finds_among_references_and_knows_its_modifiers() -> None:
    """A list that a chain has found is one condition."""
    parameter = BUILTIN.get("Observation", "subject")
    assert parameter is not None
    assert among("s.subject", ["Patient/1", "Patient/2"], parameter) == {"s.subject": {"$in": ["Patient/1", "Patient/2"]}}
    assert modifiers(parameter) == {"identifier", "missing", "Patient", "Group", "Device", "Location"}
