import math
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter

UCUM = "http://unitsofmeasure.org"


def find(value: str, type_: str = "Encounter", code: str = "length") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, "", [value])


def entry(**value: Any) -> Any:
    return entries({"resourceType": "Observation", "valueQuantity": value}).get("value-quantity")


def test_a_ucum_quantity_is_reduced() -> None:
    """It keeps its own value and code, and the unit's text where that differs."""
    assert entry(value=Decimal(90), unit="mg per dL", system=UCUM, code="mg/dL") == {
        "l": 90.0, "u": "mg/dL", "n": "mg per dL", "k": "g.m-3", "c": 900.0,
    }  # fmt: skip


def test_other_units_keep_their_system() -> None:
    """Units of other systems, and UCUM ones that can not be reduced."""
    assert entry(value=5, system="urn:u", code="lb", unit="lb") == {"l": 5.0, "u": "lb", "s": "urn:u"}
    assert entry(value=7, system=UCUM, code="[pH]") == {"l": 7.0, "u": "[pH]", "s": UCUM}
    assert entry(value=7, unit="tablets") == {"l": 7.0, "n": "tablets"}
    assert entry(unit="mg") is None


def test_money_and_ranges_and_samples() -> None:
    """A currency is a unit, a Range and samples have two ends."""
    invoice = {"resourceType": "Invoice", "totalGross": {"value": Decimal("40.22"), "currency": "EUR"}}
    assert entries(invoice)["totalgross"] == {"l": 40.22, "u": "EUR", "s": "urn:iso:std:iso:4217"}
    onset = {"resourceType": "Condition", "onsetRange": {"low": {"value": 2, "system": UCUM, "code": "a"}}}
    assert entries(onset)["onset-age"] == {"l": 2.0, "h": math.inf, "u": "a", "k": "s", "c": 63115200.0, "d": math.inf}
    sampled = {
        "origin": {"value": 1},
        "factor": Decimal("0.5"),
        "data": "2 -4 E U",
        "upperLimit": 9,
        "dimensions": 1,
        "period": 1,
    }
    found = entries({"resourceType": "Observation", "valueSampledData": sampled})
    assert found["value-quantity"] == {"l": -1.0, "h": 9.0}


def test_compares_in_base_units() -> None:
    """The unit's dimension is part of the condition."""
    assert find(f"ge90|{UCUM}|min") == {"s.length.k": "s", "s.length.c": {"$gte": 5400.0}}
    assert find(f"1.0|{UCUM}|h") == {"s.length.k": "s", "s.length.c": {"$gte": 3420.0, "$lt": 3780.0}}


def test_compares_as_it_is_with_other_units() -> None:
    """By system and code, by code or text of the unit, or by the number alone."""
    assert find("gt5|urn:u|lb") == {"s.length.l": {"$gt": 5.0}, "s.length.s": "urn:u", "s.length.u": "lb"}
    assert find("gt5||lb") == {"s.length.l": {"$gt": 5.0}, "$or": [{"s.length.u": "lb"}, {"s.length.n": "lb"}]}
    assert find("gt5") == {"s.length.l": {"$gt": 5.0}}
    assert find(f"gt5|{UCUM}|[pH]") == {"s.length.l": {"$gt": 5.0}, "s.length.s": UCUM, "s.length.u": "[pH]"}
    assert find(f"gt5|{UCUM}|")["$or"] == [{"s.length.s": UCUM}, {"s.length.k": {"$exists": True}}]


def test_two_alternatives_are_both_kept() -> None:
    """`ne` and a unit without system have alternatives each."""
    parts = find("ne5||lb")["$and"]
    assert [sorted(part) for part in parts] == [["$or"], ["$or"]]


@pytest.mark.parametrize("value", ["", "x", "5|mg", "5|a|b|c", "|a|b", "gt|a|b"])
def test_refuses_malformed_values(value: str) -> None:
    """A 400 says which forms there are."""
    with pytest.raises(FhirError, match="is no valid value of the search parameter 'length'"):
        find(value)
