from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.string import ends, entry, fold

END = "\U0010ffff"


def find(code: str, modifier: str, *values: str, type_: str = "Patient") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, values)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Smith", "smith"),
        ("SÖDERBERG", "soderberg"),
        ("Straße", "strasse"),
        ("Łukasz Sørensen Ægir", "lukasz sorensen aegir"),
        ("  two \t words\n", "two words"),
        ("e\u0301", "e"),
        ("ﬁne", "fine"),
        ("が", "が"),
        ("हिन्दी", "हिन्दी"),
        ("한국", "한국"),
        ("a\x01b", "a b"),
        ("", ""),
    ],
)
def test_folds_case_accents_and_space(text: str, folded: str) -> None:
    """Letters of other scripts stay what they are."""
    assert fold(text) == folded


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """A folded text is its own folded text, so that a query may be either."""
    assert fold(fold(text)) == fold(text)


@given(st.text(), st.text())
def test_entries_are_equal_only_for_equal_texts(one: str, other: str) -> None:
    """`:exact` is equality of entries."""
    assert (entry(one) == entry(other)) is (one == other)


def test_a_name_has_its_parts_and_the_ends_of_its_words() -> None:
    """All parts of a HumanName are entries of `name`; least and greatest come first."""
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "von Ek", "given": ["Bo", "Ada"], "prefix": ["Dr"], "suffix": ["PhD"]}],
    }
    found = entries(patient)
    assert found["name"] == ["ada\x01", "von ek\x01von Ek", "bo\x01", "dr\x01", "phd\x01PhD"]
    assert found["family"] == ["von ek\x01von Ek"] * 2
    assert found["given"] == ["ada\x01", "bo\x01"]
    assert found["name:ends"] == ["ada", "bo", "da", "dr", "ek", "hd", "n ek", "on ek", "phd", "von ek"]


def test_ends_start_at_every_letter_but_the_last() -> None:
    """Also at the last one of a word that others follow; a single letter is its own end."""
    assert ends(["anna maria\x01"]) == ["a maria", "anna maria", "aria", "ia", "maria", "na maria", "nna maria", "ria"]
    assert max(map(len, ends(["x" * 1000]))) == 32


def test_an_address_has_its_parts() -> None:
    """All parts of an Address are entries of `address`."""
    patient = {"resourceType": "Patient", "address": [{"line": ["1 A St"], "city": "Lund", "postalCode": "222"}]}
    assert entries(patient)["address"] == ["1 a st\x01", "lund\x01", "222"]
    assert entries(patient)["address-city"] == ["lund\x01", "lund\x01"]


def test_a_start_is_a_range() -> None:
    """Several values are alternatives."""
    assert find("family", "", "Söd") == {"s.family": {"$regex": "^sod"}}
    assert find("family", "", "a", "b") == {
        "$or": [
            {"s.family": {"$regex": "^a"}},
            {"s.family": {"$regex": "^b"}},
        ]
    }
    assert find("description", "", "x", type_="DocumentReference") == {"s.description": {"$gte": "x", "$lt": "x" + END}}


def test_exact_is_equality() -> None:
    """Case and accents count."""
    assert find("family", "exact", "Smith", "SMITH", "smith") == {"s.family": {"$in": ["smith\x01", "smith\x01SMITH", "smith"]}}


def test_contains_is_a_range_over_the_ends_of_names() -> None:
    """And an escaped pattern on the parameter's own entries; that alone for short texts and where there are no ends."""
    assert find("family", "contains", "MIT") == {
        "s.name:ends": {"$regex": "^mit"},
        "s.family": {"$regex": "^[^\x01]*mit"},
    }
    assert find("name", "contains", "mit") == {"s.name:ends": {"$regex": "^mit"}}
    assert find("name", "contains", "m" * 40) == {
        "s.name:ends": {"$regex": "^" + "m" * 32},
        "s.name": {"$regex": "^[^\x01]*" + "m" * 40},
    }
    assert find("family", "contains", "m") == {"s.family": {"$regex": "^[^\x01]*m"}}
    assert find("address", "contains", "main") == {"s.address": {"$regex": "^[^\x01]*main"}}


def test_refuses_other_modifiers_and_empty_texts() -> None:
    """A 400 names the modifiers that there are."""
    with pytest.raises(
        FhirError,
        match="The modifier :above is not supported for 'family', of type string; these are: :contains, :exact, :missing",
    ):
        find("family", "above", "x")
    with pytest.raises(FhirError, match="a text of 1 to 4000 characters is needed"):
        find("family", "", "\u0301")


def test_a_long_text_is_exact_by_its_hash() -> None:
    """Its entry does not hold it twice."""
    long = "Lorem Ipsum " * 50
    assert len(entry(long)) < len(long) + 40
    assert entry(long) != entry(long + "!")
