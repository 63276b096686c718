r"""Search parameters of type string.

https://hl7.org/fhir/R4/search.html#string

An entry is the folded text (case, accents, white space). Where the text differs from that, `\x01` follows, and then the text
itself (of a long one its hash), unless it is the folded one in title case: `soderberg\x01Söderberg`, `smith\x01`. So one index
serves the start of a text (a range), the exact text (equality) and the order.

Names have in addition, after all others and with `\x02` before it, each word that no entry starts with. So a word of a name
is found wherever it stands, and `search.words` makes `:contains` of it.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from bson.regex import Regex

from fhir_server.fhir.folding import fold
from fhir_server.fhir.outcome import unprocessable
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import (
    END,
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
LONGEST_WORD, STEP = 64, 32
"""Longer words are cut into pieces of so many letters, one after each `STEP`, so that a text of `STEP` letters is in one."""
MOST_LETTERS = 100_000
"""Letters that the names of one resource may have together; the ends of all words are indexed."""
SPANNED = frozenset({("Patient", "address-city")})
NAMED = frozenset({"Patient", "Practitioner", "RelatedPerson", "Person", "Organization", "Location"})
_NAMES = frozenset({"name", "family", "given"})
_MARK, _WORD = "\x01", "\x02"
_WHOLE = {EQUALS: f"^{{}}(?:{_MARK}|$)", ENDS: f"^[^{_MARK}{_WORD}]*{{}}(?:{_MARK}|$)"}
_LONG = 200


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


def has_words(parameter: SearchParameter) -> bool:
    """Tell whether the words of a parameter's texts can be found wherever they stand."""
    return parameter.resource_type in NAMED and parameter.code in _NAMES


def later_words(entries: Collection[str]) -> list[str]:
    """Return the entries, marked, of those words that no entry starts with."""
    spread = [text for one in entries if " " in (text := one.partition(_MARK)[0]) or len(text) > LONGEST_WORD]
    if not spread:
        return []
    first = {text for one in entries if len(text := one.partition(_MARK)[0].partition(" ")[0]) <= LONGEST_WORD}
    return [_WORD + word for word in sorted({word for text in spread for word in split(text)} - first)]


def words(entries: Iterable[str]) -> set[str]:
    """Return the words, or their pieces, of the entries of names."""
    found: set[str] = set()
    for one in entries:
        if one[:1] == _WORD:
            found.add(one[1:])
        elif len(word := one.partition(_MARK)[0].partition(" ")[0]) <= LONGEST_WORD:
            found.add(word)
    found.discard("")
    return found


def split(folded: str) -> Iterator[str]:
    """Yield the words of a folded text, or their pieces."""
    for word in folded.split(" "):
        yield word[:LONGEST_WORD]
        for start in range(STEP, len(word) - STEP, STEP):
            yield word[start : start + LONGEST_WORD]


def folded_of(entry: str) -> str:
    """Return the folded text of an entry; of a later word the word."""
    return entry.partition(_MARK)[0].removeprefix(_WORD)


def check_names(entries: Iterable[str]) -> None:
    """Refuse names that can not be searched at a bearable cost.

    Raises:
        FhirError: 422, the names are too long together.
    """
    letters = sum(map(len, entries))
    if letters > MOST_LETTERS:
        text = f"The names of the resource have {letters:,} letters together; at most {MOST_LETTERS:,} can be searched."
        raise unprocessable(text, code="too-costly")


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources with a text that starts with (is, contains) one of the values.

    Raises:
        FhirError: 400, an empty value or a modifier that strings do not have.
    """
    if modifier == "exact":
        return {field: {"$in": [entry(unescape(value)) for value in values]}}
    if modifier not in ("", "contains", EQUALS, ENDS):
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    folded = folded_values(values, parameter)
    if modifier in (EQUALS, ENDS):
        return {field: {"$in": [_pattern(_WHOLE[modifier].format(re.escape(text))) for text in folded]}}
    if modifier == "contains":
        return any_of(containing(field, text) for text in folded)
    return any_of({**begins(field, text, parameter), **_spanning(parameter, text)} for text in folded)


def span_field(parameter: SearchParameter) -> str:
    """Return the field of the least and the greatest entry as plain values, `{l, h}`; "" where there is none.

    MongoDB can not have two lists in one index, but a list and these.
    """
    return f"{parameter.field}:span" if (parameter.resource_type, parameter.code) in SPANNED else ""


def _spanning(parameter: SearchParameter, text: str) -> Filter:
    span = span_field(parameter)
    return {f"{span}.l": {"$lte": text + END}, f"{span}.h": {"$gte": text}} if span else {}


def folded_values(values: Iterable[str], parameter: SearchParameter) -> list[str]:
    """Return the folded texts of the values.

    Raises:
        FhirError: 400, an empty one.
    """
    texts = [unescape(value) for value in values]
    folded = [fold(text) for text in texts]
    if not all(0 < len(text) <= LONGEST_PATTERN for text in folded):
        raise invalid_value(parameter.code, min(texts, key=len), f"a text of 1 to {LONGEST_PATTERN} characters is needed")
    return folded


def containing(field: str, text: str) -> Filter:
    """Return the filter for resources with an entry that contains a folded text."""
    return {field: {"$regex": f"^[^{_MARK}]*{re.escape(text)}"}}


def having_words(field: str, words: Iterable[str]) -> Filter:
    """Return the filter for resources with an entry of a name in which one of the words, or pieces of words, stands.

    The patterns have no flags, as those of `re` always have: with one MongoDB does not take a range from the index.
    """
    ways: list[Any] = []
    for word in words:
        start = re.escape(word)
        ways += [word, _WORD + word, _pattern(f"^{start}{_MARK}"), _pattern(f"^{start} ")]
    return {field: {"$in": ways}}


def _pattern(text: str) -> "Regex[str]":
    """Return a pattern without flags: Python's own have one, for Unicode, with which MongoDB reads the whole index."""
    return Regex(text, 0)
