import math
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter
from fhir_server.search.types.number import parse_number


def find(value: str, type_: str = "RiskAssessment", code: str = "probability") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, "", [value])


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", "99.5", "100.5"),
        ("100.00", "99.995", "100.005"),
        ("1e2", "95", "105"),
        ("5.40e-3", "0.005395", "0.005405"),
        ("2e-3", "0.00195", "0.00205"),
        ("-2.0", "-2.05", "-1.95"),
        ("0", "-0.5", "0.5"),
    ],
)
def test_the_last_digit_leaves_an_interval_open(text: str, low: str, high: str) -> None:
    """Half a unit of it to both sides."""
    number = parse_number("x", text, text)
    assert (number.low, number.high) == (Decimal(low), Decimal(high))


def test_entries_are_numbers_or_ranges() -> None:
    """A Range may be open."""
    predictions = [{"probabilityDecimal": Decimal("0.25")}, {"probabilityRange": {"low": {"value": 1}, "high": {"value": 2}}}]
    found = entries(
        {"resourceType": "RiskAssessment", "prediction": [*predictions, {"probabilityRange": {"high": {"value": 9}}}]}
    )
    assert found["probability"] == [{"l": -math.inf, "h": 9.0}, {"l": 1.0, "h": 2.0}, {"l": 0.25}]


def test_compares_plain_numbers() -> None:
    """Without ranges one end is enough."""
    window = "window-start"
    assert find("ge5", "MolecularSequence", window) == {"s.window-start.l": {"$gte": 5.0}}
    assert find("5", "MolecularSequence", window) == {"s.window-start.l": {"$gte": 4.5, "$lt": 5.5}}
    assert find("ap100", "MolecularSequence", window) == {"s.window-start.l": {"$gte": 90.0, "$lte": 110.0}}


@pytest.mark.parametrize("value", ["foo", "", "1,5", "0x10", "1e9999", "NaN", "inf", "gt", "1_000", "\uff11"])
def test_refuses_what_is_no_number(value: str) -> None:
    """A 400 quotes it."""
    with pytest.raises(FhirError, match=f"{value!r}") as refused:
        find(value)
    assert refused.value.status == 400
