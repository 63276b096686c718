from typing import Any

import pytest
from bson.regex import Regex
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.string import NAMED, entry, fold, has_words, having_words, later_words, split, words

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


def test_a_name_has_its_parts_and_its_later_words() -> None:
    """All parts of a HumanName are entries of `name`; least and greatest come first, words inside of others last."""
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "von Ek", "given": ["Bo", "Ada"], "prefix": ["Dr"], "suffix": ["PhD"]}],
    }
    found = entries(patient)
    assert found["name"] == ["ada\x01", "von ek\x01von Ek", "bo\x01", "dr\x01", "phd\x01PhD", "\x02ek"]
    assert found["family"] == ["von ek\x01von Ek", "von ek\x01von Ek", "\x02ek"]
    assert found["given"] == ["ada\x01", "bo\x01"]


def test_a_word_that_another_entry_starts_with_is_not_repeated() -> None:
    """A text that has the parts of the name once more costs one entry."""
    name = {"text": "Anna Maria Lindqvist", "family": "Lindqvist", "given": ["Anna", "Maria"]}
    found = entries({"resourceType": "Patient", "name": [name]})["name"]
    assert found == ["anna\x01", "maria\x01", "anna maria lindqvist\x01", "lindqvist\x01"]


def test_long_words_have_pieces() -> None:
    """Any 32 letters of a word stand together in one of its pieces, and its end in the last."""
    word = "".join(f"{number:03}" for number in range(70))
    pieces = list(split(word))
    assert max(map(len, pieces)) == 64
    assert all(any(word[start : start + 32] in piece for piece in pieces) for start in range(len(word) - 31))
    assert word.endswith(pieces[-1])
    assert words([*later_words([word]), word, "bo ek", "\x01\u0301"]) == {*pieces, "bo"}


def test_names_of_too_many_letters_are_refused() -> None:
    """Each would be an entry of the vocabulary."""
    with pytest.raises(FhirError, match="have 100,001 letters together; at most 100,000 can be searched") as refused:
        entries({"resourceType": "Organization", "name": "x" * 100_001})
    assert refused.value.status == 422


def test_parameters_with_words_are_those_of_names() -> None:
    """Each may repeat, so that there is a place for later words."""
    found = [one for type_ in sorted(NAMED) for _, one in sorted(BUILTIN.of(type_).items()) if has_words(one)]
    assert all(one.repeats and one.type == "string" for one in found)
    assert [(one.resource_type, one.code) for one in found] == [
        ("Location", "name"),
        ("Organization", "name"),
        ("Patient", "family"),
        ("Patient", "given"),
        ("Patient", "name"),
        ("Person", "name"),
        ("Practitioner", "family"),
        ("Practitioner", "given"),
        ("Practitioner", "name"),
        ("RelatedPerson", "name"),
    ]


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


def test_contains_is_a_pattern() -> None:
    """It does not reach beyond the folded text."""
    assert find("family", "contains", "MIT") == {"s.family": {"$regex": "^[^\x01]*mit"}}


def test_a_word_is_found_wherever_it_stands() -> None:
    """As an entry, as the start of one, and inside of one."""
    found = having_words("s.name", ["o'ek"])
    (filter_,) = found.values()
    assert filter_ == {"$in": ["o'ek", "\x02o'ek", Regex("^o'ek\x01", 0), Regex("^o'ek ", 0)]}


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
