"""Scores, grades and their reasons."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.matching import ModelError, assess, default_model, model_of, models, record_of
from fhir_server.matching.compare import LEVELS
from fhir_server.matching.score import judge

MODEL = default_model()
ADA = {
    "name": [{"family": "Okonkwo", "given": ["Adaeze"]}],
    "birthDate": "1984-03-07",
    "gender": "female",
    "telecom": [{"system": "phone", "value": "+14155550134"}],
    "address": [{"line": ["12 Harbour Street"], "city": "Oakland", "postalCode": "94607"}],
}


def grade(one, other):
    return assess(MODEL, record_of(one), record_of(other)).grade


def test_bits_are_the_sum_of_the_evidence():
    found = assess(MODEL, record_of(ADA), record_of(ADA | {"birthDate": "1984-07-03"}))
    assert found.bits == pytest.approx(sum(one.bits for one in found.evidence), abs=0.01)
    assert [(one.field, one.level) for one in found.evidence] == [
        ("given", "exact"),
        ("family", "exact"),
        ("birth", "swapped"),
        ("gender", "exact"),
        ("phone", "exact"),
        ("number", "exact"),
        ("street", "exact"),
        ("city", "exact"),
        ("postcode", "exact"),
        ("household", "capped"),
    ]


def test_what_a_household_shares_is_worth_no_more_than_the_cap():
    found = assess(MODEL, record_of(ADA), record_of(ADA))
    shared = sum(one.bits for one in found.evidence if one.field not in ("given", "birth", "gender"))
    assert shared == pytest.approx(MODEL.household_cap)


def test_relatives_at_one_address_are_not_probable():
    brother = ADA | {"name": [{"family": "Okonkwo", "given": ["Chidi"]}], "gender": "male", "birthDate": "1986-11-20"}
    assert grade(ADA, brother) == "certainly-not"
    daughter = ADA | {"birthDate": "2011-05-30"}
    assert grade(ADA, daughter) in ("certainly-not", "possible")


def test_a_twin_is_not_certain_even_with_a_like_name():
    one = ADA | {"name": [{"family": "Okonkwo", "given": ["Jon"]}], "gender": "male"}
    other = ADA | {"name": [{"family": "Okonkwo", "given": ["Joan"]}], "gender": "female"}
    assert grade(one, other) != "certain"


def test_another_generation_is_not_certain_and_the_same_is():
    senior = ADA | {"name": [{"family": "Okonkwo", "given": ["Adaeze"], "suffix": ["Sr"]}]}
    junior = ADA | {"name": [{"family": "Okonkwo", "given": ["Adaeze"], "suffix": ["II"]}]}
    assert grade(senior, junior) != "certain"
    assert grade(senior, senior) == "certain"
    assert grade(senior, ADA) == "certain"


def test_name_and_birth_date_alone_are_not_certain():
    few = {name: ADA[name] for name in ("name", "birthDate", "gender")}
    assert grade(few, few) == "probable"


def test_a_married_name_counts_less_against_a_woman_than_another_name_against_a_man():
    married = ADA | {"name": [{"family": "Smith", "given": ["Adaeze"]}]}
    man = ADA | {"gender": "male"}
    renamed = assess(MODEL, record_of(ADA), record_of(married)).bits
    other = assess(MODEL, record_of(man), record_of(married | {"gender": "male"})).bits
    assert renamed > other


def test_a_maiden_name_is_as_good_as_the_married_one():
    both = ADA | {"name": [{"family": "Smith", "given": ["Adaeze"]}, {"use": "maiden", "family": "Okonkwo", "given": ["Adaeze"]}]}
    assert grade(ADA, both) == "certain"


def test_swapped_names_are_recognised():
    swapped = ADA | {"name": [{"family": "Adaeze", "given": ["Okonkwo"]}]}
    found = assess(MODEL, record_of(ADA), record_of(swapped))
    assert ("names", "swapped") in [(one.field, one.level) for one in found.evidence]
    assert found.grade in ("probable", "certain")


def test_nothing_in_common_is_certainly_not():
    found = assess(MODEL, record_of({}), record_of({}))
    assert (found.grade, found.bits, found.evidence) == ("certainly-not", 0, ())
    assert found.score < 0.001


_LEVELS = st.fixed_dictionaries({}, optional={field: st.sampled_from(levels) for field, levels in LEVELS.items()})


@given(_LEVELS)
def test_scores_are_probabilities_and_never_fall_with_the_bits(levels):
    found = judge(MODEL, list(levels.items()))
    assert 0 <= found.score <= 1
    assert found.grade in ("certain", "probable", "possible", "certainly-not")
    if levels.get("generation") == "different":
        assert found.grade != "certain"
    better = judge(MODEL, [*(one for one in levels.items() if one[0] != "gender"), ("gender", "exact")])
    if levels.get("gender") != "exact" and levels.get("birth") != "different":
        assert better.score >= found.score


def test_a_tenant_may_have_a_model_of_its_own(tmp_path):
    path = tmp_path / "models.json"
    changes = {"default": {"household_cap": 10}, "acme": {"grades": {"certain": 40}, "weights": {"gender": {"different": -9}}}}
    path.write_text(json.dumps(changes))
    acme, other = model_of(path, "acme"), model_of(path, "other")
    assert (acme.household_cap, acme.grades.certain, acme.weights["gender"]) == (10, 40, {"exact": 1.0, "different": -9})
    assert (other.household_cap, other.grades, other.weights) == (10, MODEL.grades, MODEL.weights)
    assert model_of(None, "acme") == MODEL


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "models.json"
    path.write_text("{}")
    assert model_of(path, "acme") == MODEL
    path.write_text('{"acme": {"candidates": 7}}')
    assert model_of(path, "acme").candidates == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can not be read"),
        ("[]", "no JSON object"),
        ('{"a": {"weights": {"given": {"exact": "much"}}}}', "a.weights.given.exact"),
        ('{"a": {"weights": {"given": {"precise": 1}}}}', "weights.given has no level precise"),
        ('{"a": {"weights": {"nose": {"exact": 1}}}}', "weights has no field nose"),
        ('{"a": {"grades": {"possible": 30}}}', "possible < probable < certain"),
        ('{"a": {"candidate": 3}}', "a.candidate"),
        ('{"a": {"candidates": 0}}', "a.candidates"),
        ('{"a": 3}', "a"),
    ],
)
def test_a_wrong_model_is_refused_and_the_message_says_where(tmp_path, text, message):
    path = tmp_path / "models.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        models(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="can not be read"):
        models(tmp_path / "nothing.json")


def test_a_model_that_lacks_a_weight_is_refused():
    whole = MODEL.model_dump()
    del whole["weights"]["birth"]["digit"]
    with pytest.raises(ValueError, match=r"weights\.birth lacks digit"):
        type(MODEL).model_validate(whole)
