"""UCUM units, reduced to base units.

https://ucum.org/ucum, https://hl7.org/fhir/R4/search.html#quantity

`to_base("mg/dL", Decimal("90"))` is `("g.m-3", 900.0)`: two quantities of the same dimension compare by these. Factors are exact
fractions, so `1500 mg` and `1.5 g` are the same number to the last bit. Amounts of substance and arbitrary units
(`mol`, `[iU]`) are dimensions of their own. Units on a logarithmic scale (`[pH]`, `dB`) are not reduced.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

UCUM = "http://unitsofmeasure.org"
Dimensions = dict[str, int]

_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_BASE = ("m", "s", "g", "rad", "K", "C", "cd", "mol")
_METRIC = {
    "L": ("1", "dm3"), "l": ("1", "dm3"), "t": ("1000", "kg"), "N": ("1", "kg.m/s2"), "Pa": ("1", "N/m2"), "J": ("1", "N.m"),
    "W": ("1", "J/s"), "A": ("1", "C/s"), "V": ("1", "J/C"), "F": ("1", "C/V"), "Ohm": ("1", "V/A"), "S": ("1", "A/V"),
    "Wb": ("1", "V.s"), "T": ("1", "Wb/m2"), "H": ("1", "Wb/A"), "Hz": ("1", "/s"), "Bq": ("1", "/s"), "Gy": ("1", "J/kg"),
    "Sv": ("1", "J/kg"), "Ci": ("37000000000", "/s"), "lm": ("1", "cd"), "lx": ("1", "lm/m2"), "sr": ("1", "rad2"),
    "kat": ("1", "mol/s"), "U": ("1", "umol/min"), "eq": ("1", "mol"), "osm": ("1", "mol"), "cal": ("4.184", "J"),
    "cal_th": ("4.184", "J"), "cal_IT": ("4.1868", "J"), "bar": ("100000", "Pa"), "dyn": ("0.00001", "N"),
    "erg": ("0.0000001", "J"), "P": ("0.1", "Pa.s"), "St": ("0.0001", "m2/s"), "g%": ("1", "g/dL"),
    "u": ("1.6605402", "10*-24.g"), "eV": ("1.60217733", "10*-19.J"), "m[Hg]": ("133.3220", "kPa"),
    "m[H2O]": ("9.80665", "kPa"), "ar": ("100", "m2"), "G": ("0.0001", "T"), "R": ("0.000258", "C/kg"), "rem": ("0.01", "Sv"),
    "RAD": ("0.01", "Gy"), "pc": ("3.085678", "10*16.m"), "st": ("1", "m3"), "gf": ("9.80665", "g.m/s2"),
}  # fmt: skip
_ENGLISH = {
    "[in_i]": ("2.54", "cm"), "[ft_i]": ("12", "[in_i]"), "[yd_i]": ("3", "[ft_i]"), "[mi_i]": ("5280", "[ft_i]"),
    "[nmi_i]": ("1852", "m"), "[in_us]": ("100", "m/3937"), "[lb_av]": ("453.59237", "g"), "[oz_av]": ("28.349523125", "g"),
    "[gr]": ("64.79891", "mg"), "[dr_av]": ("1.7718451953125", "g"), "[stone_av]": ("14", "[lb_av]"),
    "[oz_tr]": ("31.1034768", "g"), "[gal_us]": ("231", "[in_i]3"), "[qt_us]": ("57.75", "[in_i]3"),
    "[pt_us]": ("28.875", "[in_i]3"), "[cup_us]": ("14.4375", "[in_i]3"), "[foz_us]": ("1.8046875", "[in_i]3"),
    "[tbs_us]": ("0.90234375", "[in_i]3"), "[tsp_us]": ("0.30078125", "[in_i]3"), "[gal_br]": ("4.54609", "L"),
    "[pt_br]": ("0.56826125", "L"), "[foz_br]": ("28.4130625", "mL"), "[sft_i]": ("1", "[ft_i]2"),
    "[cft_i]": ("1", "[ft_i]3"), "[sin_i]": ("1", "[in_i]2"), "[cin_i]": ("1", "[in_i]3"),
    "[lbf_av]": ("4.4482216152605", "N"), "[psi]": ("1", "[lbf_av]/[in_i]2"), "[Btu]": ("1055.05585262", "J"),
    "[drp]": ("0.05", "mL"), "[Cal]": ("4.184", "kJ"), "[in_i'Hg]": ("25.4", "mm[Hg]"), "[mi_us]": ("6336000", "m/3937"),
    "[acr_us]": ("4046.872609874252", "m2"), "[car_m]": ("0.2", "g"), "[diop]": ("1", "/m"),
}  # fmt: skip
_OTHER = {
    "10*": ("10", "1"), "10^": ("10", "1"), "%": ("0.01", "1"), "[ppth]": ("0.001", "1"), "[ppm]": ("0.000001", "1"),
    "[ppb]": ("0.000000001", "1"), "[pptr]": ("0.000000000001", "1"), "[pi]": ("3.1415926535897932384626433832795", "1"),
    "min": ("60", "s"), "h": ("60", "min"), "d": ("24", "h"), "wk": ("7", "d"), "a": ("365.25", "d"), "a_j": ("365.25", "d"),
    "a_t": ("365.24219", "d"), "a_g": ("365.2425", "d"), "mo": ("30.4375", "d"), "mo_j": ("30.4375", "d"),
    "mo_g": ("30.436875", "d"), "atm": ("101325", "Pa"), "deg": ("2", "[pi].rad/360"), "'": ("1", "deg/60"),
    "''": ("1", "'/60"), "AU": ("149597.870691", "Mm"), "Ao": ("0.1", "nm"), "b": ("100", "fm2"), "att": ("98066.5", "Pa"),
}  # fmt: skip
_DERIVED = {**_METRIC, **_ENGLISH, **_OTHER}
_METRIC_ARBITRARY = ("[iU]", "[IU]")
_SCALES = {"Cel": (Fraction(1), Fraction("273.15")), "[degF]": (Fraction(5, 9), Fraction("459.67") * Fraction(5, 9))}
_LOGARITHMIC = re.compile(r"\[pH\]|Np|B(?:\[.*\])?|\[hp'_.*\]|\[p'diop\]|%\[slope\]")
_TOKEN = re.compile(
    r"(?P<note>\{[^{}]*\})|(?P<symbol>[./()])|(?P<power>10[*^])(?P<ten>[+-]?\d+)?|(?P<number>\d+)"
    r"|(?P<atom>(?:[A-Za-z_%'\"*^]*\[[^\]]+\]|[A-Za-z_%'\"]+))(?P<exponent>[+-]?\d+)?"
)
_LONGEST, _DEEPEST, _LARGEST_EXPONENT, _LARGEST_POWER = 100, 10, 400, 30


class UnitError(ValueError):
    """The text is no UCUM unit, or one that can not be reduced."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, as `value * factor + offset` of the base units."""

    factor: Fraction
    dimension: str
    offset: Fraction = Fraction(0)


