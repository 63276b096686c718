"""FHIRPath in general."""

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.fhir.fhirpath import Budget, FhirPathError, Node, compile_expression, evaluate, holds, locate, root

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Org"}],
    "active": True,
    "name": [
        {
            "use": "official",
            "_use": {"id": "u"},
            "family": "Holm",
            "given": ["Ada", "Bea"],
            "_given": [None, {"extension": [{"url": "http://x.y", "valueDecimal": Decimal("1.50")}]}],
        },
        {"use": "usual", "given": ["Ada"]},
    ],
    "birthDate": "1974-12-25",
    "_birthDate": {"extension": [{"url": "http://x.y/time", "valueDateTime": "1974-12-25T14:35:45-05:00"}]},
    "deceasedBoolean": False,
    "multipleBirthInteger": 2,
    "managingOrganization": {"reference": "#o"},
    "_gender": {"extension": [{"url": "u", "valueCode": "unknown"}]},
}


def values(expression: str, **variables: Any) -> list[Any]:
    """Return what the expression yields on the Patient."""
    return evaluate(compile_expression(expression), root(PATIENT), variables)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Patient.name.given", ["Ada", "Bea", "Ada"]),
        ("name[0].given[1]", ["Bea"]),
        ("Observation.name", []),
        ("DomainResource.id", ["p"]),
        ("deceased", [False]),
        ("deceased.ofType(boolean)", [False]),
        ("deceased as dateTime", []),
        ("multipleBirth is integer", [True]),
        ("multipleBirth.is(FHIR.boolean)", [False]),
        ("$this is Resource", [True]),
        ("name.first() is Element", [True]),
        ("'x' is System.String and 1 is Integer and true is Boolean and @2020 is DateTime", [True]),
        ("name.where(use = 'official').family", ["Holm"]),
        ("name.where(given.count() > 1).use", ["official"]),
        ("name.where($index = 1).use", ["usual"]),
        ("name.select(given.first() & '!')", ["Ada!", "Ada!"]),
        ("name.given.distinct()", ["Ada", "Bea"]),
        ("name.given.isDistinct()", [False]),
        ("name[0].given | name[1].given", ["Ada", "Bea"]),
        ("name[0].given.intersect(name[1].given)", ["Ada"]),
        ("name[0].given.exclude(name[1].given)", ["Bea"]),
        ("name[1].given.subsetOf(name[0].given)", [True]),
        ("name[1].given.supersetOf(name[0].given)", [False]),
        ("name[0].given.combine(name[1].given).count()", [3]),
        ("name.given.first() | name.given.last()", ["Ada"]),
        ("name.given.skip(1).take(1)", ["Bea"]),
        ("name.given.tail().count()", [2]),
        ("birthDate.extension('http://x.y/time').value", ["1974-12-25T14:35:45-05:00"]),
        ("name.given.extension('http://x.y').value = 1.5", [True]),
        ("gender.exists() and gender.hasValue().not()", [True]),
        ("gender = 'male'", []),
        ("birthDate = @1974-12-25", [True]),
        ("birthDate < @1975", [True]),
        ("birthDate <= today()", [True]),
        ("birthDate + 1 year = @1975-12-25", [True]),
        ("active and deceased.not()", [True]),
        ("active xor true", [False]),
        ("{} or true", [True]),
        ("{} and false", [False]),
        ("{} and true", []),
        ("false implies {}", [True]),
        ("'Bea' in name.given", [True]),
        ("name.given contains 'Cea'", [False]),
        ("name.given.all($this.length() = 3)", [True]),
        ("name.exists(use = 'temp')", [False]),
        ("iif(active, 'yes', 'no')", ["yes"]),
        ("(1 | 2 | 3).aggregate($this + $total, 0)", [6]),
        ("name.repeat(given).count()", [3]),
        ("2 * 3 + 4 div 3 - 5 mod 2", [6]),
        ("1.5 + 1", [Decimal("2.5")]),
        ("-multipleBirth.toInteger() + 3", [1]),
        ("'a' + 'b' & {}", ["ab"]),
        ("'ab'.startsWith('a') and 'ab'.matches('^a.$')", [True]),
        ("managingOrganization.resolve().name", ["Org"]),
        ("contained.ofType(Organization).name", ["Org"]),
        ("children().ofType(HumanName).count()", [2]),
        ("descendants().ofType(Extension).count()", [3]),
        ("name[0] = name[0]", [True]),
        ("name[0] != name[1]", [True]),
        ("'A b' ~ 'a  B'", [True]),
        ("name.given.trace('x').count()", [3]),
        ("(true | false).anyTrue() and (true).allTrue() and (false).allFalse() and (false).anyFalse()", [True]),
        ("%resource.id & %context.id & %x", ["ppy"]),
        ("name.`given`.first()", ["Ada"]),
        ("nme.exists()", [False]),
        ("'a.div' = 'a.div'", [True]),
        ("text.div", []),
        ("10.0 ~ 10", [True]),
        ("name.given.join(',')", ["Ada,Bea,Ada"]),
    ],
)
def test_an_expression_yields_what_the_specification_says(expression: str, expected: list[Any]) -> None:
    found = values(expression, x="y")
    assert found == expected
    assert [type(value) is bool for value in found] == [type(value) is bool for value in expected]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "at character 1: mismatched input '<EOF>'"),
        ("name given", "at character 6: extraneous input 'given' expecting <EOF>"),
        ("name)", "at character 5: extraneous input ')'"),
        ("name.where(", "at character 12: "),
        ("'open", "token recognition error"),
        ("(" * 3000, "it is nested too deep"),
        ("a" * 10_001, "it is longer than 10000 characters"),
    ],
)
def test_what_is_no_fhirpath_is_refused(expression: str, why: str) -> None:
    with pytest.raises(FhirPathError) as caught:
        compile_expression(expression)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("name.lenght()", "there is no function lenght()"),
        ("'x'.\"=\"()", None),
        ("name.where()", "where() does not take 0 arguments"),
        ("name.first(1)", "first() does not take 1 arguments"),
        ("'x'.startsWith()", "startsWith() does not take 0 arguments"),
        ("name[-1]", "an index must be a whole number from 0 on"),
        ("name['a']", "an index must be a whole number from 0 on"),
        ("name.single()", "single() found 2 items"),
        ("name.take('x')", "skip() and take() need a whole number"),
        ("name and true", "a condition must yield one value"),
        ("name.is(HumanName)", "is() needs one element"),
        ("name is HumanName", "what stands left of is must be one element"),
        ("%unknown", "there is no variable %unknown"),
        ("name.given > 1", "what stands beside > must be one value"),
        ("name.given & 'x'", "an operator needs one value on either side"),
        ("'a' * 2", "what stands beside * must be a number"),
        ("'a' > 1", "Type of"),
    ],
)
def test_what_can_not_be_evaluated_is_refused(expression: str, why: str | None) -> None:
    with pytest.raises(FhirPathError) as caught:
        values(expression)
    assert why is None or why in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "1.repeat($this + 1)",
        "descendants().descendants().descendants().count()",
        "name.given.where(%resource.descendants().exists())",
    ],
)
def test_a_budget_bounds_what_an_expression_costs(expression: str) -> None:
    with pytest.raises(FhirPathError, match="too many steps"):
        evaluate(compile_expression(expression), root(PATIENT), budget=Budget(100))


