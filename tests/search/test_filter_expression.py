"""`_filter`: https://hl7.org/fhir/R4/search_filter.html."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.search import search_type
from fhir_server.search.conditions import AllOf, AnyOf, Chain, Condition, Match, Negation
from fhir_server.search.filter_expression import parse_filter
from fhir_server.search.registry import BUILTIN
from fhir_server.search.terms import TermParser, UnknownParameterError
from tests.search.conftest import Put

TERMS = TermParser(BUILTIN, Settings(_env_file=None))


def shown(condition: Condition) -> str:
    """Return a condition as a short text."""
    match condition:
        case Match(parameter, modifier, values):
            return f"{parameter.code}{':' + modifier if modifier else ''}={','.join(values)}"
        case AllOf(conditions):
            return f"({' and '.join(map(shown, conditions))})"
        case AnyOf(conditions):
            return f"({' or '.join(map(shown, conditions))})"
        case Negation(inner):
            return f"not {shown(inner)}"
        case Chain(parameter, branches):
            return f"{parameter.code}->" + "|".join(f"{type_}.{shown(inner)}" for type_, inner in branches)
    raise AssertionError(condition)


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        ("Patient", 'name co "pet"', "name:contains=pet"),
        ("Patient", 'given eq "peter" and birthdate ge 2014-10-10', "(given:filter.eq=peter and birthdate=ge2014-10-10)"),
        ("Patient", "given sw a", "given=a"),
        ("Patient", "given ew a", "given:filter.ew=a"),
        ("Patient", "gender ne male", "not gender=male"),
        ("Patient", "not (gender eq male)", "not gender=male"),
        ("Patient", "given eq a or given eq b", "(given:filter.eq=a or given:filter.eq=b)"),
        (
            "Patient",
            "active eq true or gender eq male and gender eq female",
            "((active=true or gender=male) and gender=female)",
        ),
        (
            "Patient",
            "active eq true or (gender eq male and gender eq female)",
            "(active=true or (gender=male and gender=female))",
        ),
        ("Observation", "code eq http://loinc.org|1234-5", "code=http://loinc.org|1234-5"),
        ("Observation", "code in http://x.org/vs", "code:in=http://x.org/vs"),
        ("Observation", "code ni http://x.org/vs", "code:not-in=http://x.org/vs"),
        ("Observation", "code ss http://snomed.info/sct|1", "code:below=http://snomed.info/sct|1"),
        ("Observation", "code sb http://snomed.info/sct|1", "code:above=http://snomed.info/sct|1"),
        ("Observation", "subject re Patient/1", "subject=Patient/1"),
        ("Observation", "value-quantity gt 5.4||mg", "value-quantity=gt5.4||mg"),
        ("Observation", "date pr false", "date:missing=true"),
        ("Observation", "date po 2014", "(date:missing=false and not (date=sa2014 or date=eb2014))"),
        ("Observation", "subject:Patient.birthdate lt 1970", "subject->Patient.birthdate=lt1970"),
        ("Patient", "organization.name co x", "organization->Organization.name:contains=x"),
        (
            "Patient",
            'general-practitioner[active eq true].name co "x"',
            "general-practitioner->Practitioner.(active=true and name:contains=x)|Organization.(active=true and name:contains=x)",
        ),
        ("Patient", r'name eq "a,b\"c|d$e"', r'name:filter.eq=a\,b"c\|d\$e'),
        ("Patient", r'name eq "a\\b"', r"name:filter.eq=a\\b"),
    ],
)
def test_an_expression_becomes_conditions(type_: str, text: str, expected: str) -> None:
    assert shown(parse_filter(TERMS, type_, text)) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("name", 5),
        ("name co", 8),
        ("name xx y", 8),
        ('name co "y', 9),
        ("(name co y", 11),
        ("name co y)", 10),
        ("name co y and", 14),
        ("not name co y", 5),
        ("gender.name eq x", 7),
        ("name:exact eq x", 11),
        ("organization[name eq x name eq y].name eq x", 24),
        ("organization[name eq x] eq y", 25),
        (r'name co "\ud8"', 15),
    ],
)
def test_what_can_not_be_understood_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(FhirError) as refused:
        parse_filter(TERMS, "Patient", text)
    assert refused.value.status == 400
    assert f"character {position}:" in refused.value.issues[0].diagnostics


@pytest.mark.parametrize(
    "text", ["gender co x", "birthdate co x", "active gt 3", "name in x", "name pr maybe", "identifier po x", r'name eq "\ud800"']
)
def test_an_operator_that_a_parameter_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(FhirError) as refused:
        parse_filter(TERMS, "Patient", text)
    assert refused.value.status == 400


def test_an_unknown_parameter_is_unknown_also_within_an_expression() -> None:
    with pytest.raises(UnknownParameterError):
        parse_filter(TERMS, "Patient", "name co x and foo eq 1")


def test_nesting_and_length_are_bounded() -> None:
    for text in ("(" * 40 + "active eq true" + ")" * 40, " and ".join(["active eq true"] * 101)):
        with pytest.raises(FhirError) as refused:
            parse_filter(TERMS, "Patient", text)
        assert refused.value.issues[0].code == "too-costly"


words = ["name", "gender", "eq", "co", "pr", "true", "and", "or", "not", "(", ")", "[", "]", ".", '"x"', '"', "organization", " "]


@settings(deadline=None)
@given(st.one_of(st.lists(st.sampled_from(words), max_size=12).map(" ".join), st.text(max_size=40)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_filter(TERMS, "Patient", text)
    except FhirError as refused:
        assert refused.status == 400
    except UnknownParameterError:
        pass


PEOPLE: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "o1", "name": "North"},
    {"resourceType": "Patient", "id": "a", "gender": "male", "name": [{"family": "Ålund"}], "birthDate": "1970-01-01"},
    {"resourceType": "Patient", "id": "b", "gender": "female", "name": [{"family": "Lund"}], "birthDate": "1980-05"},
    {
        "resourceType": "Patient",
        "id": "c",
        "name": [{"family": "Lundberg"}],
        "managingOrganization": {"reference": "Organization/o1"},
    },
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('family eq "lund"', "b"),
        ('family eq "alund"', "a"),
        ('family ew "lund"', "ab"),
        ('family co "lund"', "abc"),
        ('family sw "lund"', "bc"),
        ("gender ne male", "bc"),
        ("gender pr false", "c"),
        ("birthdate po 1980", "b"),
        ("birthdate lt 1975 or organization.name eq north", "ac"),
        ("not (organization.name eq north) and family sw l", "b"),
        ("birthdate ge 1970 and (gender eq male or gender eq female)", "ab"),
    ],
)
async def test_a_filter_finds_what_it_states(ctx: Context, put: Put, text: str, expected: str) -> None:
    await put(*PEOPLE)
    reply = await search_type(ctx, Call("search-type", "Patient", params=(("_filter", text),)))
    assert reply.resource is not None
    assert "".join(entry["resource"]["id"] for entry in reply.resource.get("entry", [])) == expected
