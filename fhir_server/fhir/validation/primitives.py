"""The primitive types: https://hl7.org/fhir/R4/datatypes.html#primitive.

The rule of each type is the regular expression that the specification gives for it; cheaper tests that decide the
usual case come first.
"""

import binascii
import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from fhir_server.fhir.validation.narrative import check_narrative
from fhir_server.fhir.validation.problem import Check, Problem, Problems, quote, wrong_kind

_MAX_STRING = 1024 * 1024
_INT32, _INT64 = 1 << 31, 1 << 63
_MAX_DIGITS, _LEAST_EXPONENT, _GREATEST_EXPONENT = 34, -6143, 6111
_FULL_DATE = len("2024-02-29")

_YEAR = r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)"
_MONTH = r"(0[1-9]|1[0-2])"
_DAY = r"(0[1-9]|[1-2][0-9]|3[0-1])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"

_is_text = re.compile(r"[ \r\n\t\S]+", re.ASCII).fullmatch
_holds_control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]").search
_is_uri = re.compile(r"\S+", re.ASCII).fullmatch
_is_code = re.compile(r"[^\s]+(\s[^\s]+)*", re.ASCII).fullmatch
_is_id = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch
_is_oid = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+").fullmatch
_is_uuid = re.compile(r"urn:uuid:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}").fullmatch
_is_date = re.compile(f"{_YEAR}(-{_MONTH}(-{_DAY})?)?").fullmatch
_is_datetime = re.compile(f"{_YEAR}(-{_MONTH}(-{_DAY}(T{_TIME}{_ZONE})?)?)?").fullmatch
_is_instant = re.compile(f"{_YEAR}-{_MONTH}-{_DAY}T{_TIME}{_ZONE}").fullmatch
_is_time = re.compile(_TIME).fullmatch
_without_space = str.maketrans("", "", " \t\r\n")


def _invalid(type_: str, value: Any, rule: str) -> Problems:
    return [Problem("value", f"{quote(value)} is not a valid {type_}: {rule}.")]


def is_id(value: str) -> bool:
    """Say whether a text is a FHIR id."""
    return _is_id(value) is not None


def check_boolean(value: Any, _owner: object) -> Problems | None:
    """Boolean: `true` or `false`."""
    return None if value is True or value is False else wrong_kind("a boolean", value)


def check_string(value: Any, _owner: object) -> Problems | None:
    """String and markdown: at least one character, no control character but tab, CR and LF, at most 1 MB."""
    if type(value) is str and 0 < len(value) <= _MAX_STRING and (value.isprintable() or _is_plain(value)):
        return None
    if type(value) is not str:
        return wrong_kind("a string", value)
    if not value:
        return _empty()
    if len(value) > _MAX_STRING:
        return [Problem("too-long", f"The text has {len(value):,} characters; FHIR allows {_MAX_STRING:,}.")]
    return _invalid("string", value, "it holds a control character or half of a surrogate pair")


def _is_plain(value: str) -> bool:
    return _is_text(value) is not None and not _holds_control(value)


def _empty() -> Problems:
    return [Problem("value", "The string is empty; leave the element out instead.")]


def check_uri(value: Any, _owner: object) -> Problems | None:
    """Uri, url and canonical: characters that are no white space."""
    if type(value) is str and value and value.isprintable() and " " not in value:
        return None
    if type(value) is not str:
        return wrong_kind("a string", value)
    if not value:
        return _empty()
    return None if _is_uri(value) and not _holds_control(value) else _invalid("uri", value, "white space is not allowed in it")


def check_code(value: Any, _owner: object) -> Problems | None:
    """Code: no white space at its ends, no two white spaces in a row."""
    if type(value) is str and value and value.isprintable() and " " not in value:
        return None
    if type(value) is not str:
        return wrong_kind("a string", value)
    if not value:
        return _empty()
    if _is_code(value) and not _holds_control(value):
        return None
    return _invalid("code", value, "it must not begin or end with white space, or hold more than one space in a row")


def _check_pattern(type_: str, matches: Callable[[str], Any], rule: str) -> Check:
    def check(value: Any, _owner: object) -> Problems | None:
        if type(value) is str and matches(value):
            return None
        if type(value) is not str:
            return wrong_kind("a string", value)
        return _invalid(type_, value, rule) if value else _empty()

    return check


