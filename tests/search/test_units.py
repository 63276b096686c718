from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.units import UnitError, to_base


@pytest.mark.parametrize(
    ("code", "dimension", "value"),
    [
        ("g", "g", 1.5),
        ("mg", "g", 0.0015),
        ("kg", "g", 1500.0),
        ("mg/dL", "g.m-3", 15.0),
        ("mmol/L", "m-3.mol", 1.5),
        ("mm[Hg]", "g.m-1.s-2", 199983.0),
        ("/min", "s-1", 0.025),
        ("{beats}/min", "s-1", 0.025),
        ("10*3/uL", "m-3", 1.5e12),
        ("10^9/L", "m-3", 1.5e12),
        ("%", "1", 0.015),
        ("%{vol}", "1", 0.015),
        ("{score}", "1", 1.5),
        ("1", "1", 1.5),
        ("kg/m2", "g.m-2", 1500.0),
        ("[lb_av]", "g", 680.388555),
        ("[in_i]", "m", 0.0381),
        ("Cel", "K", 274.65),
        ("[iU]/L", "[iU].m-3", 1500.0),
        ("k[IU]/mL", "[iU].m-3", 1.5e9),
        ("U/L", "m-3.mol.s-1", 2.5e-05),
        ("meq/L", "m-3.mol", 1.5),
        ("mL/min/{1.73_m2}", "m3.s-1", 2.5e-08),
        ("(mg/dL)/(mmol/L)", "g.mol-1", 15.0),
        ("/[HPF]", "[HPF]-1", 1.5),
        ("a", "s", 47336400.0),
    ],
)
def test_reduces_to_base_units(code: str, dimension: str, value: float) -> None:
    """1.5 of each unit is this much of base units."""
    assert to_base(code, Decimal("1.5")) == (dimension, value)


def test_fahrenheit_is_a_scale_with_an_offset() -> None:
    """98.6 degrees Fahrenheit are 37 degrees Celsius."""
    assert to_base("[degF]", Decimal("98.6")) == to_base("Cel", Decimal(37))


@pytest.mark.parametrize(
    "code", ["", "foo", "m2/0", "[pH]", "dB", "kCel", "mg//dL", "mg/", "(mg", "mg)", "m99", "µg", "m" * 200, "((((((((((((m"]
)
def test_refuses_what_can_not_be_reduced(code: str) -> None:
    """Units that are unknown, malformed, logarithmic or beyond reach are a UnitError."""
    with pytest.raises(UnitError):
        to_base(code, Decimal(1))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(-6, 6))
def test_the_same_amount_is_the_same_number(value: Decimal, power: int) -> None:
    """What is equal in two units is equal to the last bit in base units."""
    prefix = {-6: "u", -3: "m", -2: "c", -1: "d", 0: "", 1: "da", 2: "h", 3: "k", 6: "M"}.get(power)
    if prefix is not None:
        assert to_base(f"{prefix}m", value) == to_base("m", value.scaleb(power))


@given(st.text(alphabet="mgdLkUu[]{}()/.*^10-9'%", max_size=15))
def test_any_text_is_a_unit_or_refused(code: str) -> None:
    """No text makes it fail in another way."""
    try:
        to_base(code, Decimal(1))
    except UnitError:
        return
