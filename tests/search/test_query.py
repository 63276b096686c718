"""Parameters, parsed: https://hl7.org/fhir/R4/search.html."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.config import Settings
from fhir_server.exchange import Params
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.conditions import Chain, Has, Match, OnList
from fhir_server.search.query import Include, SearchQuery, TypeQuery, parse_criteria, parse_query
from fhir_server.search.registry import BUILTIN


def parse(type_: str, params: Params, settings: Settings, *, strict: bool = False) -> SearchQuery:
    return parse_query((type_,), params, BUILTIN, settings, strict=strict)


def refusal(type_: str, settings: Settings, name: str, value: str, *, strict: bool = False) -> str:
    with pytest.raises(FhirError) as refused:
        parse(type_, ((name, value),), settings, strict=strict)
    assert refused.value.status == 400
    return refused.value.issues[0].diagnostics


def only(query: SearchQuery) -> object:
    (part,) = query.parts
    (condition,) = part.condition.conditions
    return condition


def test_values_are_split_at_commas_that_no_backslash_escapes(settings: Settings) -> None:
    found = only(parse("Patient", (("name:exact", r"a\,b,c,,d\\"),), settings))
    assert isinstance(found, Match)
    assert (found.parameter.code, found.modifier, found.values) == ("name", "exact", (r"a\,b", "c", "d\\\\"))


def test_an_untyped_chain_branches_to_every_type_that_has_the_parameter(settings: Settings) -> None:
    found = only(parse("Patient", (("general-practitioner.name", "x"),), settings))
    assert isinstance(found, Chain)
    assert [type_ for type_, _ in found.branches] == ["Practitioner", "Organization"]


def test_a_typed_chain_may_go_on_and_end_with_a_modifier(settings: Settings) -> None:
    found = only(parse("Observation", (("subject:Patient.organization.name:exact", "x"),), settings))
    assert isinstance(found, Chain)
    (type_, inner), = found.branches  # fmt: skip
    assert type_ == "Patient"
    assert isinstance(inner, Chain)
    (_, last), = inner.branches  # fmt: skip
    assert isinstance(last, Match)
    assert (last.parameter.code, last.modifier) == ("name", "exact")


def test_has_nests_and_combines_with_chains(settings: Settings) -> None:
    found = only(parse("Patient", (("_has:Observation:patient:_has:AuditEvent:entity:agent.name", "x"),), settings))
    assert isinstance(found, Has)
    assert isinstance(found.condition, Has)
    assert isinstance(found.condition.condition, Chain)


def test_list_takes_ids(settings: Settings) -> None:
    assert only(parse("Patient", (("_list", "a,List/b"),), settings)) == OnList(("a", "b"))


def test_an_unknown_parameter_is_ignored_with_an_issue(settings: Settings) -> None:
    query = parse("Patient", (("foo", "1"), ("active", "true")), settings)
    assert query.understood == (("active", "true"),)
    assert query.issues[0].diagnostics == "Patient has no search parameter 'foo'. The parameter 'foo' was ignored."


def test_an_unknown_parameter_is_refused_under_strict_handling(settings: Settings) -> None:
    assert refusal("Patient", settings, "foo", "1", strict=True).startswith("Patient has no search parameter 'foo'.")


def test_a_parameter_without_a_value_is_ignored(settings: Settings) -> None:
    query = parse("Patient", (("name", ""), ("foo", ""), ("given", ",")), settings, strict=True)
    assert query.understood == ()
    assert query.parts[0].condition.conditions == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_count", "-1"),
        ("_count", "x"),
        ("_count", "1.5"),
        ("_count", "٣"),
        ("_count:exact", "1"),
        ("_total", "some"),
        ("_summary", "xyz"),
        ("_explain", "yes"),
        ("_contained", "true"),
        ("_contained", "both"),
        ("_containedType", "container"),
        ("_elements", "name.family.x"),
        ("_include", "Patient"),
        ("_include", "Patient:organization:Organization:x"),
        ("_include", "Nothing:organization"),
        ("_include", "Patient:organization:Nothing"),
        ("_include", "Patient:gender"),
        ("_include:often", "Patient:organization"),
        ("_query", "current-high-risk"),
        ("_has", "x"),
        ("_has:Observation", "x"),
        ("_has:Observation:patient", "x"),
        ("_has:Nothing:patient:code", "x"),
        ("_has:Observation:code:code", "x"),
        ("_has:Encounter:service-provider:status", "x"),
        ("name.family", "x"),
        ("organization:Patient.name", "x"),
        ("organization:Nothing.name", "x"),
        ("link.organization.partof.partof.partof.partof.partof.name", "x"),
        ("_list", "$current-allergies"),
        ("_list", "a b"),
        ("_list:exact", "a"),
        ("name", "a\x00b"),
        ("name", "a\ud800b"),
    ],
)
def test_what_is_malformed_is_refused_also_under_lenient_handling(settings: Settings, name: str, value: str) -> None:
    assert refusal("Patient", settings, name, value)


def test_a_chain_by_a_reference_to_any_type_must_name_the_type(settings: Settings) -> None:
    assert "name the one that is meant" in refusal("Provenance", settings, "target.name", "x")
    assert isinstance(only(parse("Provenance", (("target:Patient.name", "x"),), settings)), Chain)


def test_numbers_of_parameters_and_values_are_bounded(settings: Settings) -> None:
    with pytest.raises(FhirError) as refused:
        parse("Patient", (("active", "true"),) * 101, settings)
    assert refused.value.issues[0].code == "too-costly"
    assert "1001 values" in refusal("Patient", settings, "name", ",".join(["a"] * 1001))


def test_count_is_cut_to_the_largest_page(settings: Settings) -> None:
    assert parse("Patient", (("_count", "2147483647"),), settings).results.count == settings.max_count
    assert parse("Patient", (), settings).results.count == settings.default_count
    assert parse("Patient", (("_count", "0"),), settings).results.counts_only


def test_sort_keys_keep_their_order_and_direction(settings: Settings) -> None:
    (part,) = parse("Patient", (("_sort", "-birthdate,family"), ("_sort", "_id")), settings).parts
    assert [(key.parameter.code, key.descending) for key in part.sort] == [
        ("birthdate", True),
        ("family", False),
        ("_id", False),
    ]


def test_includes_have_a_source_a_parameter_and_perhaps_a_target(settings: Settings) -> None:
    params = (
        ("_include", "Observation:subject:Patient"),
        ("_include:iterate", "Patient:*"),
        ("_revinclude", "Provenance:target"),
        ("_include", "*"),
    )
    assert parse("Observation", params, settings).results.includes == (
        Include("Observation", "subject", "Patient"),
        Include("Patient", "*", iterate=True),
        Include("Provenance", "target", reverse=True),
        Include("*", "*"),
    )


def test_criteria_of_conditional_interactions_ignore_nothing(settings: Settings) -> None:
    """https://hl7.org/fhir/R4/http.html#cond-update."""
    for params in ((), (("foo", "1"),), (("_count", "1"),), (("_sort", "name"),), (("name", ""),), (("name", ","),)):
        with pytest.raises(FhirError) as refused:
            parse_criteria("Patient", params, BUILTIN, settings)
        assert refused.value.status == 400
    query = parse_criteria("Patient", (("identifier", "a|b"), ("_format", "json")), BUILTIN, settings)
    assert isinstance(query, TypeQuery)
    assert len(query.condition.conditions) == 1


names = st.one_of(
    st.sampled_from(
        ["name", "subject:Patient.name", "_has:Observation:patient:code", "_filter", "_sort", "_include", "_list", "_id"]
    ),
    st.text(max_size=30),
)


@settings(deadline=None)
@given(params=st.lists(st.tuples(names, st.text(max_size=40)), max_size=4), strict=st.booleans())
def test_whatever_is_asked_is_parsed_or_refused_with_400(params: list[tuple[str, str]], strict: bool) -> None:
    try:
        parse_query(("Patient",), tuple(params), BUILTIN, Settings(_env_file=None), strict=strict)
    except FhirError as refused:
        assert refused.status == 400
        assert refused.issues[0].diagnostics