def test_a_budget_is_shared_by_the_evaluations_that_it_is_given_to() -> None:
    budget = Budget(100)
    evaluate(compile_expression("name.given.count()"), root(PATIENT), budget=budget)
    assert 50 < budget.left < 100
    evaluate(compile_expression("name.given.count()"), root(PATIENT), budget=budget)
    assert budget.left < 75


def test_located_elements_know_their_place() -> None:
    expression = compile_expression("Patient.name.given | Patient.deceased | Patient.name[0].given[1].extension.value")
    assert [node.path for node in locate(expression, root(PATIENT))] == [
        "Patient.name[0].given[0]",
        "Patient.name[0].given[1]",
        "Patient.deceased",
        "Patient.name[0].given[1].extension[0].value",
    ]


def test_a_value_has_no_place() -> None:
    with pytest.raises(FhirPathError, match="no element of the resource"):
        locate(compile_expression("1 + 1"), root(PATIENT))


def test_a_misspelt_element_has_no_place_except_in_a_criterion() -> None:
    with pytest.raises(FhirPathError, match="HumanName has no element 'givn'"):
        locate(compile_expression("Patient.name.givn"), root(PATIENT))
    assert locate(compile_expression("Patient.contained.where(family = 'x')"), root(PATIENT)) == []


def test_a_criterion_holds_only_when_it_is_true() -> None:
    name = Node(PATIENT["name"][0], "HumanName")  # type: ignore[index]  # The literal above has many types.
    assert holds(compile_expression("use = 'official'"), name)
    assert not holds(compile_expression("use = 'usual'"), name)
    assert not holds(compile_expression("period.start = @2020"), name)


def test_the_functions_that_an_expression_calls_are_known() -> None:
    assert compile_expression("name.where(given.exists()).`first`()").functions == {"where", "exists", "first"}


@pytest.mark.parametrize(
    ("literal", "value"),
    [(r"'a\\n'", r"a\n"), (r"'\n\t\r\f'", "\n\t\r\f"), (r"'\'\"\`\/\u00e9'", "'\"`/é"), (r"'\\\\u0041'", r"\\u0041")],
)
def test_escapes_of_a_string_are_read_from_left_to_right(literal, value):
    assert evaluate(compile_expression(literal), root({"resourceType": "Basic"})) == [value]
