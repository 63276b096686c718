"""Every parameter, modifier, order, chain and include of a type answers 200 or 400, whatever the value."""

import itertools
from collections import Counter

import pytest

from fhir_server.exchange import Call, Context
from fhir_server.fhir.outcome import FhirError
from fhir_server.interactions.search import search_type
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import BUILTIN

VALUES = {
    "string": ["a", "é", "a.*(", "$gt", r"\,", "x" * 5000, "\U0001f600"],
    "token": ["a", "urn:x|a", "|a", "urn:x|", "a|b|c", r"\|", "||"],
    "date": ["2020", "ge2020-01", "ap2020-01-01T10:00:00Z", "ne2020", "x", "9999-12-31", "lt0001-01-01"],
    "number": ["1", "1.00", "lt-5", "ap1e3", "1e999", "x"],
    "quantity": ["5.4|http://unitsofmeasure.org|mg", "5", "ge5||mg", "x|y"],
    "reference": ["Patient/1", "1", "http://x.org/Patient/1", "Patient/1/_history/2", "#a", "urn:uuid:1", "x|1", "a b"],
    "uri": ["http://x.org", "urn:a", "$"],
    "composite": ["a$b", "a$5", "a", "$", "a$b$c", "8480-6$gt5"],
    "special": ["1|2|3|km", "a", "42.25|-83.7"],
}
MODIFIERS = {
    "string": ["exact", "contains"],
    "token": ["not", "text", "of-type", "in", "not-in", "above", "below"],
    "reference": ["identifier", "Patient"],
    "uri": ["above", "below"],
}
TYPES = [
    "Patient",
    "Observation",
    "Location",
    "DocumentReference",
    "Communication",
    "Appointment",
    "Group",
    "Questionnaire",
    "Bundle",
]


def queries(type_: str, parameter: SearchParameter) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return types and parameters of searches that use a parameter in every way."""
    code = parameter.code
    values = VALUES[parameter.type]
    found = [(type_, ((code, value),)) for value in values]
    found += [
        (type_, ((f"{code}:{modifier}", value),))
        for modifier, value in zip(MODIFIERS.get(parameter.type, []), itertools.cycle(values), strict=False)
    ]
    found += [(type_, ((f"{code}:missing", missing), ("_sort", sign + code))) for missing, sign in (("true", ""), ("false", "-"))]
    if parameter.type == "reference":
        target = (parameter.target or ("Patient",))[0]
        found += [
            (type_, ((f"{code}:{target}._id", "x"),)),
            (type_, (("_include", f"{type_}:{code}"),)),
            (target, ((f"_has:{type_}:{code}:_id", "x"), ("_revinclude", f"{type_}:{code}"))),
        ]
    return found


@pytest.mark.parametrize("type_", TYPES)
async def test_every_use_of_every_parameter_is_answered_or_refused(ctx: Context, type_: str) -> None:
    await ctx.repo.prepare([type_])
    answers: Counter[int] = Counter()
    for parameter in BUILTIN.of(type_).values():
        for of, params in queries(type_, parameter):
            try:
                answers[(await search_type(ctx, Call("search-type", of, params=params))).status] += 1
            except FhirError as refused:
                answers[refused.status] += 1
    assert set(answers) == {200, 400}
    assert answers[200] > answers[400]


@pytest.mark.parametrize("type_", TYPES)
async def test_any_two_parameters_make_an_order(ctx: Context, type_: str) -> None:
    """Each with the next one, in all directions; those of type composite and special have no order."""
    codes = [
        code
        for code, parameter in BUILTIN.of(type_).items()
        if parameter.type not in ("composite", "special") and code not in ("_text", "_content")
    ]
    for first, second in itertools.pairwise(codes):
        for signs in (("", ""), ("-", ""), ("", "-"), ("-", "-")):
            call = Call("search-type", type_, params=(("_sort", f"{signs[0]}{first},{signs[1]}{second}"),))
            assert (await search_type(ctx, call)).status == 200
