"""Parameters whose entries are among those of another one, and share its index.

Each key of an index costs every write; `phone` and `email` are parts of `telecom`, `address-state` and the like are parts of
`address`. So only the whole has an index, and a search by the part asks for both: the index of the whole finds the
candidates, the field of the part decides.
"""

from collections.abc import Mapping
from typing import Any, Final

from fhir_server.search.parameter import SearchParameter
from fhir_server.search.registry import BUILTIN

Filter = dict[str, Any]

_WHOLES: Final[Mapping[str, str]] = {
    "phone": "telecom",
    "email": "telecom",
    "address-state": "address",
    "address-country": "address",
    "address-postalcode": "address",
}
_ONE: Final = frozenset({"$in", "$regex", "$elemMatch", "$gte", "$lt"})


def whole_of(parameter: SearchParameter) -> SearchParameter | None:
    """Return the parameter whose entries include all entries of this one; None where there is none."""
    code = _WHOLES.get(parameter.code)
    if code is None or BUILTIN.get(parameter.resource_type, parameter.code) is not parameter:
        return None
    return BUILTIN.get(parameter.resource_type, code)


def covered(parameter: SearchParameter, filter_: Filter) -> Filter:
    """Return the filter of a parameter, which its whole helps to find."""
    whole = whole_of(parameter)
    return filter_ if whole is None else _with(filter_, parameter.field, whole)


def _with(filter_: Filter, part: str, whole: SearchParameter) -> Filter:
    if filter_.keys() == {"$or"}:
        return {"$or": [_with(one, part, whole) for one in filter_["$or"]]}
    if filter_.keys() != {part} or not _finds(filter_[part]):
        return filter_
    condition = filter_[part]
    # One entry of the list has to be within the range.
    bounded = whole.repeats and isinstance(condition, dict) and "$gte" in condition
    return {part: condition, whole.field: {"$elemMatch": condition} if bounded else condition}


def _finds(condition: Any) -> bool:
    """Tell whether a condition is about one entry, hence also true of a list that has more of them."""
    if not isinstance(condition, dict):
        return condition is not None
    return bool(condition) and condition.keys() <= _ONE and None not in condition.get("$in", ())
