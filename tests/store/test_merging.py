"""Searches that differ in one value only are asked as one."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.merging import merged
from fhir_server.store.search import Search
from fhir_server.store.searches import CROWDED, Searches

COLLECTION = "Basic"


def _search(filter_: Mapping[str, Any], limit: int = 51, projection: Mapping[str, Any] | None = None) -> Search:
    return Search(COLLECTION, dict(filter_), projection or {"s": 0}, (("_id", 1),), limit, 5000)


def _document(number: int, codes: list[str] | str) -> dict[str, Any]:
    return {"_id": f"t/{number:03}", "i": str(number), "v": 1, "s": {"code": codes}}


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4), max_size=30),
    st.lists(st.sets(st.sampled_from("abcde"), min_size=1, max_size=3), min_size=2, max_size=8),
    st.integers(1, 5),
)
def test_each_search_gets_the_documents_that_it_would_have_found_alone(
    documents: list[list[str]], asked: list[set[str]], limit: int
) -> None:
    searches = [
        _search({"t": "t", "s.code": {"$in": sorted(values)} if len(values) > 1 else next(iter(values))}, limit)
        for values in asked
    ]
    stored = [_document(number, codes if number % 3 else codes[0]) for number, codes in enumerate(documents)]

    def alone(values: set[str]) -> list[str]:
        return [one["_id"] for one in stored if values & set(one["s"]["code"])][:limit]

    merge = merged(searches)

    assert merge is not None
    found = [one for one in stored if set(one["s"]["code"]) & set().union(*asked)]
    parts = list(merge.parts(found, searches))
    assert [[one["_id"] for one in part] for part in parts] == [alone(values) for values in asked]


@pytest.mark.parametrize(
    "filters",
    [
        ({"t": "a", "s.code": "x"}, {"t": "b", "s.code": "x"}),
        ({"t": "a", "s.code": "x"}, {"t": "b", "s.code": "y"}),
        ({"t": "a", "s.code": "x", "s.type": "1"}, {"t": "a", "s.code": "y", "s.type": "2"}),
        ({"t": "a", "s.name": {"$gte": "x", "$lt": "y"}}, {"t": "a", "s.name": {"$gte": "y", "$lt": "z"}}),
        ({"t": "a", "$or": [{"s.code": "x"}]}, {"t": "a", "$or": [{"s.code": "y"}]}),
        ({"t": "a", "s.date.l": "x"}, {"t": "a", "s.date.l": "y"}),
        ({"t": "a", "s.code": {"$in": ["x", 1]}}, {"t": "a", "s.code": {"$in": ["y"]}}),
        ({"t": "a", "u": "x"}, {"t": "a", "u": "y"}),
    ],
    ids=["tenants", "tenants and values", "two values", "ranges", "alternatives", "members", "numbers", "no index field"],
)
def test_what_could_not_be_told_apart_is_not_merged(filters: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert merged([_search(one) for one in filters]) is None


def test_equal_searches_are_asked_once() -> None:
    merge = merged([_search({"t": "a", "$or": [{"s.code": "x"}]})] * 3)

    assert merge is not None
    assert merge.search.filter == {"t": "a", "$or": [{"s.code": "x"}]}
    first, second, _ = merge.parts([_document(1, "x")], [merge.search] * 3)
    assert first == second
    assert first[0] is not second[0]


class _Lanes:
    """Lanes that find everything in a list, and remember what they were asked."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self._documents = documents
        self.commands: list[dict[str, Any]] = []

    async def read(self, _database: str, command: dict[str, Any], _options: Any) -> list[dict[str, Any]]:
        self.commands.append(command)
        if "aggregate" in command:
            return [{**self._documents[0], "_b": mark} for mark in range(len(command["pipeline"]) - 4)]
        return self._documents[: command["limit"]]


async def test_searches_that_find_too_much_together_go_side_by_side_for_a_while(database: AsyncDatabase[dict[str, Any]]) -> None:
    lanes = _Lanes([_document(number, "x") for number in range(50)])
    searches = Searches(lanes, database.name, CODEC_OPTIONS)  # type: ignore[arg-type]
    asked = [_search({"t": "a", "s.code": code}, limit=3) for code in "xy"]

    for _ in range(2):
        await searches._together(asked)

    assert ["find" if "find" in command else "aggregate" for command in lanes.commands] == ["find", "aggregate", "aggregate"]
    for _ in range(CROWDED):
        await searches._together(asked)
    assert "find" in lanes.commands[-2]
