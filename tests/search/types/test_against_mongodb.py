"""What the filters find in a real MongoDB is what R4's rules, read plainly, find in the resources."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pymongo
import pytest
import rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from fhir_server.search.index import entries, index_models
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter

Found = set[str]
Find = Callable[[str, str, str, list[str]], Found]
CHECKED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")


@pytest.fixture(scope="module")
def store(mongodb_uri: str) -> Iterator[Callable[[list[dict[str, Any]]], Find]]:
    """Stores resources of one type (their ids are their positions) and returns what finds them."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongodb_uri, tz_aware=True)
    database = client["fhir_test"]
    prepared: set[str] = set()

    def put(resources: list[dict[str, Any]]) -> Find:
        tenant = uuid.uuid4().hex
        type_ = resources[0]["resourceType"]
        collection: Collection[dict[str, Any]] = database[f"types_{type_}"]
        if type_ not in prepared:
            collection.create_indexes(index_models(type_))
            prepared.add(type_)
        collection.insert_many(
            [
                {"_id": f"{tenant}/{position}", "t": tenant, "i": str(position), "s": entries(resource)}
                for position, resource in enumerate(resources)
            ]
        )

        def find(kind: str, code: str, modifier: str, values: list[str]) -> Found:
            parameter = BUILTIN.get(kind, code)
            assert parameter is not None
            return {one["i"] for one in collection.find({"t": tenant, **parameter_filter(parameter, modifier, values)})}

        return find

    yield put
    client.close()


def matching(resources: list[dict[str, Any]], test: Callable[[dict[str, Any]], bool]) -> Found:
    return {str(position) for position, resource in enumerate(resources) if test(resource)}


texts = st.text(alphabet="aAbBöÖéß .*\\$|,'1", min_size=1, max_size=6).filter(
    lambda text: text.strip() == text and bool(text.strip())
)
names = st.fixed_dictionaries({}, optional={"family": texts, "given": st.lists(texts, min_size=1, max_size=3)}).filter(bool)
patients = st.lists(
    st.fixed_dictionaries({"resourceType": st.just("Patient")}, optional={"name": st.lists(names, min_size=1, max_size=2)}),
    min_size=1,
    max_size=12,
)


def escaped(text: str) -> str:
    return "".join("\\" + char if char in "\\,|$" else char for char in text)


@CHECKED
@given(
    patients,
    st.lists(texts, min_size=1, max_size=3),
    st.sampled_from(["", "exact", "contains"]),
    st.sampled_from(["family", "name"]),
)
def test_strings(store: Any, resources: list[dict[str, Any]], values: list[str], modifier: str, code: str) -> None:
    """A text is found by its start, its whole or a part of it, also where it looks like an operator or a pattern."""

    def own(resource: dict[str, Any]) -> list[str]:
        found = resource.get("name", [])
        families = [name["family"] for name in found if "family" in name]
        return families if code == "family" else [*families, *(text for name in found for text in name.get("given", []))]

    expected = matching(resources, lambda resource: any(rules.string(own(resource), modifier, value) for value in values))
    assert store(resources)("Patient", code, modifier, [escaped(value) for value in values]) == expected


codes = st.text(alphabet="ab|\\", min_size=1, max_size=3)
systems = st.sampled_from(["", "urn:a", "urn:b", "http://x/a|b", "urn:a.b"])
codings = st.lists(st.tuples(systems, codes), max_size=3)
concepts = st.lists(codings, min_size=1, max_size=10)


@CHECKED
@given(
    concepts,
    st.lists(
        st.one_of(st.tuples(st.just(None), codes), st.tuples(systems, codes), st.tuples(systems.filter(bool), st.just(""))),
        min_size=1,
        max_size=2,
    ),
    st.booleans(),
)
def test_tokens(store: Any, groups: list[list[tuple[str, str]]], values: list[tuple[str | None, str]], negated: bool) -> None:
    """A coding is found by code, by system and code, without a system or by its system; `:not` finds all others."""
    resources = [
        {
            "resourceType": "Condition",
            "code": {"coding": [{**({"system": system} if system else {}), "code": code} for system, code in group]},
        }
        for group in groups
    ]

    def holds(group: list[tuple[str, str]]) -> bool:
        return any(
            any((system is None or system == own) and (not code or code == its) for own, its in group) for system, code in values
        )

    texts_ = [escaped(code) if system is None else f"{escaped(system)}|{escaped(code)}" for system, code in values]
    expected = {str(position) for position, group in enumerate(groups) if holds(group) is not negated}
    assert store(resources)("Condition", "code", "not" if negated else "", texts_) == expected


