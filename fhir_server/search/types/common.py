"""What the types of search parameters share: the shape of entries, and of the filters on them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.outcome import FhirError, bad_request
from fhir_server.search.parameter import SearchParameter

Filter = dict[str, Any]
Convert = Callable[[Any, list[Any], str], None]
"""Appends the entries of one value (of a certain FHIR type) to a list; the last argument is the base URL of this server."""
Converters = Mapping[str, Convert]

END = "\U0010ffff"
"""Sorts after every text that goes on."""
LONGEST_PATTERN = 4000


def any_of(conditions: Iterable[Filter]) -> Filter:
    """Return a filter for what meets at least one of the conditions."""
    found = list(conditions)
    return found[0] if len(found) == 1 else {"$or": found}


def matches_members(field: str, predicate: Filter, parameter: SearchParameter) -> Filter:
    """Return a filter for documents with an entry, an object, whose members meet the predicate together."""
    return {field: {"$elemMatch": predicate}} if parameter.repeats else _dotted(field, predicate)


def _dotted(field: str, predicate: Filter) -> Filter:
    return {
        name if name.startswith("$") else f"{field}.{name}": [_dotted(field, one) for one in condition]
        if name.startswith("$")
        else condition
        for name, condition in predicate.items()
    }


def begins(field: str, text: str, parameter: SearchParameter) -> Filter:
    """Return a filter for documents with an entry, a plain text, that starts with `text`.

    In an array that is an anchored pattern, which MongoDB reads exactly from the index, so that it can sort the keys before
    it fetches the documents. A range needs `$elemMatch` there, lest two elements meet one bound each, and that is checked
    in the document.
    """
    bounds = {"$gte": text, "$lt": text + END}
    if not parameter.repeats:
        return {field: bounds}
    if len(text) > LONGEST_PATTERN or "\0" in text:  # BSON has no such patterns.
        return {field: {"$elemMatch": bounds}}
    return {field: {"$regex": f"^{re.escape(text)}"}}


def extension_value(extension: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return the FHIR type and the value of a simple extension."""
    elements = TYPES["Extension"].elements
    return next(((elements[name].type, value) for name, value in extension.items() if name.startswith("value")), None)


def of_extension(converters: Mapping[str, Convert]) -> Convert:
    """Return what converts an Extension by the type of its value."""

    def convert(value: Any, out: list[Any], base_url: str) -> None:
        found = extension_value(value)
        if found is not None and found[0] in converters:
            converters[found[0]](found[1], out, base_url)

    return convert


def unsupported_modifier(parameter: SearchParameter, modifier: str, allowed: Iterable[str]) -> FhirError:
    """400: the modifier is not one of this parameter's type."""
    names = ", ".join(f":{name}" for name in sorted({*allowed, "missing"}))
    return bad_request(
        f"The modifier :{modifier} is not supported for {parameter.code!r}, of type {parameter.type}; these are: {names}.",
        code="not-supported",
    )
