"""A change taken back although others have changed the same resource since."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.operations.merge.restoring import restored

S, T, U = ({"reference": f"Patient/{id_}"} for id_ in "stu")


def undone(before: Any, after: Any, current: Any) -> tuple[Any, list[str]]:
    found = restored(*({"resourceType": "X", **one} for one in (before, after, current)))
    return {name: value for name, value in found.value.items() if name != "resourceType"}, found.conflicts


def test_what_nobody_touched_is_as_it_was() -> None:
    assert undone({"a": S, "b": 1}, {"a": T, "b": 1}, {"a": T, "b": 1}) == ({"a": S, "b": 1}, [])


def test_what_others_changed_elsewhere_stays() -> None:
    assert undone({"a": S, "b": 1}, {"a": T, "b": 1}, {"a": T, "b": 2, "c": 3}) == ({"a": S, "b": 2, "c": 3}, [])


def test_a_reference_that_was_changed_again_is_left_and_told() -> None:
    assert undone({"a": S}, {"a": T}, {"a": U}) == ({"a": U}, ["X.a.reference"])


def test_a_reference_that_was_taken_away_is_no_conflict() -> None:
    assert undone({"a": S}, {"a": T}, {"b": 1}) == ({"b": 1}, [])


def test_a_reference_moves_back_in_a_list_that_others_have_added_to_and_shuffled() -> None:
    before = {"m": [{"e": S}, {"e": T}, {"e": U, "n": 1}]}
    after = {"m": [{"e": T}, {"e": T}, {"e": U, "n": 1}]}
    current = {"m": [{"e": U, "n": 9}, {"e": T}, {"e": T}, {"e": U, "n": 1}]}
    assert undone(before, after, current) == ({"m": [{"e": U, "n": 9}, {"e": S}, {"e": T}, {"e": U, "n": 1}]}, [])


def test_a_member_that_others_have_changed_in_its_place_moves_back_too() -> None:
    before = {"m": [{"e": S}, {"e": U}]}
    after = {"m": [{"e": T}, {"e": U}]}
    assert undone(before, after, {"m": [{"e": T, "x": 1}, {"e": U}]}) == ({"m": [{"e": S, "x": 1}, {"e": U}]}, [])


def test_members_that_were_added_go_unless_others_changed_them() -> None:
    before, after = {"i": [1]}, {"i": [1, 2, 3]}
    assert undone(before, after, {"i": [1, 2, 3, 4]}) == ({"i": [1, 4]}, [])
    assert undone(before, after, {"i": [1, 2, 9]}) == ({"i": [1, 9]}, ["X.i[2]"])


def test_a_list_that_was_made_goes_with_what_was_in_it() -> None:
    assert undone({}, {"l": [1]}, {"l": [1]}) == ({}, [])
    assert undone({}, {"l": [1]}, {"l": [1, 2]}) == ({"l": [2]}, [])


def test_members_that_were_removed_come_back_once() -> None:
    assert undone({"i": [1, 2]}, {"i": [1]}, {"i": [1, 5]}) == ({"i": [1, 5, 2]}, [])
    assert undone({"i": [1, 2]}, {"i": [1]}, {"i": [1, 2]}) == ({"i": [1, 2]}, [])


def test_stamps_of_versions_do_not_count_and_tags_do() -> None:
    before = {"meta": {"versionId": "1", "tag": [{"code": "x"}]}, "a": S}
    after = {"meta": {"versionId": "2", "tag": [{"code": "x"}]}, "a": T}
    current = {"meta": {"versionId": "3", "tag": [{"code": "x"}, {"code": "y"}]}, "a": T}
    assert undone(before, after, current) == ({"meta": {"tag": [{"code": "x"}, {"code": "y"}]}, "a": S}, [])


_LEAVES = st.sampled_from(["Patient/s", "Patient/t", "Patient/u", "x"])
_VALUES = st.recursive(
    _LEAVES | st.integers(0, 3),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
_RESOURCES = st.dictionaries(st.sampled_from("abcdef"), _VALUES, max_size=5)


@given(_RESOURCES, _RESOURCES)
def test_taking_back_an_untouched_change_gives_what_was_before(before: Any, after: Any) -> None:
    assert undone(before, after, after) == (before, [])


@given(_RESOURCES, _RESOURCES)
def test_taking_back_no_change_changes_nothing(before: Any, current: Any) -> None:
    assert undone(before, before, current) == (current, [])
