"""The order of results, and what comes after a given row.

https://hl7.org/fhir/R4/search.html#sort

Rows without a value come last, in both directions. MongoDB puts them first when it sorts upwards, so such a search runs
in two segments: those with a value for the first key, in the order of its index, then those without. Where a later key
has the same trouble, a flag is computed and sorted by.

The last key is always the id, in the direction of the key before it, so that one index serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhir_server.fhir.outcome import not_supported
from fhir_server.search import types
from fhir_server.search.page import Cursor
from fhir_server.search.query import SortKey
from fhir_server.search.registry import SearchParameter

Filter = dict[str, Any]
BEFORE_ALL, AFTER_ALL = "(before)", "(after)"
"""In the place of an id: before, or after, all rows that sort equal otherwise."""
FIRST_TIE, LAST_TIE = "", "\uffff"
"""Stand for an id before, or after, every other."""


@dataclass(frozen=True, slots=True)
class Key:
    """One field to sort by; it holds one plain value, or none."""

    field: str
    descending: bool = False
    missing_first: bool = False
    always: bool = False
    """Whether every row has a value."""

    def reversed(self) -> "Key":
        """Return the key of the opposite order."""
        return Key(self.field, not self.descending, not self.missing_first, self.always)

    @property
    def natural(self) -> bool:
        """Whether MongoDB by itself puts rows without a value where they belong."""
        return self.always or self.descending != self.missing_first


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the result that one MongoDB query returns in order."""

    filter: Filter
    sort: tuple[tuple[str, int], ...]
    flags: tuple[str, ...] = ()
    """Fields for which `missing_flag` has to be computed before sorting."""

    @property
    def computed(self) -> bool:
        """Whether MongoDB must compute before it sorts: flags, or the values of more than one array."""
        return bool(self.flags) or sum(is_positional(field) for field, _ in self.sort) > 1


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of the rows of one type."""

    keys: tuple[Key, ...]
    tie: Key

    def reversed(self) -> "Order":
        """Return the opposite order."""
        return Order(tuple(key.reversed() for key in self.keys), self.tie.reversed())

    def values(self, document: dict[str, Any]) -> tuple[Any, ...]:
        """Return a row's values of the keys."""
        return tuple(value_at(document, key.field) for key in self.keys)

    def tie_value(self, tenant: str, id_: str) -> str:
        """Return the value of the last key of a row with this id."""
        if id_ in (BEFORE_ALL, AFTER_ALL):
            id_ = FIRST_TIE if (id_ == BEFORE_ALL) != self.tie.descending else LAST_TIE
        return f"{tenant}/{id_}" if self.tie.field == "_id" else id_

    def segments(self, values: Sequence[Any] | None, tie: str, present: frozenset[str] = frozenset()) -> list[Segment]:
        """Return the segments, in their order, of the rows after the row of these values; of all rows where it is None.

        `tie` is that row's value of the last key. In fields of `present` every row that is searched has a value.
        """
        if not self.keys or self.keys[0].always:
            return [self._segment(self.keys, {}, values, tie)]
        first, *rest = self.keys
        valued = (replace(first, always=True), *rest)
        if any(first.field == field or first.field.startswith(field + ".") for field in present):
            return [self._segment(valued, {}, values, tie)]
        if first.natural and values is None:
            return [self._segment(self.keys, {}, None, tie)]
        with_value = self._segment(
            valued, {first.field: {"$ne": None}}, values if values and values[0] is not None else None, tie
        )
        without = self._segment(tuple(rest), {first.field: None}, values[1:] if values and values[0] is None else None, tie)
        halves = [without, with_value] if first.missing_first else [with_value, without]
        in_second = values is not None and (values[0] is None) != first.missing_first
        return halves[1:] if in_second else halves

    def _segment(self, keys: Sequence[Key], half: Filter, values: Sequence[Any] | None, tie: str) -> Segment:
        sort: list[tuple[str, int]] = []
        for key in keys:
            if not key.natural:
                sort.append((missing_flag(key.field), -1 if key.missing_first else 1))
            sort.append((key.field, -1 if key.descending else 1))
        sort.append((self.tie.field, -1 if self.tie.descending else 1))
        parts = [part for part in (half, after(keys, self.tie, values, tie)) if part]
        flags = tuple(key.field for key in keys if not key.natural)
        return Segment(all_of(parts), tuple(sort), flags)


