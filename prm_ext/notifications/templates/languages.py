"""Which of several languages a person gets: https://www.rfc-editor.org/rfc/rfc4647#section-3.4 (lookup)."""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final

from babel import Locale, UnknownLocaleError

TAG: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_SCRIPT_LENGTH: Final = 4


def tidy(tag: str) -> str:
    """Return a language tag as BCP 47 writes it: `es-MX`, `zh-Hans`; "" where it is none."""
    if not TAG.fullmatch(tag.replace("_", "-")):
        return ""
    first, *rest = tag.replace("_", "-").lower().split("-")
    shown = [first]
    for part in rest:
        after_single = len(shown[-1]) == 1
        if len(part) == _SCRIPT_LENGTH and part.isalpha() and not after_single:
            shown.append(part.capitalize())
        else:
            shown.append(part.upper() if len(part) == 2 and not after_single else part)  # noqa: PLR2004 -- a country
    return "-".join(shown)


def lookup(wanted: str, available: Collection[str], default: str) -> str:
    """Return the language of those that there are which fits best.

    By lookup the wanted tag is cut from its end until one is the same; where that finds none, the first that begins like
    it is taken (`pt-BR` for `pt`), unless it is in another script. Then the default.
    """
    by_lower = {tag.lower(): tag for tag in available}
    ranges = list(_ranges(wanted.replace("_", "-").lower()))
    for one in ranges:
        if one in by_lower:
            return by_lower[one]
    script = _script(ranges[0]) if ranges else ""
    for one in ranges:
        for lower, tag in by_lower.items():
            if lower.startswith(one + "-") and not (script and _script(lower) and script != _script(lower)):
                return tag
    return default


def _ranges(tag: str) -> Iterator[str]:
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]
        # A single letter begins an extension, and goes with it.
        if len(tag.rpartition("-")[2]) == 1 and tag:
            tag = tag.rpartition("-")[0]


def _script(tag: str) -> str:
    return next((part for part in tag.split("-")[1:] if len(part) == _SCRIPT_LENGTH and part.isalpha()), "")


@lru_cache(maxsize=512)
def locale_of(text_language: str, wanted: str = "") -> Locale:
    """Return the locale for dates and numbers in a text: the one that a person wants where it is of the text's language."""
    same = wanted.replace("_", "-").lower().split("-")[0] == text_language.lower().split("-")[0]
    candidates = [*(_ranges(wanted.replace("_", "-")) if same else ()), *_ranges(text_language.replace("_", "-"))]
    for candidate in candidates:
        try:
            return Locale.parse(candidate, sep="-")
        except (UnknownLocaleError, ValueError, TypeError):
            continue
    return Locale("en")


def is_right_to_left(language: str) -> bool:
    """Tell whether a language is written from right to left."""
    return locale_of(language).text_direction == "rtl"
