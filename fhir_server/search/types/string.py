r"""Search parameters of type string.

https://hl7.org/fhir/R4/search.html#string

An entry is the folded text (case, accents, white space). Where the text differs from that, `\x01` follows, and then the text
itself (of a long one its hash), unless it is the folded one in title case: `soderberg\x01Söderberg`, `smith\x01`. So one index
serves the start of a text (a range), the exact text (equality) and the order.

Names have in addition what follows from each letter on under `:ends`, which makes `:contains` a range too.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from fhir_server.fhir.outcome import unprocessable
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import (
    LONGEST_PATTERN,
    Convert,
    Converters,
    Filter,
    any_of,
    begins,
    of_extension,
    unsupported_modifier,
)
from fhir_server.search.values import invalid_value, unescape

MODIFIERS = frozenset({"exact", "contains"})
EQUALS, ENDS = "filter.eq", "filter.ew"
"""What only `_filter` asks for: no parameter name can carry a modifier with a dot."""
SHORTEST_END, LONGEST_END = 2, 32
MOST_LETTERS = 100_000
"""Letters that the names of one resource may have together; each becomes an index entry."""
_NAMED = frozenset({"Patient", "Practitioner", "RelatedPerson", "Person", "Organization", "Location"})
_NAMES = frozenset({"name", "family", "given"})
_MARK = "\x01"
_WHOLE = {EQUALS: f"^{{}}(?:{_MARK}|$)", ENDS: f"^[^{_MARK}]*{{}}(?:{_MARK}|$)"}
_LONG = 200
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"})
_CONTROLS = dict.fromkeys((*range(32), 127), " ")
_KEPT_MARKS = (0, 7, 8, 9)
"""Combining classes without which a letter of an Indic script or a kana would be another one."""


def fold(text: str) -> str:
    """Return the text without case, accents and superfluous white space."""
    if text.isascii():
        lower = text.lower() if text.isprintable() else text.lower().translate(_CONTROLS)
        return " ".join(lower.split()) if "  " in lower or lower[:1] == " " or lower[-1:] == " " else lower
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(char for char in decomposed if unicodedata.combining(char) in _KEPT_MARKS).translate(_LETTERS)
    printable = "".join(char if char.isprintable() else " " for char in letters)
    return unicodedata.normalize("NFC", " ".join(printable.split()))


def entry(text: str) -> str:
    """Return the index entry of a text."""
    folded = fold(text)
    if folded == text:
        return folded
    if len(text) > _LONG:
        return f"{folded}{_MARK}{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return folded + _MARK if text == folded.title() else f"{folded}{_MARK}{text}"


def _text(value: Any, out: list[Any], _base_url: str) -> None:
    out.append(entry(value))


def _parts(names: Iterable[str], lists: Iterable[str]) -> Convert:
    def convert(value: Any, out: list[Any], _base_url: str) -> None:
        for name in names:
            if text := value.get(name):
                out.append(entry(text))  # noqa: PERF401 -- the hot path: no generator
        for name in lists:
            out.extend(entry(text) for text in value.get(name, ()) if text)

    return convert


_PRIMITIVES = ("string", "markdown", "code", "id", "uri", "url", "canonical", "oid", "uuid", "base64Binary")
_VALUES: dict[str, Convert] = {
    **dict.fromkeys(_PRIMITIVES, _text),
    "HumanName": _parts(("text", "family"), ("given", "prefix", "suffix")),
    "Address": _parts(("text", "city", "district", "state", "postalCode", "country"), ("line",)),
}
CONVERTERS: Converters = {**_VALUES, "Extension": of_extension(_VALUES)}
SPREADING = frozenset({"HumanName", "Address", "Extension"})


def ends_field(parameter: SearchParameter) -> str:
    """Return the field of the ends of words that a parameter's texts are among; "" where there is none."""
    return "s.name:ends" if parameter.resource_type in _NAMED and parameter.code in _NAMES else ""


def ends(entries: Collection[str]) -> list[str]:
    """Return what folded entries hold from each letter on, up to 32 letters; a last letter alone is left out.

    Raises:
        FhirError: 422, the names are too many or too long.
    """
    found: set[str] = set()
    letters = sum(map(len, entries))
    if letters > MOST_LETTERS:
        text = f"The names of the resource have {letters:,} letters together; at most {MOST_LETTERS:,} can be searched."
        raise unprocessable(text, code="too-costly")
    for one in entries:
        folded = one.partition(_MARK)[0]
        starts = max(1, len(folded) - SHORTEST_END + 1)
        found.update(folded[start : start + LONGEST_END] for start in range(starts) if folded[start : start + 1].strip())
    return sorted(found)


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter, *, ends_field: str = "") -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with a text that starts with (is, contains) one of the values.

    Raises:
        FhirError: 400, an empty value or a modifier that strings do not have.
    """
    texts = [unescape(value) for value in values]
    if modifier == "exact":
        return {field: {"$in": [entry(text) for text in texts]}}
    if modifier not in ("", "contains", EQUALS, ENDS):
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    folded = [fold(text) for text in texts]
    if not all(0 < len(text) <= LONGEST_PATTERN for text in folded):
        raise invalid_value(parameter.code, min(texts, key=len), f"a text of 1 to {LONGEST_PATTERN} characters is needed")
    if modifier in (EQUALS, ENDS):
        return {field: {"$in": [re.compile(_WHOLE[modifier].format(re.escape(text))) for text in folded]}}
    if modifier == "contains":
        return any_of(_containing(field, text, ends_field) for text in folded)
    return any_of(begins(field, text, parameter) for text in folded)


def _containing(field: str, text: str, ends_field: str) -> Filter:
    anywhere: Filter = {field: {"$regex": f"^[^{_MARK}]*{re.escape(text)}"}}
    if not ends_field or len(text) < SHORTEST_END:
        return anywhere
    beginning: Filter = {ends_field: {"$regex": f"^{re.escape(text[:LONGEST_END])}"}}
    return beginning if ends_field == f"{field}:ends" and len(text) <= LONGEST_END else {**beginning, **anywhere}