def order_of(keys: Sequence[SortKey]) -> Order:
    """Return the order that `_sort` asks for; without it, that of the ids.

    Raises:
        FhirError: 400 for a parameter by which nothing can be sorted.
    """
    fields: list[Key] = []
    tie = Key("_id", always=True)
    for key in keys:
        if key.parameter.code == "_id":
            return Order(tuple(fields), replace(tie, descending=key.descending))
        field = sort_field(key.parameter, descending=key.descending)
        if any(one.field == field for one in fields):
            continue
        fields.append(Key(field, key.descending, always=field == "u"))
        # The index of changes ends with the bare id, all others with the key of the document.
        tie = Key("i" if fields[0].field == "u" else "_id", key.descending, always=True)
    return Order(tuple(fields), tie)


def sort_field(parameter: SearchParameter, *, descending: bool) -> str:
    """Return the field that holds the value to sort by: the least one upwards, the greatest downwards.

    Raises:
        FhirError: 400 for a parameter by which nothing can be sorted.
    """
    if parameter.type in ("composite", "special") or parameter.code in ("_text", "_content"):
        raise not_supported(f"_sort={parameter.code}: a parameter of type {parameter.type} can not be sorted by.")
    return types.sort_field(parameter, descending=descending)


def is_positional(field: str) -> bool:
    """Tell whether a path leads through a position in an array."""
    return any(part.isdigit() for part in field.split("."))


def stored_fields(order: Order) -> set[str]:
    """Return the fields of the keys, without positions in arrays, which a projection can not name."""
    found = set()
    for key in order.keys:
        parts = key.field.split(".")
        found.add(".".join(parts[: next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))]))
    return found


def missing_flag(field: str) -> str:
    """Return the name of the computed field that tells whether a field is absent."""
    return "_missing_" + field.replace(".", "_")


def after(keys: Sequence[Key], tie: Key, values: Sequence[Any] | None, tie_value: str) -> Filter:
    """Return the filter of the rows that come after the row with these values."""
    if values is None:
        return {}
    alternatives: list[Filter] = []
    equal: list[Filter] = []
    for key, value in zip(keys, values, strict=True):
        alternatives += [all_of([*equal, beyond]) for beyond in _beyond(key, value)]
        equal.append({key.field: value})
    alternatives.append(all_of([*equal, {tie.field: {"$lt" if tie.descending else "$gt": tie_value}}]))
    if len(alternatives) == 1:
        return alternatives[0]
    return all_of([*_bound(keys, values), {"$or": alternatives}])


def _bound(keys: Sequence[Key], values: Sequence[Any]) -> list[Filter]:
    """Return a bound on the first key, which tells MongoDB where in the index to begin."""
    if not keys or not keys[0].always:
        return []
    return [{keys[0].field: {"$lte" if keys[0].descending else "$gte": values[0]}}]


def _beyond(key: Key, value: Any) -> list[Filter]:
    if value is None:
        return [{key.field: {"$ne": None}}] if key.missing_first else []
    beyond: list[Filter] = [{key.field: {"$lt" if key.descending else "$gt": value}}]
    if not key.missing_first and not key.always:
        beyond.append({key.field: None})
    return beyond


def all_of(parts: Sequence[Filter]) -> Filter:
    """Return the filter that all of these make together."""
    found = [part for part in parts if part]
    if not found:
        return {}
    return found[0] if len(found) == 1 else {"$and": found}


def precedes(order: Order, left: Cursor, right: Cursor, types: Sequence[str]) -> bool:
    """Tell whether one row comes before another, also of another type."""
    for key, a, b in zip(order.keys, left.values, right.values, strict=True):
        if a == b:
            continue
        if a is None or b is None:
            return (a is None) == key.missing_first
        return bool(a > b if key.descending else a < b)
    a_tie, b_tie = (types.index(left.type), left.id), (types.index(right.type), right.id)
    return a_tie > b_tie if order.tie.descending else a_tie < b_tie


def value_at(document: dict[str, Any], field: str) -> Any:
    """Return what stands at a dotted path, whose parts may be positions in arrays; None where there is nothing."""
    value: Any = document
    for part in field.split("."):
        if isinstance(value, list):
            index = int(part)
            value = value[index] if index < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value
