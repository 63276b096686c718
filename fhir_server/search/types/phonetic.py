"""The parameter `phonetic`: names that sound alike.

https://hl7.org/fhir/R4/patient.html#search

An entry is a key of a word of the name: its first sound and the consonants after it, with those that sound alike made one.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from fhir_server.fhir.folding import fold
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, unsupported_modifier
from fhir_server.search.values import invalid_value, unescape

_LETTERS = re.compile(r"[^\W\d_]+")
_SOUNDS = (
    (re.compile(r"^(?:kn|gn|pn|wr|ps)"), lambda match: match[0][1]),
    (re.compile(r"^x"), lambda _match: "s"),
    (re.compile(r"tch|sch|sh|ch|cz|tsch"), lambda _match: "x"),
    (re.compile(r"ph|v|w(?=[^aeiouy]|$)"), lambda _match: "f"),
    (re.compile(r"gh(?=[^aeiouy]|$)"), lambda _match: ""),
    (re.compile(r"th|d"), lambda _match: "t"),
    (re.compile(r"c(?=[eiy])|z|x(?=s)"), lambda _match: "s"),
    (re.compile(r"ck|c|q|g"), lambda _match: "k"),
    (re.compile(r"b"), lambda _match: "p"),
    (re.compile(r"j"), lambda _match: "y"),
    (re.compile(r"m(?=[^aeiouy])|n"), lambda _match: "n"),
    (re.compile(r"(.)\1+"), lambda match: match[1]),
)
_SILENT = re.compile(r"(?<=.)[aeiouyhw]")


@lru_cache(maxsize=4096)
def key(word: str) -> str:
    """Return how a folded word sounds; words outside the Latin alphabet sound as they are."""
    if not word.isascii():
        return word
    for pattern, replacement in _SOUNDS:
        word = pattern.sub(replacement, word)
    first = "a" if word[:1] in "aeiouy" else word[:1]
    return first + re.sub(r"(.)\1+", r"\1", _SILENT.sub("", word)[1:])


def keys(text: str) -> list[str]:
    """Return the keys of the words of a text."""
    return [key(word) for word in _LETTERS.findall(fold(text))]


def _text(value: Any, out: list[Any], _base_url: str) -> None:
    out.extend(keys(value))


def _name(value: Any, out: list[Any], _base_url: str) -> None:
    for part in (value.get("family"), value.get("text"), *value.get("given", ())):
        if part:
            out.extend(keys(part))


CONVERTERS: Converters = {"string": _text, "HumanName": _name}


def filter_phonetic(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:
    """Return the filter for resources with a name in which all words of one of the values have a word that sounds alike.

    Raises:
        FhirError: 400, a value without a word, or a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, ())
    wanted = [keys(unescape(value)) for value in values]
    if not all(wanted):
        raise invalid_value(parameter.code, "", "a name is needed")
    conditions: list[Filter] = [{field: found[0] if len(found) == 1 else {"$all": found}} for found in wanted]
    return conditions[0] if len(conditions) == 1 else {"$or": conditions}
