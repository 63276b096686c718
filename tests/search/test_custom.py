from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.custom import from_resource
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN

EYE: dict[str, Any] = {
    "resourceType": "SearchParameter",
    "status": "active",
    "url": "http://example.org/eye",
    "code": "eye-colour",
    "type": "token",
    "base": ["Patient"],
    "expression": "Patient.extension.where(url='urn:eye').value.as(CodeableConcept)",
}


def test_an_active_one_adds_a_parameter() -> None:
    """It is indexed under its code, for its tenant's registry only."""
    (parameter,) = from_resource(EYE, filled=False)
    registry = BUILTIN.with_custom([parameter])
    patient = {
        "resourceType": "Patient",
        "extension": [{"url": "urn:eye", "valueCodeableConcept": {"coding": [{"code": "blue"}]}}],
    }
    assert entries(patient, registry)["eye-colour"] == ["blue|", "blue|"]
    assert "eye-colour" not in entries(patient)
    assert (parameter.field, parameter.custom, parameter.filled) == ("s.eye-colour", True, False)
    assert registry.get("Patient", "birthdate") is BUILTIN.get("Patient", "birthdate")
    assert registry.of("Observation") is BUILTIN.of("Observation")


def test_a_base_of_all_resources_adds_it_to_all_types() -> None:
    """Resource is every type, DomainResource those with a narrative."""
    everywhere = from_resource(
        {**EYE, "base": ["Resource"], "type": "uri", "code": "rules", "expression": "Resource.implicitRules"}
    )
    assert len(everywhere) == 146
    domain = {**EYE, "base": ["DomainResource"], "code": "narrative", "expression": "DomainResource.text.status"}
    assert {parameter.resource_type for parameter in everywhere} - {one.resource_type for one in from_resource(domain)} == {
        "Binary", "Bundle", "Parameters",
    }  # fmt: skip


def test_a_composite_may_be_made_of_custom_ones() -> None:
    """Its components are of the specification or of the tenant."""
    composite = {
        **EYE,
        "url": "http://example.org/both",
        "code": "eye-and-gender",
        "type": "composite",
        "expression": "Patient",
        "component": [
            {"definition": EYE["url"], "expression": "extension.where(url='urn:eye').value.as(CodeableConcept)"},
            {"definition": "http://hl7.org/fhir/SearchParameter/individual-gender", "expression": "gender"},
        ],
    }
    (parameter,) = from_resource(composite, others=[EYE])
    assert [component.parameter.type for component in parameter.components] == ["token", "token"]
    patient = {
        "resourceType": "Patient",
        "gender": "male",
        "extension": [{"url": "urn:eye", "valueCodeableConcept": {"coding": [{"code": "blue"}]}}],
    }
    assert entries(patient, BUILTIN.with_custom([parameter]))["eye-and-gender"] == [{"c0": ["blue|"], "c1": ["male|"]}]


@pytest.mark.parametrize(
    "change", [{"status": "draft"}, {"status": "retired"}, {"url": "http://hl7.org/fhir/SearchParameter/Patient-name"}]
)
def test_others_are_only_stored(change: dict[str, Any]) -> None:
    """Drafts, retired ones and copies of the specification's own add nothing."""
    assert from_resource({**EYE, **change}) == ()


@pytest.mark.parametrize(
    ("change", "reason", "element"),
    [
        ({"expression": "Patient.foo"}, "Patient has no element 'foo'", "expression"),
        ({"expression": "Patient.name.where(use="}, "is not supported", "expression"),
        ({"expression": "Observation.code"}, "finds nothing in Patient", "expression"),
        ({"expression": ""}, "it has no expression", "expression"),
        ({"type": "quantity"}, "finds CodeableConcept, which can not be searched as quantity", "expression"),
        ({"type": "special"}, "parameters of type 'special' can not be added", "type"),
        ({"type": "composite"}, "a composite parameter has 2 to 8 components, not 0", "component"),
        ({"base": ["Foo"]}, "its base 'Foo' is not a resource type of R4", "base"),
        ({"base": []}, "it names no base", "base"),
        ({"code": "a.b"}, "its code 'a.b' is not", "code"),
        ({"code": "$where"}, "its code '\\$where' is not", "code"),
        ({"code": "gender"}, "Patient has a parameter 'gender' already", "code"),
        (
            {
                "type": "composite",
                "component": [{"definition": "urn:x", "expression": "a"}, {"definition": "urn:y", "expression": "b"}],
            },
            "the component 'urn:x' is not a search parameter that is known here",
            "component",
        ),
    ],
)
def test_refuses_what_can_not_be_used(change: dict[str, Any], reason: str, element: str) -> None:
    """A 422 says why, and where."""
    with pytest.raises(FhirError, match=reason) as refused:
        from_resource({**EYE, **change})
    assert refused.value.status == 422
    assert refused.value.issues[0].expression == (f"SearchParameter.{element}",)
