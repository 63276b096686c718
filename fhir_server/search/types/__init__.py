"""Types of search parameters: for each, the form of its index entries and the filters on them, in one file.

https://hl7.org/fhir/R4/search.html#ptypes

`parameter_filter` and `sort_field` choose by the type of the parameter.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.types import composite, date, number, quantity, reference, special, string, token, uri
from fhir_server.search.types.common import Convert, Converters, Filter, any_of
from fhir_server.search.types.phonetic import CONVERTERS as PHONETIC_CONVERTERS
from fhir_server.search.types.phonetic import filter_phonetic
from fhir_server.search.values import invalid_value

__all__ = [
    "Convert",
    "Converters",
    "Filter",
    "converters",
    "has_index",
    "modifiers",
    "parameter_filter",
    "sort_field",
    "spreads",
    "sub_converters",
]

_MODULES: Mapping[str, ModuleType] = {
    "composite": composite,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "special": special,
    "string": string,
    "token": token,
    "uri": uri,
}
_SUB_CONVERTERS: Mapping[str, Mapping[str, Converters]] = {
    "token": {"text": token.TEXT_CONVERTERS, "of-type": token.OF_TYPE_CONVERTERS},
    "reference": {"version": reference.VERSION_CONVERTERS, "identifier": reference.IDENTIFIER_CONVERTERS},
}
_ALSO_PRESENT = {"token": ("text",), "reference": ("identifier",)}
"""Sub-fields that show a value that has no entry, such as a CodeableConcept with a text only."""
_MEMBERS = {"date": ".l", "number": ".l", "quantity": ".l"}
"""What every entry of a type that has objects for entries has, and is sorted by."""
PHONETIC = "phonetic"


def converters(type_: str, code: str = "") -> Converters:
    """Return what makes entries, by FHIR type of the value, for a type of search parameter."""
    if code == PHONETIC and type_ == "string":
        return PHONETIC_CONVERTERS
    found: Converters = getattr(_MODULES[type_], "CONVERTERS", {})
    return found


def sub_converters(type_: str) -> Mapping[str, Converters]:
    """Return what makes the entries of the sub-fields `<field>:<name>`, by name and FHIR type."""
    return _SUB_CONVERTERS.get(type_, {})


def has_index(type_: str, fhir_type: str) -> bool:
    """Tell whether values of a FHIR type can be searched by a type of search parameter."""
    return fhir_type in converters(type_)


def spreads(type_: str, fhir_types: Iterable[str], code: str = "") -> bool:
    """Tell whether one value may have several entries."""
    return code == PHONETIC or not getattr(_MODULES[type_], "SPREADING", frozenset()).isdisjoint(fhir_types)


def modifiers(parameter: SearchParameter) -> frozenset[str]:
    """Return the modifiers that `parameter_filter` knows for a parameter; of references also the types of their targets."""
    own: frozenset[str] = _MODULES[parameter.type].MODIFIERS
    if parameter.code == PHONETIC:
        own = frozenset()
    return own | {"missing"} | (frozenset(parameter.target) if parameter.type == "reference" else frozenset())


def sort_field(parameter: SearchParameter, *, descending: bool = False) -> str:
    """Return the path by which to sort: a plain value, missing where the resource has none.

    Of several values it is the one that comes first in that direction, as R4 demands. Keyset paging may compare it with
    `$gt`, `$lt` and equality.
    """
    if parameter.parts:
        return sort_field(parameter.parts[0], descending=descending)
    if not parameter.field.startswith("s."):
        return parameter.field
    position = (".1" if descending else ".0") if parameter.repeats else ""
    return f"{parameter.field}{position}{_MEMBERS.get(parameter.type, '')}"


def parameter_filter(
    parameter: SearchParameter, modifier: str, values: Sequence[str], *, base_url: str = "", now: datetime | None = None
) -> Filter:
    """Return the MongoDB filter for one parameter with a list of values (OR; none of them for `:not`), escapes unresolved.

    Raises:
        FhirError: 400, a malformed value, or a modifier that this parameter does not have.
    """
    moment = now or datetime.now(UTC)
    if parameter.parts:
        return _of_parts(parameter, modifier, values, base_url, moment)
    if modifier == "missing":
        return _missing(parameter, values)
    if parameter.joined:
        return _joined(parameter, modifier, values, base_url, moment)
    return _of_type(parameter, modifier, values, base_url, moment)


def _of_type(parameter: SearchParameter, modifier: str, values: Sequence[str], base_url: str, moment: datetime) -> Filter:
    field = parameter.field
    match parameter.type:
        case "string" if parameter.code in special.TEXTS:
            return special.filter(field, modifier, values, parameter)
        case "string" if parameter.code == PHONETIC:
            return filter_phonetic(field, modifier, values, parameter)
        case "string":
            return string.filter(field, modifier, values, parameter)
        case "reference":
            return reference.filter(field, modifier, values, parameter, base_url=base_url)
        case "date":
            return date.filter(field, modifier, values, parameter, now=moment)
        case "composite":
            return composite.filter(field, modifier, values, parameter, base_url=base_url, now=moment)
        case _:
            found: Filter = _MODULES[parameter.type].filter(field, modifier, values, parameter)
            return found


def _of_parts(parameter: SearchParameter, modifier: str, values: Sequence[str], base_url: str, now: datetime) -> Filter:
    filters = [parameter_filter(part, modifier, values, base_url=base_url, now=now) for part in parameter.parts]
    every = modifier == "not" or (modifier == "missing" and list(values) == ["true"])
    return {"$and" if every else "$or": filters}


def _joined(parameter: SearchParameter, modifier: str, values: Sequence[str], base_url: str, now: datetime) -> Filter:
    """Compose a composite over the resource itself of its components: each finds one value, so they meet."""

    def node(value: str) -> Filter:
        parts = composite.parts(parameter, modifier, value)
        pairs = zip(parameter.joined, parts, strict=True)
        return {"$and": [parameter_filter(sibling, "", [part], base_url=base_url, now=now) for sibling, part in pairs]}

    return any_of(node(value) for value in values)


def _missing(parameter: SearchParameter, values: Sequence[str]) -> Filter:
    """https://hl7.org/fhir/R4/search.html#modifiers."""
    if len(values) != 1 or values[0] not in ("true", "false"):
        raise invalid_value(f"{parameter.code}:missing", ",".join(values), "expected true or false")
    if parameter.joined:
        filters = [_missing(sibling, values) for sibling in parameter.joined]
        return {"$or" if values[0] == "true" else "$and": filters}
    fields = [
        f"{parameter.field}{_MEMBERS.get(parameter.type, '')}",
        *(f"{parameter.field}:{name}" for name in _ALSO_PRESENT.get(parameter.type, ())),
    ]
    if not parameter.field.startswith("s."):
        fields = [parameter.field]
    if parameter.shared:
        found = reference.of_targets(parameter)
        return found if values[0] == "false" else {"$nor": [found]}
    if values[0] == "true":
        return {name: {"$exists": False} for name in fields}
    present: list[dict[str, Any]] = [{name: {"$exists": True}} for name in fields]
    return present[0] if len(present) == 1 else {"$or": present}
