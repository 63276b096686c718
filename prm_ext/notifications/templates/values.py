"""The values of variables: what they may be, and how they read in a language and a time zone.

Dates, times and numbers follow the Unicode CLDR, https://cldr.unicode.org, by Babel.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, cast, get_args

from babel import Locale, dates, numbers

Type = Literal["text", "date", "time", "datetime", "number", "money", "url"]
TYPES: Final[tuple[Type, ...]] = get_args(Type)
FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("", "lines"),
    "date": ("", "short", "medium", "long", "full"),
    "time": ("", "short", "medium"),
    "datetime": ("", "short", "medium", "long", "full"),
    "number": ("", "percent"),
    "url": ("",),
}
"""By type the formats that there are; that of money is a currency of ISO 4217, for values that name none."""
MAX_VALUE: Final = 2000

_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff]")
"""Overrides and isolates of direction, and what has no width but for joining letters."""
_BREAKS: Final = re.compile("\r\n?|[\u0085\u2028\u2029\x0b\x0c]")
_SPACES: Final = re.compile(r"\s+")
_REMOVED: Final = frozenset({"Cc", "Cs", "Co"})
_URL: Final = re.compile(r"https?://[^\s<>\"'{}|\\^`\x00-\x20]+", re.IGNORECASE)
_MONEY: Final = re.compile(r"(?:(?P<before>[A-Z]{3})\s*)?(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?)(?:\s*(?P<after>[A-Z]{3}))?")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?")
_NARROW: Final = str.maketrans({"\u202f": " ", "\u00a0": " ", "\u2009": " "})
"""Spaces that CLDR puts in, each of which would make a whole SMS UCS-2."""


class ValueProblemError(ValueError):
    """A value does not fit its variable; the message says how it has to be, without quoting it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a template."""

    name: str
    type: Type = "text"
    format: str = ""
    default: str | None = None
    """Its value where none is given; formatted as any."""
    description: str = ""
    sample: str = ""
    """For previews."""
    strict: bool = True
    """Whether a value that is not of the type is refused; else, as for well-known variables, it is shown as it was written."""


@dataclass(frozen=True, slots=True)
class Setting:
    """For whom values are written."""

    locale: Locale
    zone: tzinfo


def clean(text: str, *, lines: bool = False) -> str:
    """Return a value as it may stand in a message: no control characters, no overrides of direction, no line breaks."""
    found = _BIDI.sub("", _BREAKS.sub("\n", text))
    if not found.isascii() or not found.isprintable():
        found = "".join(letter for letter in found if letter in "\n\t" or not _is_removed(letter))
    if lines:
        return "\n".join(_SPACES.sub(" ", line).strip() for line in found.split("\n")).strip()
    return _SPACES.sub(" ", found).strip()


def _is_removed(letter: str) -> bool:
    """Tell whether a character is a control, a tag, or none at all: https://www.unicode.org/faq/private_use.html#nonchar1."""
    code = ord(letter)
    if unicodedata.category(letter) in _REMOVED:
        return True
    return 0xE0000 <= code <= 0xE007F or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE  # noqa: PLR2004 -- of Unicode


def formatted(variable: Variable, value: Any, setting: Setting) -> str:
    """Return a value as it reads.

    Raises:
        ValueProblemError: it is not of the variable's type, or too long.
    """
    text = str(value)
    if len(text) > MAX_VALUE:
        raise ValueProblemError(f"it has more than {MAX_VALUE} characters")
    try:
        found = _WRITERS[variable.type](variable, value, setting)
    except ValueProblemError:
        if variable.strict:
            raise
        found = text
    return clean(found, lines=variable.format == "lines")


def _text(_variable: Variable, value: Any, _setting: Setting) -> str:
    return str(value)


def _url(_variable: Variable, value: Any, _setting: Setting) -> str:
    if not _URL.fullmatch(str(value)):
        raise ValueProblemError("it has to be a URL that begins with https:// or http://")
    return str(value)


def _date(variable: Variable, value: Any, setting: Setting) -> str:
    found = _moment(value, setting) or _of_date(value)
    if found is None:
        raise ValueProblemError("it has to be a date such as 2026-11-24")
    return dates.format_date(found, variable.format or "long", locale=setting.locale).translate(_NARROW)


def _time(variable: Variable, value: Any, setting: Setting) -> str:
    moment = _moment(value, setting)
    found = moment.time() if moment is not None else _of_time(value)
    if found is None:
        raise ValueProblemError("it has to be a time such as 14:30")
    # Without a date Babel would take today's offset for a time with a zone: it has been moved to the zone already.
    return dates.format_time(found, variable.format or "short", locale=setting.locale).translate(_NARROW)


def _datetime(variable: Variable, value: Any, setting: Setting) -> str:
    moment = _moment(value, setting)
    if moment is None:
        raise ValueProblemError("it has to be a date and time such as 2026-11-24T14:30:00-05:00")
    style = variable.format or "long"
    pattern = dates.get_datetime_format(cast("Any", style), locale=setting.locale)
    day = dates.format_date(moment, style, locale=setting.locale)
    hour = dates.format_time(moment.time(), "short", locale=setting.locale)
    return str(pattern).replace("'", "").format(hour, day).translate(_NARROW)


def _number(variable: Variable, value: Any, setting: Setting) -> str:
    number = _decimal(value)
    if variable.format == "percent":
        return numbers.format_percent(number, locale=setting.locale, decimal_quantization=False).translate(_NARROW)
    return numbers.format_decimal(number, locale=setting.locale, decimal_quantization=False).translate(_NARROW)


def _money(variable: Variable, value: Any, setting: Setting) -> str:
    match = _MONEY.fullmatch(str(value).strip())
    currency = (match["before"] or match["after"] or variable.format) if match else ""
    if match is None or not currency or (match["before"] and match["after"]):
        raise ValueProblemError("it has to be an amount such as 12.50 EUR")
    return numbers.format_currency(Decimal(match["number"]), currency, locale=setting.locale).translate(_NARROW)


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueProblemError("it has to be a number such as 12.5") from None
    if not number.is_finite() or abs(number.adjusted()) > 30:  # noqa: PLR2004 -- nobody reads more digits
        raise ValueProblemError("it has to be a number such as 12.5")
    return number


def _moment(value: Any, setting: Setting) -> datetime | None:
    """Return a moment in the zone; one without an offset is in it already."""
    text = str(value).strip()
    if not isinstance(value, datetime) and ("T" not in text or len(text) < len("2026-11-24T14:30")):
        return None
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(text)
        return found.astimezone(setting.zone) if found.tzinfo is not None else found
    except (ValueError, OverflowError):
        return None


def _of_date(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value).strip())
    except ValueError:
        return None


def _of_time(value: Any) -> time | None:
    text = str(value).strip()
    return time.fromisoformat(text) if _TIME.fullmatch(text) else None


_WRITERS: Final[Mapping[str, Callable[[Variable, Any, Setting], str]]] = {
    "text": _text,
    "date": _date,
    "time": _time,
    "datetime": _datetime,
    "number": _number,
    "money": _money,
    "url": _url,
}