days = st.dates(min_value=dt.date(2010, 1, 1), max_value=dt.date(2014, 12, 31))
dates = st.one_of(
    days.map(lambda day: f"{day:%Y}"),
    days.map(lambda day: f"{day:%Y-%m}"),
    days.map(lambda day: f"{day:%Y-%m-%d}"),
    st.tuples(days, st.integers(0, 23)).map(lambda both: f"{both[0]:%Y-%m-%d}T{both[1]:02}:00:00Z"),
)
periods = st.tuples(days, days, st.sampled_from(["both", "start", "end"])).map(
    lambda three: {
        name: f"{value:%Y-%m-%d}"
        for name, value in (("start", min(three[:2])), ("end", max(three[:2])))
        if three[2] in ("both", name)
    }
)


@CHECKED
@given(st.lists(st.one_of(dates, periods), min_size=1, max_size=15), st.sampled_from(PREFIXES), dates)
def test_dates(store: Any, values: list[Any], prefix: str, query: str) -> None:
    """A date or Period compares with a date of any precision as the table of prefixes says."""
    resources = [
        {"resourceType": "Observation", ("effectiveDateTime" if isinstance(value, str) else "effectivePeriod"): value}
        for value in values
    ]
    expected = {str(position) for position, value in enumerate(values) if rules.date([value], prefix, query)}
    assert store(resources)("Observation", "date", "", [prefix + query]) == expected


@CHECKED
@given(st.lists(st.lists(periods, min_size=1, max_size=3), min_size=1, max_size=8), st.sampled_from(PREFIXES), dates)
def test_repeated_dates(store: Any, groups: list[list[Any]], prefix: str, query: str) -> None:
    """Of several Periods one has to meet the whole condition."""
    care_plans = [
        {"resourceType": "CarePlan", "activity": [{"detail": {"scheduledPeriod": one}} for one in group]} for group in groups
    ]
    expected = {str(position) for position, group in enumerate(groups) if rules.date(group, prefix, query)}
    assert store(care_plans)("CarePlan", "activity-date", "", [prefix + query]) == expected


numbers = st.decimals(min_value=-20, max_value=20, places=2).map(lambda number: number or Decimal("0.00"))
queries = st.one_of(st.integers(-20, 20).map(str), st.decimals(-20, 20, places=1).map(str), numbers.map(str))


@CHECKED
@given(st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=1, max_size=10), st.sampled_from(PREFIXES), queries)
def test_numbers(store: Any, groups: list[list[Decimal]], prefix: str, query: str) -> None:
    """A number compares with the interval of the precision that a value has, or with the value itself."""
    resources = [
        {"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": one} for one in group]} for group in groups
    ]
    expected = {str(position) for position, group in enumerate(groups) if rules.number(group, prefix, query)}
    assert store(resources)("RiskAssessment", "probability", "", [prefix + query]) == expected


@CHECKED
@given(
    st.lists(st.tuples(numbers, st.sampled_from(["g", "mg", "kg"])), min_size=1, max_size=10),
    st.sampled_from(PREFIXES),
    queries,
    st.sampled_from(["g", "mg", "kg"]),
)
def test_quantities(store: Any, values: list[tuple[Decimal, str]], prefix: str, query: str, unit: str) -> None:
    """Quantities in UCUM units compare across units; values on the edge of an interval too."""
    factor = {"g": Decimal(1), "mg": Decimal("0.001"), "kg": Decimal(1000)}
    resources = [
        {"resourceType": "Observation", "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": own}}
        for value, own in values
    ]
    expected = {
        str(position)
        for position, (value, own) in enumerate(values)
        if rules.number([value * factor[own] / factor[unit]], prefix, query)
    }
    assert (
        store(resources)("Observation", "value-quantity", "", [f"{prefix}{query}|http://unitsofmeasure.org|{unit}"]) == expected
    )


@CHECKED
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 9), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=2)
        ),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from("ab"),
    st.integers(0, 9),
    st.sampled_from(["code-value-quantity", "component-code-value-quantity", "combo-code-value-quantity"]),
)
def test_composites(store: Any, values: list[Any], code: str, number: int, parameter: str) -> None:
    """Both components have to be met by the same node: by the Observation itself, or by one of its components."""

    def node(one: str, value: int) -> dict[str, Any]:
        return {"code": {"coding": [{"system": "urn:x", "code": one}]}, "valueQuantity": {"value": value}}

    resources = [
        {"resourceType": "Observation", **node(one, value), **({"component": [node(*part) for part in parts]} if parts else {})}
        for one, value, parts in values
    ]

    def holds(one: str, value: int, parts: list[tuple[str, int]]) -> bool:
        nodes = {"code": [(one, value)], "component": parts, "combo": [(one, value), *parts]}[parameter.partition("-")[0]]
        return (code, number) in nodes

    expected = {str(position) for position, value in enumerate(values) if holds(*value)}
    assert store(resources)("Observation", parameter, "", [f"urn:x|{code}${number}"]) == expected
