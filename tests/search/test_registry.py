import pytest

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.registry import BUILTIN, SearchParameter


def parameter(type_: str, code: str) -> SearchParameter:
    found = BUILTIN.get(type_, code)
    assert found is not None
    return found


def test_every_type_has_the_parameters_of_all_resources() -> None:
    """_id, _lastUpdated, _tag, _profile, _security, _source and _content are everywhere."""
    for type_ in RESOURCE_TYPES:
        assert {"_id", "_lastUpdated", "_tag", "_profile", "_security", "_source", "_content"} <= BUILTIN.of(type_).keys()


def test_only_resources_with_a_narrative_have_text() -> None:
    """A Binary is no DomainResource, so it has no _text."""
    assert BUILTIN.get("Patient", "_text") is not None
    assert BUILTIN.get("Binary", "_text") is None


def test_what_the_search_itself_evaluates_is_no_parameter() -> None:
    """_filter and _query have no index."""
    assert BUILTIN.get("Patient", "_filter") is None
    assert BUILTIN.get("Patient", "nonsense") is None


@pytest.mark.parametrize(
    ("type_", "code", "field", "repeats"),
    [
        ("Patient", "_id", "i", False),
        ("Patient", "_lastUpdated", "u", False),
        ("Patient", "birthdate", "s.birthdate", False),
        ("Patient", "family", "s.family", True),
        ("Patient", "gender", "s.gender", False),
        ("Observation", "code", "s.code", True),
        ("Observation", "date", "s.date", False),
        ("Observation", "value-quantity", "s.value-quantity", False),
        ("Observation", "subject", "s.subject", False),
        ("Observation", "performer", "s.performer", True),
    ],
)
def test_says_where_entries_stand(type_: str, code: str, field: str, repeats: bool) -> None:
    """A parameter has one field, an array only where there can be several entries."""
    found = parameter(type_, code)
    assert (found.field, found.repeats) == (field, repeats)


def test_of_two_definitions_the_examples_of_the_specification_lose() -> None:
    """R4 publishes `_id` and Condition's `subject` twice; the second are examples."""
    assert parameter("Patient", "_id").url == "http://hl7.org/fhir/SearchParameter/Resource-id"
    assert parameter("Condition", "subject").url == "http://hl7.org/fhir/SearchParameter/Condition-subject"


def test_patient_shares_the_entries_of_subject() -> None:
    """What of the subject is a patient needs no entries of its own; a patient that is no subject has them."""
    assert (parameter("Observation", "patient").field, parameter("Observation", "patient").shared) == ("s.subject", True)
    assert (parameter("AllergyIntolerance", "patient").field, parameter("AllergyIntolerance", "patient").shared) == (
        "s.patient",
        False,
    )


def test_combined_parameters_are_made_of_their_parts() -> None:
    """combo-code is code and component-code; combo-code-value-quantity likewise."""
    for name in ("code", "value-quantity", "value-concept", "code-value-quantity", "code-value-concept"):
        assert [part.code for part in parameter("Observation", f"combo-{name}").parts] == [name, f"component-{name}"]


def test_composites_over_the_resource_are_made_of_its_parameters() -> None:
    """code-value-quantity joins code and value-quantity; one over components has entries of its own."""
    assert [part.code for part in parameter("Observation", "code-value-quantity").joined] == ["code", "value-quantity"]
    assert parameter("Observation", "component-code-value-quantity").joined == ()
    sibling = parameter("Observation", "component-code-value-quantity").components[0].sibling
    assert sibling is not None
    assert sibling.code == "component-code"


def test_the_swapped_components_of_document_references_are_put_right() -> None:
    """DocumentReference.relationship is a reference and a code, whatever R4's expressions say."""
    components = parameter("DocumentReference", "relationship").components
    assert [(one.parameter.type, sorted(one.parameter.value_types)) for one in components] == [
        ("reference", ["Reference"]),
        ("token", ["code"]),
    ]


def test_codes_imply_the_systems_of_their_value_set() -> None:
    """gender=http://hl7.org/fhir/administrative-gender|male is understood."""
    assert parameter("Patient", "gender").systems == {"http://hl7.org/fhir/administrative-gender"}


def test_all_types_have_registries_without_error() -> None:
    """Every parameter of every type is made."""
    assert sum(len(BUILTIN.of(type_)) for type_ in RESOURCE_TYPES) > 2800
