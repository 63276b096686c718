from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.definitions import RESOURCE_TYPES, search_parameters
from fhir_server.fhir.path import PathError, compile_branches, compile_path
from fhir_server.fhir.path_parser import parse

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "1",
    "contained": [{"resourceType": "Organization", "id": "o"}, {"resourceType": "Practitioner", "id": "p"}],
    "extension": [{"url": "urn:eye", "valueCode": "blue"}, {"url": "urn:size", "valueQuantity": {"value": 1}}],
    "birthDate": "1980-02-03",
    "_birthDate": {"extension": [{"url": "urn:time", "valueDateTime": "1980-02-03T10:00:00Z"}]},
    "deceasedDateTime": "2020-01-01",
    "name": [{"family": "Holm", "given": ["Ada", None, "Bo"]}, {"use": "maiden", "family": "Ek"}],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}],
    "generalPractitioner": [{"reference": "#p"}, {"reference": "#o"}, {"reference": "Practitioner/9"}, {"display": "nobody"}],
    "managingOrganization": {"reference": "http://other/fhir/Organization/7/_history/2"},
}
FOUND = [
    ("Patient.birthDate", [("date", "1980-02-03")]),
    ("birthDate", [("date", "1980-02-03")]),
    ("Resource.id", [("id", "1")]),
    ("DomainResource.extension('urn:eye').value", [("code", "blue")]),
    ("Patient.name.given", [("string", "Ada"), ("string", "Bo")]),
    ("Patient.name[1].family", [("string", "Ek")]),
    ("Patient.name.first().family | Patient.name.last().use", [("string", "Holm"), ("code", "maiden")]),
    ("Patient.name.where(use = 'maiden').family", [("string", "Ek")]),
    ("Patient.name.where(use.exists().not()).family", [("string", "Holm")]),
    ("Patient.name.where(use.empty() or family = 'Ek').family", [("string", "Holm"), ("string", "Ek")]),
    ("Patient.telecom.where(system='phone' and value='1').value", [("string", "1")]),
    ("Patient.telecom.where(system != 'phone').value", [("string", "a@b")]),
    ("Person.telecom | Patient.telecom.where(system='phone')", [("ContactPoint", {"system": "phone", "value": "1"})]),
    ("Patient.deceased", [("dateTime", "2020-01-01")]),
    ("Patient.deceased.as(DateTime)", [("dateTime", "2020-01-01")]),
    ("(Patient.deceased as boolean)", []),
    ("Patient.deceased.ofType(FHIR.dateTime)", [("dateTime", "2020-01-01")]),
    ("Patient.deceased.exists() and Patient.deceased != false", [("boolean", True)]),
    ("Patient.deceased is boolean", [("boolean", False)]),
    ("Patient.multipleBirth.exists()", [("boolean", False)]),
    ("Patient.extension.where(url='urn:size').value.as(Quantity)", [("Quantity", {"value": 1})]),
    ("Patient.extension.value.as(Quantity).value", [("decimal", 1)]),
    ("Patient.birthDate.extension('urn:time').value.as(dateTime)", [("dateTime", "1980-02-03T10:00:00Z")]),
    ("Patient.hasExtension('urn:eye')", [("boolean", True)]),
    ("Patient.generalPractitioner.where(resolve() is Practitioner).reference", [("string", "#p"), ("string", "Practitioner/9")]),
    ("Patient.generalPractitioner.where(resolve() is Organization).reference", [("string", "#o")]),
    ("Patient.managingOrganization.where(resolve() is Organization).exists()", [("boolean", True)]),
    ("%resource.id", [("id", "1")]),
    ("Patient.contained.ofType(Practitioner).id", [("id", "p")]),
]


@pytest.mark.parametrize(("expression", "expected"), FOUND, ids=[expression for expression, _ in FOUND])
def test_finds_values_with_their_types(expression: str, expected: list[tuple[str, Any]]) -> None:
    """An expression finds these values, with these FHIR types."""
    assert compile_path(expression, "Patient")(PATIENT) == expected


REFUSED = [
    ("Patient.", "expected a name instead of 'the end'"),
    ("Patient.foo", "Patient has no element 'foo'"),
    ("Foo.bar", "'Foo' is no type of R4"),
    ("Patient.name.aggregate(1)", r"the function aggregate\(\) with 1 argument"),
    ("Patient.name.where()", r"the function where\(\) with 0 argument"),
    ("Patient.name.given + 'x'", r"\+ 'x'.* is not supported"),
    ("Patient.name[x]", "'x' is no index"),
    ("Patient.name.as(Foo)", "'Foo' is no type of R4"),
    ("Patient.name.as('x')", "takes the name of a type"),
    ("Patient.extension(url)", "takes one text"),
    ("Patient.link.other.resolve()", "before `is` only"),
    ("Patient.link.other.resolve().name", "before `is` only"),
    ("%ucum", "the variable %ucum is not supported"),
    ("(" * 60 + "name" + ")" * 60, "nested deeper"),
    ("a" * 20_001, "more than 20000 characters"),
]


@pytest.mark.parametrize(("expression", "reason"), REFUSED, ids=[expression[:40] for expression, _ in REFUSED])
def test_says_what_is_not_supported(expression: str, reason: str) -> None:
    """An expression that can not be compiled is refused with the reason."""
    with pytest.raises(PathError, match=reason):
        compile_path(expression, "Patient")


def test_all_expressions_of_the_specification_compile() -> None:
    """Every search parameter of R4 compiles for every type that it is for."""
    compiled = 0
    for definition in search_parameters():
        for base in definition.base if definition.expression else ():
            for type_ in [base] if base in RESOURCE_TYPES else ["Patient", "Bundle"]:
                compile_branches(definition.expression, type_)
        compiled += bool(definition.expression)
    assert compiled == 1384


def test_branches_about_other_types_vanish() -> None:
    """A union over many types is as long as what it says about one."""
    expression = "AllergyIntolerance.code | Condition.code | (MedicationRequest.medication as CodeableConcept)"
    assert len(compile_branches(expression, "MedicationRequest").branches) == 1


@pytest.mark.parametrize(
    ("type_", "expression", "repeats"),
    [
        ("Patient", "Patient.birthDate", False),
        ("Patient", "Patient.name.family", True),
        ("Observation", "Observation.effective", False),
        ("Observation", "(Observation.value as Quantity) | (Observation.value as SampledData)", False),
        ("Observation", "Observation.code | Observation.component.code", True),
        ("Bundle", "Bundle.entry[0].resource", False),
        ("Patient", "Patient.deceased.exists()", False),
    ],
)
def test_knows_whether_there_can_be_several_values(type_: str, expression: str, repeats: bool) -> None:
    """Choices exclude each other; arrays and different elements do not."""
    assert compile_branches(expression, type_).repeats is repeats


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        parse(text)
    except PathError:
        return


@given(st.text(alphabet="Patient.name()[]|='u1 $%,", max_size=40))
def test_any_expression_is_compiled_or_refused(text: str) -> None:
    """No expression makes the compiler fail in another way, nor its result on a resource."""
    try:
        compile_path(text, "Patient")(PATIENT)
    except PathError:
        return
