"""What is evaluated here is what MongoDB finds."""

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.security.matching import UnsupportedFilterError, check, fields, matches

SCALARS = st.sampled_from(["", "a", "ab", "b|x", 0, 1, 2.5, True, False, None, datetime(2024, 1, 1, tzinfo=UTC)])
OBJECTS = st.fixed_dictionaries({}, optional={"l": SCALARS, "h": SCALARS})
VALUES = st.one_of(SCALARS, OBJECTS, st.lists(st.one_of(SCALARS, OBJECTS), max_size=3))
DOCUMENTS = st.fixed_dictionaries({}, optional={"x": VALUES, "y": VALUES})
PATHS = st.sampled_from(["s.x", "s.y", "s.x.l", "s.x.h", "s.x.0", "s.x.1.l", "s.none", "i"])
OPERATORS = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), SCALARS),
    st.builds(lambda name, values: {name: values}, st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=3)),
    st.builds(lambda values: {"$all": values}, st.lists(SCALARS, min_size=1, max_size=2)),
    st.builds(lambda wanted: {"$exists": wanted}, st.booleans()),
    st.builds(lambda text: {"$regex": text}, st.sampled_from(["^a", "b", "x$", "^$"])),
    st.builds(lambda low, high: {"$elemMatch": {"$gte": low, "$lt": high}}, SCALARS, SCALARS),
    st.builds(lambda value: {"$elemMatch": {"l": value}}, SCALARS),
    st.builds(lambda value: {"$not": {"$gte": value}}, SCALARS),
)
FIELDS = st.builds(lambda path, condition: {path: condition}, PATHS, st.one_of(SCALARS, OPERATORS))
FILTERS = st.recursive(
    FIELDS,
    lambda inner: st.builds(
        lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)
COUNTER = itertools.count()


@pytest.fixture(scope="session")
async def scratch(database):
    collection = database["_matching_test"]
    await collection.drop()
    yield collection
    await collection.drop()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=6), filter_=FILTERS)
async def test_a_filter_holds_for_the_documents_that_mongodb_finds(scratch, documents, filter_):
    run = next(COUNTER)
    stored = [{"_id": f"{run}/{place}", "i": place, "s": one} for place, one in enumerate(documents)]
    await scratch.insert_many(stored)
    try:
        found = {one["i"] for one in await scratch.find(filter_).to_list()}
    finally:
        await scratch.delete_many({})
    assert {one["i"] for one in stored if matches(filter_, one)} == found


@pytest.mark.parametrize(
    ("type_", "code", "modifier", "value"),
    [
        ("Observation", "category", "", "laboratory"),
        ("Observation", "code", "not", "http://loinc.org|1"),
        ("Observation", "code", "text", "heart"),
        ("Observation", "date", "", "ge2024-01"),
        ("Observation", "date", "", "sa2024"),
        ("Observation", "value-quantity", "", "gt5.4|http://unitsofmeasure.org|mg"),
        ("Observation", "combo-code", "", "1"),
        ("Observation", "code-value-quantity", "", "1$gt3"),
        ("Patient", "name", "", "smith"),
        ("Patient", "family", "exact", "Smith"),
        ("Patient", "active", "missing", "true"),
        ("Encounter", "subject", "", "Patient/1"),
        ("RiskAssessment", "probability", "", "lt0.5"),
        ("ValueSet", "url", "below", "http://x"),
    ],
)
def test_what_search_parameters_compile_to_can_be_evaluated(type_, code, modifier, value):
    filter_ = parameter_filter(BUILTIN.get(type_, code), modifier, [value])
    check(filter_)
    assert matches(filter_, {"s": {}}) in (True, False)
    assert all(name.startswith("s.") and ":" not in name for name in fields(filter_))


def test_what_only_mongodb_can_evaluate_is_refused():
    with pytest.raises(UnsupportedFilterError):
        check(parameter_filter(BUILTIN.get("Location", "near"), "", ["42|-83|11|km"]))


def test_numbers_of_different_kinds_are_equal():
    assert matches({"s.x": 1}, {"s": {"x": Decimal("1.0")}})
    assert not matches({"s.x": 1}, {"s": {"x": True}})
