"""MongoDB indexes of current versions.

See docs/search/indexing.md and docs/decisions. All are led by the tenant and partial: a resource without the parameter costs
them nothing. Most end with the document's key, so that results of an equality come sorted by it, and those of a prefix can be
sorted before they are fetched.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pymongo import GEOSPHERE, IndexModel

from fhir_server import matching
from fhir_server.search.covering import whole_of
from fhir_server.search.parameter import SearchParameter
from fhir_server.search.referrers import FIELD as REFS_FIELD
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import date, sort_field

MOST = 58
"""MongoDB allows 64 indexes a collection; some are the store's."""
_KEY = "_id"
_NOT_INDEXED = frozenset({"composite", "special"})
_SELECTIVE = frozenset({"address", "phonetic"})
_IDENTIFYING = frozenset({"Identifier", "ContactPoint"})
_NAMES = ("family", "name", "title")
"""Texts that resources are sorted by, even though they have several."""
_DATES = (
    "date",
    "sent",
    "authored",
    "authored-on",
    "authoredon",
    "period",
    "onset-date",
    "recorded-date",
    "effective-time",
    "created",
    "issued",
    "occurrence",
    "whenhandedover",
    "started",
    "start-date",
)
"""Which date orders what belongs to a patient; the first that the type has."""
_DERIVED: Mapping[str, tuple[str, ...]] = {"Patient": (f"s.{matching.FIELD}",)}
"""Fields that no parameter has."""
_TEXTS = ("code", "type")
"""Concepts that are looked for by their text as well."""
_CONCEPTS = ("code", "type", "category")
"""What tells best what a resource is about; the first that the type has."""
_FIRST = ".0."
"""In a field to sort by that is in an array."""
_SUBJECTS = ("subject", "patient", "beneficiary")
"""Who it is about."""


def index_models(type_: str) -> list[IndexModel]:
    """Return the search indexes of a type's collection, the most useful first, less than the store may have."""
    parameters = BUILTIN.of(type_)
    derived = [_model((field,)) for field in _DERIVED.get(type_, ())]
    return [*derived, *([_model(keys) for keys in _keys(parameters)][:MOST]), _model((REFS_FIELD,))]


def replaced_indexes(type_: str) -> frozenset[str]:
    """Return the names of indexes that earlier versions made, and that others, which go on after the key, have replaced."""
    keys = list(_keys(BUILTIN.of(type_)))
    longer = [one for one in keys if one[-2:-1] == (_KEY,)]
    return frozenset(_model(one[:-1]).document["name"] for one in longer if one[:-1] not in keys)


@cache
def index_by_id(type_: str, field: str) -> dict[str, int] | None:
    """Return the keys of the index in which those with the same entry in a field come in the order of their ids."""
    found = next((keys for keys in _keys(BUILTIN.of(type_)) if keys[:2] == (field, _KEY)), None)
    return {"t": 1, **dict.fromkeys(found, 1)} if found else None


@cache
def index_led_by(type_: str, field: str) -> dict[str, int] | None:
    """Return the keys of the first index that finds an entry in a field."""
    found = next((keys for keys in _keys(BUILTIN.of(type_)) if keys[0] == field), None)
    return {"t": 1, **dict.fromkeys(found, 1)} if found else None


def custom_index_models(parameter: SearchParameter) -> list[IndexModel]:
    """Return the indexes of one custom parameter."""
    return [_model(keys) for keys in _keys_of(parameter, "")]


def _keys(parameters: Mapping[str, SearchParameter]) -> Iterator[tuple[str, ...]]:
    ordering = next((sort_field(parameters[code]) for code in _DATES if code in parameters), "")
    own = [parameter for parameter in parameters.values() if not (parameter.parts or parameter.joined or parameter.shared)]
    pairs = _pairs({parameter.code: parameter for parameter in own}, ordering)
    for parameter in sorted(own, key=lambda one: one.code.startswith("_")):
        for keys in _keys_of(parameter, ordering):
            yield (*keys, pairs[parameter.field]) if parameter.field in pairs else keys
    for code in _NAMES:
        if code in parameters and parameters[code].repeats and parameters[code].type == "string":
            yield sort_field(parameters[code]), _KEY
    for code in _TEXTS:
        if code in parameters and "CodeableConcept" in parameters[code].value_types:
            yield (f"{parameters[code].field}:text",)


def _pairs(parameters: Mapping[str, SearchParameter], ordering: str) -> dict[str, str]:
    """Return the field that the index of a subject, or of what it is about, ends with: the other one of the two.

    So what somebody has of a kind, and who has it, is known before a document is read. MongoDB indexes no two arrays
    together.
    """
    subject = next((parameters[code] for code in _SUBJECTS if code in parameters), None)
    concept = next((parameters[code] for code in _CONCEPTS if code in parameters and parameters[code].type == "token"), None)
    if not ordering or subject is None or concept is None or (subject.repeats and concept.repeats):
        return {}
    found = {concept.field: subject.field}
    return found if concept.repeats and _FIRST in ordering else {subject.field: concept.field, **found}


def _keys_of(parameter: SearchParameter, ordering: str) -> Iterator[tuple[str, ...]]:
    field = parameter.field
    if parameter.code == "near":
        yield (field,)
    if not field.startswith("s.") or parameter.type in _NOT_INDEXED or not parameter.path.branches or whole_of(parameter):
        return
    if parameter.type == "quantity":
        yield f"{field}.k", f"{field}.c"
    elif parameter.type in ("date", "number"):
        yield from _keys_of_interval(parameter)
    elif parameter.code in _SUBJECTS and ordering:
        yield field, ordering, _KEY
    elif parameter.code == "given" and parameter.resource_type == "Patient":
        # Who has a common name is found by where they live, before a document is read.
        yield field, "s.gender", "s.address-city:span.l", "s.address-city:span.h", _KEY
    else:
        yield (field,) if _finds_few(parameter) else (field, _KEY)


def _finds_few(parameter: SearchParameter) -> bool:
    """Tell whether so few resources have the same value that they may be fetched before they are sorted."""
    return parameter.type == "uri" or parameter.code in _SELECTIVE or not _IDENTIFYING.isdisjoint(parameter.value_types)


def _keys_of_interval(parameter: SearchParameter) -> Iterator[tuple[str, ...]]:
    field = parameter.field
    if parameter.repeats:
        yield (f"{field}.l",)
    yield sort_field(parameter), _KEY
    if parameter.type == "date" and parameter.value_types & date.MAY_BE_LONG:
        yield (f"{field}:long",)


def _model(fields: tuple[str, ...]) -> IndexModel:
    first = fields[0]
    if first == "s.near":
        return IndexModel([("t", 1), (first, GEOSPHERE)])
    keys: list[tuple[str, Any]] = [("t", 1), *((field, 1) for field in fields)]
    return IndexModel(keys, partialFilterExpression={first: {"$exists": True}})
