"""Texts that the server itself says to patients, by language: answers to replies, and the page that ends emails.

The texts are in `texts`, one file for each language.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

_FOLDER: Final = Path(__file__).parent / "texts"
LANGUAGES: Final = tuple(sorted(file.stem for file in _FOLDER.glob("*.json") if file.stem != "keywords"))
RIGHT_TO_LEFT: Final = frozenset({"ar"})
_SAME: Final[Mapping[str, str]] = {"fil": "tl", "zh-tw": "zh-Hant", "zh-hk": "zh-Hant", "zh-mo": "zh-Hant"}
_DEFAULT: Final = "en"


class Texts(msgspec.Struct, frozen=True):
    """The texts of a language."""

    words: dict[str, str]
    """What to reply, by meaning."""
    answers: dict[str, str]
    """To replies. They hold the names of `words`, `{organisation}` and, where it is about an appointment, `{when}` or
    `{appointments}`."""
    page: dict[str, str]
    kinds: dict[str, str]


def language_like(tag: str) -> str:
    """Return the language in which there are texts that is closest to a BCP 47 tag; English where there is none."""
    asked = tag.replace("_", "-").lower()
    known = {name.lower(): name for name in LANGUAGES}
    while asked:
        found = known.get(asked) or _SAME.get(asked)
        if found is not None:
            return found
        asked = asked.rpartition("-")[0]
    return _DEFAULT


@cache
def texts_of(language: str) -> Texts:
    """Return the texts of a language that there is."""
    return msgspec.json.decode((_FOLDER / f"{language}.json").read_bytes(), type=Texts)
