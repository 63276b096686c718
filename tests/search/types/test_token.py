from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.token import among, contact, entry

END = "\U0010ffff"


def find(type_: str, code: str, modifier: str, *values: str) -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, values)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_entries_are_equal_only_for_equal_tokens(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Whatever characters code and system hold."""
    assert (entry(*one) == entry(*other)) is (one == other)


def test_indexes_each_kind_of_value() -> None:
    """Codes, booleans, concepts, identifiers and contacts become `code|system`."""
    found = entries(
        {
            "resourceType": "Patient",
            "active": True,
            "gender": "male",
            "deceasedDateTime": "2020",
            "identifier": [
                {"system": "urn:a", "value": "1|2", "type": {"text": "Record No", "coding": [{"system": "urn:t", "code": "MR"}]}},
                {"value": "3"},
                {"system": "urn:only"},
                {"use": "old"},
            ],
            "telecom": [
                {"system": "phone", "value": "+46 (70) 000-00.01"},
                {"system": "email", "value": "A@B.org"},
                {"use": "home"},
            ],
            "communication": [
                {"language": {"text": "Svenska", "coding": [{"system": "urn:l", "code": "sv", "display": "Swedish"}]}}
            ],
        }
    )
    assert found["active"] == "true|"
    assert found["gender"] == "male|"
    assert found["deceased"] == "true|"
    assert found["identifier"] == ["1\\|2|urn:a", "|urn:only", "3|"]
    assert found["identifier:text"] == ["record no"]
    assert found["identifier:of-type"] == ["urn:t|MR|1\\|2"]
    assert found["telecom"] == ["<10000000764|phone", "a@b.org|email"]
    assert found["phone"] == ["<10000000764|phone"] * 2
    assert found["language"] == ["sv|urn:l"] * 2
    assert found["language:text"] == ["svenska", "swedish"]


@pytest.mark.parametrize(
    ("address", "system", "compared"),
    [
        ("+1 (415) 555-0100", "phone", "<00105555141"),
        ("(415) 555-0100", "sms", "<00105555141"),
        ("(415) 555-0100", "", "<00105555141"),
        ("+44 20 7946 0958", "fax", "<859064970244"),
        ("555-0100", "phone", "<0010555"),
        ("12", "phone", "<21"),
        ("ext. 5", "phone", "ext. 5"),
        ("Ada@Example.org", "email", "ada@example.org"),
        ("4155550100", "email", "4155550100"),
    ],
)
def test_phones_are_compared_by_their_digits_from_the_end(address: str, system: str, compared: str) -> None:
    """Whatever is no phone number is compared without case."""
    assert contact(address, system, "US") == compared


def test_the_region_completes_numbers_without_a_country_code() -> None:
    """So the same digits are another number in another country."""
    assert contact("020 7946 0958", "phone", "GB") == "<859064970244"
    assert contact("020 7946 0958", "phone", "US") == "<85906497020"


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        ("8867-4", {"$regex": r"^8867\-4\|"}),
        ("http://loinc.org|8867-4", "8867-4|http://loinc.org"),
        ("|8867-4", "8867-4|"),
        (r"urn:x\|y|a\|b", r"a\|b|urn:x|y"),
        ("http://loinc.org|", {"$regex": r"^(?:[^|\\]|\\.)*\|http://loinc\.org$"}),
    ],
)
def test_finds_by_code_and_system(value: str, condition: Any) -> None:
    """Each of the four forms of a value is one condition."""
    assert find("Observation", "code", "", value) == {"s.code": condition}


def test_plain_codes_imply_their_system() -> None:
    """Of a code element a system that its value set has is understood, another one matches nothing."""
    assert find("Patient", "gender", "", "male") == {"s.gender": "male|"}
    assert find("Patient", "gender", "", "|male") == {"s.gender": "male|"}
    assert find("Patient", "gender", "", "http://hl7.org/fhir/administrative-gender|male") == {"s.gender": "male|"}
    assert find("Patient", "gender", "", "urn:x|male") == {"s.gender": "male|urn:x"}
    assert find("Patient", "gender", "", "http://hl7.org/fhir/administrative-gender|") == {"s.gender": {"$exists": True}}
    assert find("Patient", "gender", "", "urn:x|") == {"s.gender": {"$in": []}}


def test_booleans_are_true_or_false() -> None:
    """Anything else is a 400."""
    assert find("Patient", "active", "", "true") == {"s.active": "true|"}
    with pytest.raises(FhirError, match="'yes' is no valid value of the search parameter 'active': expected true or false"):
        find("Patient", "active", "", "yes")


def test_a_contact_without_system_is_any() -> None:
    """R4 gives contacts no system, so `|value` means the value."""
    expected = {"s.telecom": {"$regex": "^<4321555"}}
    assert find("Patient", "telecom", "", "5551234") == find("Patient", "telecom", "", "|5551234") == expected
    assert find("Patient", "telecom", "", "phone|5551234") == {"s.telecom": {"$regex": r"^<4321555\d*\|phone$"}}


def test_whole_numbers_and_short_ones_are_not_the_end_of_others() -> None:
    """From seven digits on a number without its country code is an end."""
    assert find("Patient", "telecom", "", "+14155550100") == {"s.telecom": {"$regex": r"^<00105555141\|"}}
    assert find("Patient", "telecom", "", "phone|+14155550100") == {"s.telecom": "<00105555141|phone"}
    assert find("Patient", "phone", "", "911") == {"s.phone": {"$regex": r"^<119\|"}}
    assert find("Patient", "email", "", "ada@example.org") == {"s.email": {"$regex": r"^ada@example\.org\|"}}


def test_not_excludes_all_values() -> None:
    """A resource without the element is found."""
    assert find("Patient", "gender", "not", "male", "other") == {"$nor": [{"s.gender": "male|"}, {"s.gender": "other|"}]}


def test_text_starts_with() -> None:
    """The text of the concept, or the display of a coding."""
    assert find("Observation", "code", "text", "Heart") == {"s.code:text": {"$regex": "^heart"}}


def test_of_type_needs_three_parts() -> None:
    """The index finds the value, the sub-field the type."""
    assert find("Patient", "identifier", "of-type", "urn:t|MR|1") == {
        "s.identifier": {"$regex": r"^1\|"},
        "s.identifier:of-type": "urn:t|MR|1",
    }
    with pytest.raises(FhirError, match=r"expected system\|code\|value"):
        find("Patient", "identifier", "of-type", "MR|1")
    with pytest.raises(FhirError, match="only identifiers have a type"):
        find("Patient", "gender", "of-type", "a|b|c")


@pytest.mark.parametrize("value", ["", "|", "a|b|c"])
def test_refuses_malformed_values(value: str) -> None:
    """A 400 says which forms there are."""
    with pytest.raises(FhirError, match="is no valid value of the search parameter 'code'"):
        find("Observation", "code", "", value)


def test_refuses_unknown_modifiers() -> None:
    """A 400 names those that there are."""
    with pytest.raises(FhirError, match="The modifier :exact is not supported for 'code', of type token"):
        find("Observation", "code", "exact", "x")


def test_finds_among_codings() -> None:
    """What a value set expands to is a list; of a code element without the systems that it implies."""
    code, status = BUILTIN.get("Observation", "code"), BUILTIN.get("Observation", "status")
    combined = BUILTIN.get("Observation", "combo-code")
    assert code is not None
    assert status is not None
    assert combined is not None
    assert among("s.code", [("urn:a", "1"), ("", "2")], code) == {"s.code": {"$in": ["1|urn:a", "2|"]}}
    assert among("s.status", [("http://hl7.org/fhir/observation-status", "final")], status) == {"s.status": {"$in": ["final|"]}}
    assert among("s.combo-code", [("urn:a", "1")], combined) == {
        "$or": [{"s.code": {"$in": ["1|urn:a"]}}, {"s.component-code": {"$in": ["1|urn:a"]}}]
    }


def test_combined_parameters_ask_their_parts() -> None:
    """Both for what excludes, one of them for what includes."""
    either = [{"s.code": "1|urn:a"}, {"s.component-code": "1|urn:a"}]
    assert find("Observation", "combo-code", "", "urn:a|1") == {"$or": either}
    assert find("Observation", "combo-code", "not", "urn:a|1") == {"$and": [{"$nor": [one]} for one in either]}
