from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter


def find(type_: str, code: str, value: str, modifier: str = "") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, [value])


def test_an_entry_holds_the_components_of_one_node() -> None:
    """A node without one of them has no entry."""
    observation = {
        "resourceType": "Observation",
        "component": [
            {"code": {"coding": [{"code": "a"}, {"code": "b"}]}, "valueQuantity": {"value": 1}},
            {"code": {"coding": [{"code": "c"}]}},
        ],
    }
    assert entries(observation)["component-code-value-quantity"] == [{"c0": ["a|", "b|"], "c1": [{"l": 1.0}]}]


def test_the_components_meet_in_one_element() -> None:
    """And the first token by itself is found by its index."""
    found = find("Observation", "component-code-value-quantity", "urn:x|a$lt70")
    assert found == {
        "s.component-code-value-quantity": {
            "$elemMatch": {"$and": [{"c0": "a|urn:x"}, {"c1": {"$elemMatch": {"l": {"$lt": 70.0}}}}]}
        },
        "s.component-code": "a|urn:x",
    }


def test_over_the_resource_itself_it_joins_its_parameters() -> None:
    """It has no entries of its own."""
    assert find("Observation", "code-value-quantity", "urn:x|a$lt70") == {
        "$and": [{"s.code": "a|urn:x"}, {"s.value-quantity.l": {"$lt": 70.0} }]
    }  # fmt: skip


def test_missing_is_about_the_components() -> None:
    """Where it joins parameters, one that is missing is enough."""
    assert find("Observation", "code-value-date", "true", "missing") == {
        "$or": [
            {"s.code": {"$exists": False}, "s.code:text": {"$exists": False}},
            {"s.value-date.l": {"$exists": False}},
        ]
    }


def test_relationship_is_a_reference_and_a_code() -> None:
    """As R4 describes it."""
    found = find("DocumentReference", "relationship", "DocumentReference/1$replaces")
    assert found["s.relationship"] == {"$elemMatch": {"$and": [{"c0": "DocumentReference/1"}, {"c1": "replaces|"}]}}


def test_refuses_a_wrong_number_of_components() -> None:
    """A 400 names them."""
    with pytest.raises(FhirError, match=r"expected component-code\$component-value-quantity"):
        find("Observation", "component-code-value-quantity", "a")
    with pytest.raises(FhirError, match=r"expected clinical-code|expected code\$value-quantity"):
        find("Observation", "code-value-quantity", "a$1$2")
    with pytest.raises(FhirError, match="The modifier :exact is not supported"):
        find("Observation", "code-value-quantity", "a$1", "exact")
