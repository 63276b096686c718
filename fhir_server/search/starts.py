"""Patterns of tokens whose system is not said, as the few values that they stand for.

`code=8867-4` is about the codes of every system, which an index has one system after the other. Once it is known which they
are (one, mostly), MongoDB reads each in the order of the ids, and no further than a page needs.
"""

import re
from typing import Any, Final

from pymongo.errors import OperationFailure

from fhir_server.search.access import Access
from fhir_server.search.indexes import index_by_id, index_led_by
from fhir_server.search.sort import Filter, value_at
from fhir_server.search.types.common import END

MOST: Final = 4
"""So many systems are asked for each on its own."""
LONG: Final = 100
"""Lists that are longer are looked for by their own index."""
_TOKEN: Final = re.compile(r"\^((?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])*\\\|)")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


async def spelled_out(access: Access, type_: str, filter_: Filter) -> Filter:
    """Return the filter, at this moment the same, with values instead of patterns where they are few."""
    if access.repo.session is not None:
        return filter_  # An index that is not there yet would end the transaction.
    found = {field: await _spelled_out(access, type_, field, condition) for field, condition in filter_.items()}
    return found if found != filter_ else filter_


def index_for(type_: str, candidates: Filter, listed: Filter) -> dict[str, int] | None:
    """Return the keys of an index that has candidates in the order of their ids, and tells who of them is listed."""
    for field, condition in candidates.items():
        index = index_by_id(type_, field) if isinstance(condition, str) or _is_choice(condition) else None
        if index is not None and not listed.keys().isdisjoint(index):
            return index
    return None


def index_of_list(type_: str, filter_: Filter) -> dict[str, int] | None:
    """Return the keys of the index to look for what is listed, where that is so much that it is no matter of opinion.

    Left to itself MongoDB would try several ways at each list that is much longer than the one before.
    """
    for field, condition in filter_.items():
        if field.startswith("s.") and isinstance(condition, dict) and len(condition.get("$in", ())) > LONG:
            return index_led_by(type_, field)
    return None


def _is_choice(condition: Any) -> bool:
    return isinstance(condition, dict) and condition.keys() == {"$in"} and len(condition["$in"]) <= MOST


async def _spelled_out(access: Access, type_: str, field: str, condition: Any) -> Any:
    start = _start(condition)
    index = index_by_id(type_, field) if start else None
    values = await _values(access, type_, field, start, index, repeats="$regex" in condition) if index else None
    if not values:
        return condition
    return values[0] if len(values) == 1 else {"$in": values}


def _start(condition: Any) -> str:
    """Return the text, with the bar after the code, that entries begin with; "" if the condition is another one."""
    if not isinstance(condition, dict):
        return ""
    if condition.keys() == {"$regex"} and (pattern := _TOKEN.fullmatch(condition["$regex"])):
        return _ESCAPED.sub(r"\1", pattern[1])
    start = condition.get("$gte")
    between = isinstance(start, str) and condition == {"$gte": start, "$lt": f"{start}{END}"}
    return str(start) if between and str(start).endswith("|") else ""


async def _values(
    access: Access, type_: str, field: str, start: str, index: dict[str, int], *, repeats: bool
) -> list[str] | None:
    """Return the entries with this start, in their order; None where they are many or the index is not made yet."""
    found: list[str] = []
    least, end = start, start + END
    while len(found) <= MOST:
        bounds = {"$gte": least, "$lt": end}
        condition = {field: {"$elemMatch": bounds} if repeats else bounds}
        try:
            document = await access.first(type_, condition, field, index)
        except OperationFailure:
            return None
        if document is None:
            return found
        entries = value_at(document, field)
        found.append(min(entry for entry in (entries if repeats else [entries]) if least <= entry < end))
        least = found[-1] + "\0"
    return None
