from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fhir_server.fhir.dates import EARLIEST, LATEST
from fhir_server.fhir.outcome import FhirError
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter, sort_field

NOW = datetime(2024, 1, 1, tzinfo=UTC)
LOW, HIGH = datetime(2014, 5, 11, tzinfo=UTC), datetime(2014, 5, 12, tzinfo=UTC)
YEAR = timedelta(days=366)


def find(type_: str, code: str, value: str, modifier: str = "") -> dict[str, Any]:
    parameter = BUILTIN.get(type_, code)
    assert parameter is not None
    return parameter_filter(parameter, modifier, [value], now=NOW)


def test_an_entry_is_an_interval() -> None:
    """Of a single date a plain one."""
    assert entries({"resourceType": "Patient", "birthDate": "2014-05-11"})["birthdate"] == {"l": LOW, "h": HIGH}


def test_periods_that_last_longer_than_a_year_have_their_end_apart() -> None:
    """An open Period reaches to the end of time."""
    found = entries({"resourceType": "Encounter", "period": {"start": "2014-05-11"}})
    assert (found["date"], found["date:long"]) == ({"l": LOW, "h": LATEST}, [LATEST])
    assert "date:long" not in entries({"resourceType": "Encounter", "period": {"start": "2014-05-11", "end": "2014-06"}})
    assert entries({"resourceType": "Encounter", "period": {"end": "2014-05-11"}})["date"]["l"] == EARLIEST


def test_texts_that_are_no_dates_have_no_entry() -> None:
    """CarePlan's activity-date may be a text."""
    care_plan = {
        "resourceType": "CarePlan",
        "activity": [{"detail": {"scheduledString": "soon"}}, {"detail": {"scheduledString": "2014-05-11"}}],
    }
    assert entries(care_plan)["activity-date"] == [{"l": LOW, "h": HIGH}] * 2


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        ("2014-05-11", {"s.birthdate.l": {"$gte": LOW, "$lte": HIGH}, "s.birthdate.h": {"$lte": HIGH}}),
        ("ne2014-05-11", {"$or": [{"s.birthdate.l": {"$lt": LOW}}, {"s.birthdate.h": {"$gt": HIGH}}]}),
        ("lt2014-05-11", {"s.birthdate.l": {"$lt": LOW}}),
        ("sa2014-05-11", {"s.birthdate.l": {"$gte": HIGH}}),
        ("eb2014-05-11", {"s.birthdate.l": {"$lte": LOW}, "s.birthdate.h": {"$lte": LOW}}),
        ("gt2014-05-11", {"s.birthdate.l": {"$gt": HIGH - YEAR - timedelta(milliseconds=1)}, "s.birthdate.h": {"$gt": HIGH}}),
    ],
)
def test_prefixes_compare_intervals(value: str, condition: dict[str, Any]) -> None:
    """Each bounds the low end, which leads the index."""
    assert find("Patient", "birthdate", value) == condition


def test_several_dates_meet_a_condition_in_one_entry() -> None:
    """Of an array one element has to meet it all."""
    assert find("CarePlan", "activity-date", "lt2014-05-11") == {"s.activity-date": {"$elemMatch": {"l": {"$lt": LOW}}}}


def test_what_may_last_long_is_looked_for_twice() -> None:
    """By the bounded interval, and by the end alone."""
    bounded, long = find("Encounter", "date", "gt2014-05-11")["$or"]
    assert bounded["s.date.h"] == {"$gt": HIGH}
    assert long == {"s.date:long": {"$gt": HIGH}}


def test_approximately_allows_a_tenth_of_the_time_to_now() -> None:
    """The further away, the wider."""
    condition = find("Patient", "birthdate", "ap2014-01-01")
    margin = (NOW - datetime(2014, 1, 1, tzinfo=UTC)) / 10
    assert condition["s.birthdate.h"] == {"$gt": datetime(2014, 1, 1, tzinfo=UTC) - margin}
    assert condition["s.birthdate.l"]["$lt"] == datetime(2014, 1, 2, tzinfo=UTC) + margin


@pytest.mark.parametrize(
    ("prefix", "condition"),
    [
        ("", {"u": {"$gte": LOW, "$lt": HIGH}}),
        ("ne", {"$or": [{"u": {"$lt": LOW}}, {"u": {"$gte": HIGH}}]}),
        ("gt", {"u": {"$gte": HIGH}}),
        ("ge", {"u": {"$gte": LOW}}),
        ("lt", {"u": {"$lt": LOW}}),
        ("le", {"u": {"$lt": HIGH}}),
    ],
)
def test_last_updated_is_a_moment(prefix: str, condition: dict[str, Any]) -> None:
    """It has no interval of its own."""
    assert find("Patient", "_lastUpdated", f"{prefix}2014-05-11") == condition


def test_a_plus_that_became_a_space_is_understood() -> None:
    """Many clients forget to percent-encode it."""
    assert find("Patient", "birthdate", "lt2014-05-11T02:00:00 02:00") == {"s.birthdate.l": {"$lt": LOW}}


@pytest.mark.parametrize("value", ["yesterday", "05", "2014-13", "", "gt", "xx2014"])
def test_refuses_what_is_no_date(value: str) -> None:
    """A 400 quotes it."""
    with pytest.raises(FhirError, match=f"{value!r}") as refused:
        find("Patient", "birthdate", value)
    assert refused.value.status == 400


def test_has_no_modifier_but_missing() -> None:
    """Absence and presence are asked of the field."""
    assert find("Patient", "birthdate", "true", "missing") == {"s.birthdate.l": {"$exists": False}}
    assert find("Patient", "birthdate", "false", "missing") == {"s.birthdate.l": {"$exists": True}}
    with pytest.raises(FhirError, match="expected true or false"):
        find("Patient", "birthdate", "maybe", "missing")
    with pytest.raises(
        FhirError, match="The modifier :exact is not supported for 'birthdate', of type date; these are: :missing"
    ):
        find("Patient", "birthdate", "2014", "exact")


def test_sorts_by_the_low_end() -> None:
    """Of several upwards by the least, downwards by the greatest."""
    birthdate, activity = BUILTIN.get("Patient", "birthdate"), BUILTIN.get("CarePlan", "activity-date")
    updated = BUILTIN.get("Patient", "_lastUpdated")
    assert birthdate is not None
    assert activity is not None
    assert updated is not None
    assert sort_field(birthdate) == sort_field(birthdate, descending=True) == "s.birthdate.l"
    assert (sort_field(activity), sort_field(activity, descending=True)) == ("s.activity-date.0.l", "s.activity-date.1.l")
    assert sort_field(updated) == "u"