def _day_exists(value: str) -> bool:
    """Say whether the day of a well-formed date is one of its month."""
    day = value[8:10]
    return day < "29" or int(day) <= monthrange(int(value[:4]), int(value[5:7]))[1]


def check_date(value: Any, _owner: object) -> Problems | None:
    """Date: year, year and month, or a day that exists."""
    if type(value) is not str:
        return wrong_kind("a string", value)
    if len(value) == _FULL_DATE and value[7] == "-":
        # fromisoformat would take 2024-W05-1 too, but that has no second dash there.
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return None
    elif _is_date(value):
        return None
    if not value:
        return _empty()
    rule = "there is no such day" if _is_date(value) else "it has to look like 2024, 2024-02 or 2024-02-29"
    return _invalid("date", value, rule)


def _check_moment(type_: str, matches: Callable[[str], Any], rule: str) -> Check:
    def check(value: Any, _owner: object) -> Problems | None:
        if type(value) is not str:
            return wrong_kind("a string", value)
        if not matches(value):
            return _invalid(type_, value, rule) if value else _empty()
        return None if _day_exists(value) else _invalid(type_, value, "there is no such day")

    return check


def _check_integer(type_: str, low: int) -> Check:
    def check(value: Any, _owner: object) -> Problems | None:
        if type(value) is int and low <= value < _INT32:
            return None
        if isinstance(value, bool | str | list | dict) or value is None:
            return wrong_kind("a whole number", value)
        if type(value) is not int:
            return _invalid(type_, value, "it has to be written without fraction and exponent")
        return _invalid(type_, value, f"it has to lie between {low} and {_INT32 - 1}")

    return check


def check_decimal(value: Any, _owner: object) -> Problems | None:
    """Decimal: a number that BSON holds with its digits. A float can not tell 1.0 from 1.00, so it is no decimal."""
    if type(value) is Decimal:
        _, digits, exponent = value.as_tuple()
        if len(digits) <= _MAX_DIGITS and isinstance(exponent, int) and _LEAST_EXPONENT <= exponent <= _GREATEST_EXPONENT:
            return None
        return _invalid("decimal", value, f"at most {_MAX_DIGITS} digits and an exponent within ±6111 can be kept")
    if isinstance(value, int) and not isinstance(value, bool):
        return None if -_INT64 <= value < _INT64 else _invalid("decimal", value, "a whole number has to fit into 64 bits")
    if isinstance(value, float):
        return _invalid("decimal", value, "a float loses digits; it has to be an int or Decimal")
    return wrong_kind("a number", value)


def check_base64(value: Any, _owner: object) -> Problems | None:
    """base64Binary: groups of four characters, with white space between them."""
    if type(value) is not str:
        return wrong_kind("a string", value)
    if not value:
        return _empty()
    try:
        binascii.a2b_base64(value.translate(_without_space), strict_mode=True)
    except ValueError:
        return _invalid("base64Binary", value, "it has to be base64 with its padding (RFC 4648, section 4)")
    return None


_DATETIME = "it has to look like 2024, 2024-02, 2024-02-29 or 2024-02-29T13:45:00+01:00; a time needs seconds and a zone"
_INSTANT = "it has to look like 2024-02-29T13:45:00.123+01:00"

PRIMITIVES: Mapping[str, Check] = {
    "base64Binary": check_base64,
    "boolean": check_boolean,
    "canonical": check_uri,
    "code": check_code,
    "date": check_date,
    "dateTime": _check_moment("dateTime", _is_datetime, _DATETIME),
    "decimal": check_decimal,
    "id": _check_pattern("id", _is_id, "1 to 64 of A-Z, a-z, 0-9, '-' and '.' are allowed"),
    "instant": _check_moment("instant", _is_instant, _INSTANT),
    "integer": _check_integer("integer", -_INT32),
    "markdown": check_string,
    "oid": _check_pattern("oid", _is_oid, "it has to look like urn:oid:1.2.3"),
    "positiveInt": _check_integer("positiveInt", 1),
    "string": check_string,
    "time": _check_pattern("time", _is_time, "it has to look like 13:45:00"),
    "unsignedInt": _check_integer("unsignedInt", 0),
    "uri": check_uri,
    "url": check_uri,
    "uuid": _check_pattern("uuid", _is_uuid, "it has to look like urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
    "xhtml": check_narrative,
}
"""The check of each primitive type."""
