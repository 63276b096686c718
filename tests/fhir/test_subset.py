"""`_summary` and `_elements`: https://hl7.org/fhir/R4/search.html#summary."""

from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.subset import SUBSETTED, elements, parse_elements, parse_summary, summary

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "1",
    "meta": {"versionId": "3", "tag": [{"code": "own"}]},
    "text": {"status": "generated", "div": "<div/>"},
    "active": True,
    "_active": {"id": "a"},
    "name": [{"family": "X"}],
    "deceasedBoolean": True,
    "contact": [{"gender": "male"}],
    "link": [{"other": {"reference": "Patient/2"}, "type": "refer"}],
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "1",
    "status": "final",
    "code": {"text": "x"},
    "note": [{"text": "n"}],
    "valueInteger": 3,
    "component": [{"code": {"text": "c"}, "valueInteger": 1, "referenceRange": [{"text": "r"}]}],
}


def tagged(names: str) -> set[str]:
    return {"resourceType", "id", "meta", *names.split()}


@pytest.mark.parametrize(
    ("resource", "mode", "kept"),
    [
        (PATIENT, "true", "active _active name deceasedBoolean link"),
        (PATIENT, "text", "text"),
        (PATIENT, "data", "active _active name deceasedBoolean contact link"),
        (OBSERVATION, "true", "status code valueInteger component"),
        (OBSERVATION, "text", "status code"),
    ],
)
def test_each_mode_keeps_its_elements_and_tags(resource: dict[str, Any], mode: Any, kept: str) -> None:
    found = summary(resource, mode)
    assert set(found) == tagged(kept)
    assert found["meta"]["tag"][-1] == SUBSETTED
    assert list(found)[:3] == ["resourceType", "id", "meta"]


def test_a_summary_goes_into_backbone_elements() -> None:
    assert summary(OBSERVATION, "true")["component"] == [{"code": {"text": "c"}, "valueInteger": 1}]


def test_false_and_count_leave_a_resource_as_it_is() -> None:
    assert summary(PATIENT, "false") is PATIENT
    assert summary(PATIENT, "count") is PATIENT


def test_the_resource_that_goes_in_is_not_changed_and_is_tagged_once() -> None:
    before = repr(PATIENT)
    twice = summary(elements(PATIENT, ["name"]), "data")
    assert twice["meta"]["tag"] == [{"code": "own"}, SUBSETTED]
    assert repr(PATIENT) == before


@pytest.mark.parametrize(
    ("resource", "names", "kept"),
    [
        (PATIENT, ["name"], "name"),
        (PATIENT, ["active"], "active _active"),
        (PATIENT, ["deceased"], "deceasedBoolean"),
        (PATIENT, ["Patient.name", "Observation.code"], "name"),
        (OBSERVATION, ["note"], "note status code"),
        (OBSERVATION, ["value"], "valueInteger status code"),
    ],
)
def test_named_elements_are_kept_with_the_mandatory_ones(resource: dict[str, Any], names: list[str], kept: str) -> None:
    assert set(elements(resource, names)) == tagged(kept)


def test_names_of_other_types_alone_leave_a_resource_whole() -> None:
    assert elements(PATIENT, ["Observation.code"]) is PATIENT


def test_what_is_no_resource_type_is_left_alone() -> None:
    assert elements({"resourceType": "X"}, ["a"]) == {"resourceType": "X"}
    assert summary({}, "true") == {}


def test_values_are_parsed_or_refused() -> None:
    assert parse_summary("data") == "data"
    assert parse_elements("name, Patient.active,") == ("name", "Patient.active")
    for text in ("name.family", "Foo.name", "na me", "a.b.c"):
        with pytest.raises(FhirError) as refused:
            parse_elements(text)
        assert refused.value.status == 400
    with pytest.raises(FhirError):
        parse_summary("True")
