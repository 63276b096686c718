"""The order of results: https://hl7.org/fhir/R4/search.html#sort."""

from fhir_server.search.access import is_positive, present_fields, sorted_pipeline
from fhir_server.search.query import SortKey
from fhir_server.search.registry import BUILTIN
from fhir_server.search.sort import AFTER_ALL, BEFORE_ALL, Key, Order, Segment, order_of

BORN = Key("s.birthdate.l")
ORDER = Order((BORN,), Key("_id", always=True))


def order(type_: str, sort: str) -> Order:
    keys = []
    for part in sort.split(","):
        parameter = BUILTIN.get(type_, part.removeprefix("-"))
        assert parameter is not None
        keys.append(SortKey(parameter, part.startswith("-")))
    return order_of(keys)


def test_without_sort_the_order_is_that_of_the_ids() -> None:
    assert order_of([]).segments(None, "") == [Segment({}, (("_id", 1),))]
    assert order_of([]).segments((), "t/5") == [Segment({"_id": {"$gt": "t/5"}}, (("_id", 1),))]


def test_the_id_comes_last_in_the_direction_of_the_key_before_it() -> None:
    assert order("Patient", "-birthdate").segments(None, "")[0].sort == (("s.birthdate.l", -1), ("_id", -1))
    assert order("Patient", "birthdate").segments(None, "")[0].sort == (("s.birthdate.l", 1), ("_id", 1))


def test_of_several_values_the_least_counts_upwards_and_the_greatest_downwards() -> None:
    assert [key.field for key in order("Patient", "family,-given").keys] == ["s.family.0", "s.given.1"]


def test_changes_are_sorted_by_the_index_of_changes() -> None:
    assert order("Patient", "-_lastUpdated").segments(None, "")[0].sort == (("u", -1), ("i", -1))


def test_nothing_follows_the_id() -> None:
    assert order("Patient", "-_id,birthdate").segments(None, "")[0].sort == (("_id", -1),)


def test_upwards_those_without_a_value_are_a_segment_of_their_own() -> None:
    assert ORDER.segments(None, "") == [
        Segment({"s.birthdate.l": {"$ne": None}}, (("s.birthdate.l", 1), ("_id", 1))),
        Segment({"s.birthdate.l": None}, (("_id", 1),)),
    ]


def test_downwards_they_come_last_by_themselves() -> None:
    down = Order((Key("s.birthdate.l", descending=True),), Key("_id", descending=True, always=True))
    assert down.segments(None, "") == [Segment({}, (("s.birthdate.l", -1), ("_id", -1)))]


def test_where_all_have_a_value_there_is_one_segment() -> None:
    for present in ("s.birthdate.l", "s.birthdate"):
        assert ORDER.segments(None, "", frozenset({present})) == [Segment({}, (("s.birthdate.l", 1), ("_id", 1)))]


def test_a_later_page_starts_with_a_bound_on_the_first_key() -> None:
    with_value, without = ORDER.segments((5,), "t/7")
    assert with_value.filter == {
        "$and": [
            {"s.birthdate.l": {"$ne": None}},
            {
                "$and": [
                    {"s.birthdate.l": {"$gte": 5}},
                    {"$or": [{"s.birthdate.l": {"$gt": 5}}, {"$and": [{"s.birthdate.l": 5}, {"_id": {"$gt": "t/7"}}]}]},
                ]
            },
        ]
    }
    assert without == Segment({"s.birthdate.l": None}, (("_id", 1),))


def test_a_page_among_those_without_a_value_goes_on_by_id() -> None:
    (only,) = ORDER.segments((None,), "t/7")
    assert only == Segment({"$and": [{"s.birthdate.l": None}, {"_id": {"$gt": "t/7"}}]}, (("_id", 1),))


def test_the_reverse_order_begins_with_those_without_a_value() -> None:
    without, with_value = ORDER.reversed().segments(None, "")
    assert without == Segment({"s.birthdate.l": None}, (("_id", -1),))
    assert with_value.sort == (("s.birthdate.l", -1), ("_id", -1))
    (only,) = ORDER.reversed().segments((5,), "t/7")
    assert only.sort == with_value.sort


def test_a_place_of_another_type_lies_before_or_after_all_that_sort_equal() -> None:
    assert ORDER.tie_value("t", BEFORE_ALL) == "t/"
    assert ORDER.tie_value("t", AFTER_ALL) == "t/\uffff"
    assert ORDER.reversed().tie_value("t", BEFORE_ALL) == "t/\uffff"
    assert ORDER.tie_value("t", "5") == "t/5"


def test_a_second_key_upwards_needs_a_flag_and_two_lists_need_computing() -> None:
    segment = order("Patient", "-gender,birthdate").segments(None, "")[0]
    assert segment.flags == ("s.birthdate.l",)
    assert segment.computed
    lists = order("Patient", "-family,-given").segments(None, "")[0]
    assert (lists.flags, lists.computed) == ((), True)
    assert not order("Patient", "-family,-gender").segments(None, "")[0].computed
    pipeline = sorted_pipeline({"t": "x"}, lists, {"r": 1}, 3)
    assert pipeline[1] == {
        "$addFields": {
            "_key_s_family_1": {"$ifNull": [{"$arrayElemAt": ["$s.family", 1]}, None]},
            "_key_s_given_1": {"$ifNull": [{"$arrayElemAt": ["$s.given", 1]}, None]},
        }
    }
    assert pipeline[2] == {"$sort": {"_key_s_family_1": -1, "_key_s_given_1": -1, "_id": -1}}


def test_a_filter_tells_which_fields_all_its_matches_have() -> None:
    """Those of which a deleted resource has none need no check for it."""
    assert present_fields(
        {"s.a": "x", "s.b": {"$gt": 1}, "s.c": None, "s.d": {"$in": ["x", None]}, "s.e": {"$exists": False}}
    ) == {
        "s.a",
        "s.b",
    }
    assert present_fields({"$or": [{"s.a": 1, "s.b": 1}, {"s.a": 2}], "$nor": [{"s.c": 1}]}) == {"s.a"}
    assert present_fields({"$and": [{"s.a": {"$elemMatch": {"$gt": 1}}}, {"s.b": {"$ne": None}}]}) == {"s.a", "s.b"}
    assert not is_positive({"$nor": [{"s.a": 1}]})
    assert not is_positive({"s.a": {"$eq": None}})
    assert not is_positive({"_id": "x", "s.a": {"$ne": 3}})
    assert is_positive({"s.a": {"$regex": "^x"}})