@lru_cache(maxsize=4096)
def unit(code: str) -> Unit:
    """Return what a UCUM code means.

    Raises:
        UnitError: it is none, or not one that can be reduced.
    """
    if code in _SCALES:
        factor, offset = _SCALES[code]
        return Unit(factor, "K", offset)
    if not code or len(code) > _LONGEST or not code.isascii():
        raise UnitError(code)
    factor, dimensions = _Parser(code).parse()
    return Unit(
        factor, ".".join(f"{name}{power if power != 1 else ''}" for name, power in sorted(dimensions.items()) if power) or "1"
    )


def to_base(code: str, value: Decimal) -> tuple[str, float]:
    """Return dimension and value of a quantity in base units.

    Raises:
        UnitError: the code is no unit that can be reduced, or the value is out of reach.
    """
    found = unit(code)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _LARGEST_EXPONENT:
        raise UnitError(code)
    number, divisor = value.as_integer_ratio()
    if found.offset:
        return found.dimension, float(Fraction(number, divisor) * found.factor + found.offset)
    try:
        return found.dimension, (number * found.factor.numerator) / (divisor * found.factor.denominator)
    except OverflowError:
        raise UnitError(code) from None


class _Parser:
    """`term: component (('.' | '/') component)*`; a leading `/` is allowed."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._position = 0

    def parse(self) -> tuple[Fraction, Dimensions]:
        result = self._term(0)
        if self._position != len(self._code):
            raise UnitError(self._code)
        return result

    def _term(self, depth: int) -> tuple[Fraction, Dimensions]:
        if depth > _DEEPEST:
            raise UnitError(self._code)
        factor, dimensions = (Fraction(1), {}) if self._next_is("/") else self._component(depth)
        while self._next_is("./"):
            sign = 1 if self._code[self._position] == "." else -1
            self._position += 1
            other, powers = self._component(depth)
            factor = factor * other if sign > 0 else factor / other
            dimensions = {name: dimensions.get(name, 0) + sign * powers.get(name, 0) for name in {**dimensions, **powers}}
        return factor, dimensions

    def _next_is(self, symbols: str) -> bool:
        return self._position < len(self._code) and self._code[self._position] in symbols

    def _component(self, depth: int) -> tuple[Fraction, Dimensions]:
        match = _TOKEN.match(self._code, self._position)
        if match is None:
            raise UnitError(self._code)
        self._position = match.end()
        if match["symbol"] == "(":
            result = self._term(depth + 1)
            if not self._next_is(")"):
                raise UnitError(self._code)
            self._position += 1
        elif match["symbol"]:
            raise UnitError(self._code)
        else:
            result = _component(match)
        note = _TOKEN.match(self._code, self._position)
        if note is not None and note["note"]:
            self._position = note.end()
        return result


def _component(match: re.Match[str]) -> tuple[Fraction, Dimensions]:
    if match["note"]:
        return Fraction(1), {}
    if match["power"]:
        return _raised((Fraction(10), {}), match["ten"])
    if match["number"]:
        if match["number"].strip("0") == "":
            raise UnitError(match["number"])
        return Fraction(match["number"]), {}
    return _raised(_atom(match["atom"]), match["exponent"])


def _raised(base: tuple[Fraction, Dimensions], exponent: str | None) -> tuple[Fraction, Dimensions]:
    power = int(exponent or 1)
    if abs(power) > _LARGEST_POWER:
        raise UnitError(exponent)
    return base[0] ** power, {name: power * count for name, count in base[1].items()}


@lru_cache(maxsize=1024)
def _atom(name: str) -> tuple[Fraction, Dimensions]:
    found = _simple(name)
    if found is not None:
        return found
    for prefix, power in _PREFIXES.items():
        rest = name[len(prefix) :]
        if name.startswith(prefix) and (rest in _BASE or rest in _METRIC or rest in _METRIC_ARBITRARY):
            base = _simple(rest)
            if base is not None:
                return base[0] * Fraction(10) ** power, base[1]
    raise UnitError(name)


def _simple(name: str) -> tuple[Fraction, Dimensions] | None:
    if name in _BASE:
        return Fraction(1), {name: 1}
    if name in _DERIVED:
        number, definition = _DERIVED[name]
        factor, dimensions = _Parser(definition).parse()
        return Fraction(number) * factor, dimensions
    if name in _SCALES or _LOGARITHMIC.fullmatch(name):
        raise UnitError(name)
    if name.startswith("["):
        return Fraction(1), {"[iU]" if name == "[IU]" else name: 1}
    return None
