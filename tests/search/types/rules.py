"""An obviously right reading of R4's rules, on the resources themselves, for comparison with what the index answers.

It shares no code with the server: https://hl7.org/fhir/R4/search.html
"""

import calendar
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Resource = dict[str, Any]
START, END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)


def plain(text: str) -> str:
    """The text without case, accents and superfluous spaces."""
    decomposed = unicodedata.normalize("NFD", " ".join(text.split()).lower())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def string(texts: Iterable[str], modifier: str, value: str) -> bool:
    if modifier == "exact":
        return value in texts
    if modifier == "contains":
        return any(plain(value) in plain(text) for text in texts)
    return any(plain(text).startswith(plain(value)) for text in texts)


def token(codings: Iterable[tuple[str, str]], value: str) -> bool:
    """`codings` are (system, code); value without escapes."""
    if "|" not in value:
        return any(code == value for _, code in codings)
    system, _, code = value.partition("|")
    if not code:
        return any(own == system for own, _ in codings)
    return (system, code) in list(codings)


def interval(text: str) -> tuple[datetime, datetime]:
    """Of YYYY, YYYY-MM, YYYY-MM-DD and YYYY-MM-DDThh:mm:ssZ."""
    if "T" in text:
        low = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return low, low + timedelta(seconds=1)
    year, month, day = ([int(part) for part in text.split("-")] + [0, 0])[:3]
    low = datetime(year, month or 1, day or 1, tzinfo=UTC)
    days = 1 if day else calendar.monthrange(year, month)[1] if month else 366 if calendar.isleap(year) else 365
    return low, low + timedelta(days=days)


def date_interval(value: Any) -> tuple[datetime, datetime]:
    if isinstance(value, str):
        return interval(value)
    return interval(value["start"])[0] if "start" in value else START, interval(value["end"])[1] if "end" in value else END


def date(values: Iterable[Any], prefix: str, text: str) -> bool:
    """The table of https://hl7.org/fhir/R4/search.html#prefix."""
    low, high = interval(text)

    def holds(own: tuple[datetime, datetime]) -> bool:
        start, end = own
        contained = low <= start and end <= high
        return {
            "eq": contained,
            "ne": not contained,
            "gt": end > high,
            "lt": start < low,
            "ge": end > high or contained,
            "le": start < low or contained,
            "sa": start >= high,
            "eb": end <= low,
        }[prefix]

    return any(holds(date_interval(value)) for value in values)


def number(values: Iterable[Decimal], prefix: str, text: str) -> bool:
    """Of numbers in plain notation."""
    value = Decimal(text)
    half = Decimal(5).scaleb((value.as_tuple().exponent) - 1)  # type: ignore[operator]
    tests: dict[str, Callable[[Decimal], bool]] = {
        "eq": lambda own: value - half <= own < value + half,
        "ne": lambda own: not value - half <= own < value + half,
        "gt": lambda own: own > value,
        "lt": lambda own: own < value,
        "ge": lambda own: own >= value,
        "le": lambda own: own <= value,
        "sa": lambda own: own > value,
        "eb": lambda own: own < value,
    }
    return any(tests[prefix](own) for own in values)
