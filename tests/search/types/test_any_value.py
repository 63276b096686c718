"""Whatever a client sends as a value is a filter that MongoDB takes, or a 400."""

import uuid
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries, index_models
from fhir_server.search.registry import BUILTIN, SearchParameter
from fhir_server.search.types import modifiers, parameter_filter

TYPES = ("Patient", "Observation", "Location", "ValueSet", "Encounter", "MolecularSequence", "DocumentReference", "Invoice")
OPERATORS = frozenset(
    "$and $or $nor $not $in $exists $gt $gte $lt $lte $regex $elemMatch $all $geoWithin $centerSphere".split()  # noqa: SIM905 -- names
)
parameters = st.sampled_from([parameter for type_ in TYPES for parameter in BUILTIN.of(type_).values()])
pieces = st.sampled_from(
    [
        "ge",
        "ap",
        "2012",
        "-01",
        "T10:00",
        "Z",
        "5.4",
        "e9",
        "|",
        "$",
        ",",
        "\\",
        "http://",
        "urn:",
        "a",
        "A/1",
        "/",
        "..",
        ".*",
        "^",
        "(",
        "[",
        "{",
        "$where",
        "$gt",
        "\x00",
        "\x01",
        "\n",
        "é",
        "\U0001d4d0",
        "true",
        "http://unitsofmeasure.org",
        "mg",
        "Patient/1",
        "/_history/2",
        "#x",
    ]
)
values = st.one_of(st.text(max_size=30), st.lists(pieces, max_size=6).map("".join))


@pytest.fixture(scope="module")
def collection(mongodb_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    """A collection with the indexes of several types, and a document to test filters on."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongodb_uri)
    found = client["fhir_test"]["types_any"]
    found.create_indexes(index_models("Patient"))
    patient = {"resourceType": "Patient", "name": [{"family": "Ek"}], "birthDate": "2012", "identifier": [{"value": "1"}]}
    found.insert_one({"_id": uuid.uuid4().hex, "t": "any", "s": entries(patient)})
    yield found
    client.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters, st.data())
def test_any_value_is_a_filter_or_a_400(collection: Collection[dict[str, Any]], parameter: SearchParameter, data: Any) -> None:
    """And it has no operator but those of this server."""
    modifier = data.draw(st.sampled_from(["", *sorted(modifiers(parameter)), "nonsense"]))
    listed = data.draw(st.lists(values, min_size=1, max_size=3))
    try:
        condition = parameter_filter(parameter, modifier, listed, base_url="http://here/fhir")
    except FhirError as refused:
        assert refused.status == 400
        return
    assert operators(condition) <= OPERATORS
    list(collection.find({"t": "any", **condition}).limit(1))


def operators(condition: Any) -> set[str]:
    """The members of a filter that MongoDB would read as operators."""
    if isinstance(condition, list):
        return {found for one in condition for found in operators(one)}
    if not isinstance(condition, dict):
        return set()
    own = {name for name in condition if name.startswith("$")}
    return own | {found for value in condition.values() for found in operators(value)}
