"""Search parameters of type special, and those whose meaning the specification gives in prose.

https://hl7.org/fhir/R4/location.html#search (near), https://hl7.org/fhir/R4/search.html#content (_text, _content)

A position is a GeoJSON point, found by a 2dsphere index. `_text` and `_content` have one entry: all folded words of the
narrative (of the whole resource), with a space before each. They have no index, which would cost more than all others together;
so they narrow what other parameters find, and alone read every resource of the type.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fhir_server.fhir.folding import fold
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types.common import Converters, Filter, any_of, unsupported_modifier
from fhir_server.search.values import invalid_value, split_escaped, unescape

MODIFIERS: frozenset[str] = frozenset()
TEXTS = ("_text", "_content")
_EARTH_RADIUS_KM = 6378.1
_KILOMETRES = {
    "km": 1.0,
    "m": 0.001,
    "[mi_i]": 1.609344,
    "mi": 1.609344,
    "[mi_us]": 1.609347219,
    "cm": 0.00001,
    "[ft_i]": 0.0003048,
}
_DEFAULT_KM = 50.0
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?")
_WORD = re.compile(r"\w+")
_NO_TEXT = re.compile(r"<[^>]*>|&(?:#?\w+);")
_LONGEST_WORD, _MOST_WORDS, _LARGEST_ENTRY = 64, 20, 5000
_NO_CONTENT = frozenset(
    {"resourceType", "id", "url", "system", "reference", "fullUrl", "versionId", "lastUpdated", "profile", "data", "sha1"}
)
"""Members whose text is for machines."""
_POLE, _DATE_LINE = 90.0, 180.0
_LATITUDE, _LONGITUDE, _PARTS = 0, 1, 4


def _position(value: Any, out: list[Any], _base_url: str) -> None:
    longitude, latitude = float(value["longitude"]), float(value["latitude"])
    if abs(longitude) <= _DATE_LINE and abs(latitude) <= _POLE:
        out.append({"type": "Point", "coordinates": [longitude, latitude]})


CONVERTERS: Converters = {"Location.position": _position}


def words(text: str) -> list[str]:
    """Return the folded words of a text or an xhtml, each once."""
    return list(dict.fromkeys(_WORD.findall(fold(_NO_TEXT.sub(" ", text) if "<" in text else text))))


def packed(text: str) -> str:
    """Return the entry of a text, of its first 5,000 different words: a huge resource has to stay below 16 MB with it."""
    return " " + " ".join(word[:_LONGEST_WORD] for word in words(text)[:_LARGEST_ENTRY])


def content(resource: Mapping[str, Any]) -> str:
    """Return all texts in a resource that people may read."""
    found: list[str] = []
    nodes: list[Mapping[str, Any]] = [resource]
    # The list grows while it is walked.
    for node in nodes:
        for name, value in node.items():
            if name in _NO_CONTENT:
                continue
            for item in value if type(value) is list else (value,):
                kind = type(item)
                if kind is str:
                    found.append(item)
                elif kind is dict:
                    nodes.append(item)
    return " ".join(found)


def filter(field: str, modifier: str, values: Iterable[str], parameter: SearchParameter) -> Filter:  # noqa: A001 -- the name that all types share
    """Return the filter for resources that are near one of the places, or hold all words of one of the values.

    Raises:
        FhirError: 400, a malformed value or a modifier.
    """
    if modifier:
        raise unsupported_modifier(parameter, modifier, MODIFIERS)
    if parameter.code in TEXTS:
        return any_of(_words(field, value, parameter) for value in values)
    return any_of(_near(field, value, parameter) for value in values)


def _words(field: str, value: str, parameter: SearchParameter) -> Filter:
    wanted = [word[:_LONGEST_WORD] for word in words(unescape(value))]
    if not wanted:
        raise invalid_value(parameter.code, value, "a word to look for is needed")
    if len(wanted) > _MOST_WORDS:
        raise invalid_value(parameter.code, value, f"{_MOST_WORDS} words at most")
    conditions: list[Filter] = [{field: {"$regex": f" {re.escape(word)}"}} for word in wanted]
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _near(field: str, value: str, parameter: SearchParameter) -> Filter:
    parts = [unescape(part) for part in split_escaped(value, "|")]
    if not 1 < len(parts) <= _PARTS or not all(_NUMBER.fullmatch(part) for part in parts[:3] if part):
        raise invalid_value(
            parameter.code, value, "expected latitude|longitude|distance|unit in decimal degrees, such as 42.25|-83.7|11|km"
        )
    unit = parts[3] if len(parts) == _PARTS and parts[3] else "km"
    if unit not in _KILOMETRES:
        raise invalid_value(parameter.code, value, f"the unit of the distance is one of {', '.join(_KILOMETRES)}")
    distance = float(parts[2]) * _KILOMETRES[unit] if len(parts) > 2 and parts[2] else _DEFAULT_KM  # noqa: PLR2004 -- there is a third
    latitude, longitude = float(parts[_LATITUDE] or "nan"), float(parts[_LONGITUDE] or "nan")
    if not (abs(latitude) <= _POLE and abs(longitude) <= _DATE_LINE and distance >= 0):
        raise invalid_value(
            parameter.code, value, "the latitude is -90 to 90, the longitude -180 to 180, the distance not negative"
        )
    return {field: {"$geoWithin": {"$centerSphere": [[longitude, latitude], min(distance / _EARTH_RADIUS_KM, 3.14)]}}}
