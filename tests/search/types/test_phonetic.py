import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.phonetic import key


@pytest.mark.parametrize(
    ("one", "other"),
    [("smith", "smyth"), ("schmidt", "schmitt"), ("philip", "filip"), ("stephen", "steven"), ("catherine", "katherine"),
     ("meyer", "maier"), ("knight", "night"), ("jansson", "janson"), ("zoe", "soe"), ("wright", "right")],
)  # fmt: skip
def test_names_that_sound_alike_have_one_key(one: str, other: str) -> None:
    """Spelling does not matter."""
    assert key(one) == key(other)


@pytest.mark.parametrize(("one", "other"), [("smith", "jones"), ("anna", "bo"), ("lind", "lund"[::-1]), ("holm", "ek")])
def test_others_have_not(one: str, other: str) -> None:
    """Their consonants differ."""
    assert key(one) != key(other)


def test_finds_by_the_sound_of_all_words() -> None:
    """In any part of the name."""
    parameter = BUILTIN.get("Patient", "phonetic")
    assert parameter is not None
    found = entries({"resourceType": "Patient", "name": [{"family": "Schmidt", "given": ["Catherine"]}]})["phonetic"]
    assert set(found) == {key("schmidt"), key("katherine")}
    assert parameter_filter(parameter, "", ["Schmitt"]) == {"s.phonetic": key("schmidt")}
    assert parameter_filter(parameter, "", ["a b", "c"])["$or"][0] == {"s.phonetic": {"$all": [key("a"), key("b")]}}
    with pytest.raises(FhirError, match="a name is needed"):
        parameter_filter(parameter, "", ["123"])
    with pytest.raises(FhirError, match="The modifier :exact is not supported"):
        parameter_filter(parameter, "exact", ["x"])
