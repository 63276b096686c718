"""When a CommunicationRequest is due."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.clock import CLOCK_CODES, clock_of
from prm_ext.notifications.occurrences import Occurrence, next_occurrence

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)  # A Tuesday; 09:30 in New York.
AUTHORED = "2026-11-24T14:30:00Z"
GTS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def asked(**more: Any) -> dict[str, Any]:
    return {"resourceType": "CommunicationRequest", "id": "1", "status": "active", "authoredOn": AUTHORED, **more}


def due(zone: Any = NEW_YORK, after: datetime | None = None, **more: Any) -> Occurrence | None:
    return next_occurrence(asked(**more), after=after, zone=zone, now=NOW)


def times(number: int, zone: Any = NEW_YORK, *, now: datetime = NOW, **timing: Any) -> list[str]:
    """Return the first occurrences of a Timing, as the recipient's clock shows them."""
    request, found, after = asked(occurrenceTiming=timing), [], None
    while len(found) < number:
        one = next_occurrence(request, after=after, zone=zone, now=now)
        if one is None:
            break
        found.append(f"{one.at.astimezone(zone):%a %m-%d %H:%M}")
        after = one.at
    return found


def refused(**more: Any) -> str:
    with pytest.raises(FhirError) as raised:
        due(**more)
    assert raised.value.status == 422
    assert raised.value.issues[0].code == "business-rule"
    assert raised.value.issues[0].expression[0].startswith("CommunicationRequest.occurrence")
    return raised.value.issues[0].diagnostics


# Once


def test_a_request_without_an_occurrence_is_due_when_it_was_written():
    assert due() == Occurrence(NOW, None, "")
    assert due(authoredOn="2026-11-24T08:00:00-05:00") == Occurrence(utc(2026, 11, 24, 13), None, "")


def test_a_request_written_ahead_of_this_clock_is_due_now():
    assert due(authoredOn="2026-11-24T14:40:00Z") == Occurrence(NOW, None, "")


def test_a_request_written_on_a_day_is_due_when_it_came_here_that_day():
    stored = {"lastUpdated": "2026-11-24T14:29:00.000Z"}
    assert due(authoredOn="2026-11-24", meta=stored) == Occurrence(utc(2026, 11, 24, 14, 29), None, "")
    assert due(authoredOn="2026-11-20", meta=stored) == Occurrence(utc(2026, 11, 21, 5), None, "")


def test_a_request_that_says_nothing_of_time_is_due_when_it_was_stored():
    request = {"resourceType": "CommunicationRequest", "meta": {"lastUpdated": "2026-11-24T14:29:58.123Z"}}
    assert next_occurrence(request, after=None, zone=UTC, now=NOW) == Occurrence(utc(2026, 11, 24, 14, 29, 58, 123000), None, "")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-12-01T09:05:00-05:00", utc(2026, 12, 1, 14, 5)),
        ("2026-12-01T09:05:00.5Z", utc(2026, 12, 1, 9, 5, 0, 500000)),
        ("2026-12-01", utc(2026, 12, 1, 14)),
        ("2026-12", utc(2026, 12, 1, 14)),
        ("2027", utc(2027, 1, 1, 14)),
        ("2026-07-01", utc(2026, 7, 1, 13)),
        ("2020-01-01T00:00:00Z", utc(2020, 1, 1)),
    ],
)
def test_a_date_time_is_an_instant_and_a_day_is_its_morning(text: str, at: datetime):
    assert due(occurrenceDateTime=text) == Occurrence(at, None, "")


def test_what_happens_once_does_not_happen_again():
    assert due(occurrenceDateTime="2026-12-01T09:05:00Z", after=utc(2026, 12, 1, 9, 5)) is None
    assert due(after=NOW) is None


def test_a_period_says_when_and_until_when():
    period = {"start": "2026-12-01T09:00:00Z", "end": "2026-12-01T11:00:00Z"}
    assert due(occurrencePeriod=period) == Occurrence(utc(2026, 12, 1, 9), utc(2026, 12, 1, 11, 0, 1), "")
    assert due(occurrencePeriod={"start": "2026-12-01"}) == Occurrence(utc(2026, 12, 1, 14), None, "")


def test_a_period_without_a_start_begins_when_it_was_asked_for():
    assert due(occurrencePeriod={"end": "2026-11-25"}) == Occurrence(NOW, utc(2026, 11, 26, 5), "")


def test_a_period_of_days_ends_with_the_last_of_them():
    period = {"start": "2026-12-01", "end": "2026-12-01"}
    assert due(occurrencePeriod=period) == Occurrence(utc(2026, 12, 1, 14), utc(2026, 12, 2, 5), "")


def test_a_period_that_ends_before_the_morning_begins_with_the_day():
    period = {"start": "2026-12-01", "end": "2026-12-01T12:00:00Z"}
    assert due(occurrencePeriod=period) == Occurrence(utc(2026, 12, 1, 5), utc(2026, 12, 1, 12, 0, 1), "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"occurrencePeriod": {"start": "2026-12-02", "end": "2026-12-01"}}, "ends before it begins"),
        ({"occurrencePeriod": {}}, "neither start nor end"),
        ({"occurrencePeriod": {"start": "soon"}}, "'soon' is no date"),
        ({"occurrencePeriod": {"end": "later"}}, "'later' is no date"),
        ({"occurrenceDateTime": "tomorrow"}, "'tomorrow' is no date"),
        ({"occurrenceDateTime": "0001-01-01"}, "'0001-01-01' is no date"),
        ({"_occurrenceDateTime": {"extension": []}}, "occurrenceDateTime has no value"),
    ],
)
def test_what_is_no_time_is_refused_with_a_reason(more: dict[str, Any], said: str):
    zone = ZoneInfo("Asia/Tokyo")
    assert said in refused(zone=zone, **more)


# Events


def test_events_are_due_one_after_the_other_each_once():
    events = ["2026-12-02T10:00:00Z", "2026-12-01", "2026-12-02T10:00:00Z"]
    assert times(9, event=events) == ["Tue 12-01 09:00", "Wed 12-02 05:00"]
    first = due(occurrenceTiming={"event": events})
    assert first == Occurrence(utc(2026, 12, 1, 14), utc(2026, 12, 2, 10), "20261201T140000Z")
    assert due(occurrenceTiming={"event": events}, after=first.at) == Occurrence(utc(2026, 12, 2, 10), None, "20261202T100000Z")


def test_a_single_event_is_as_a_date_time():
    timing = {"event": ["2026-12-02T10:00:00Z"]}
    assert due(occurrenceTiming=timing) == Occurrence(utc(2026, 12, 2, 10), None, "")
    assert due(occurrenceTiming=timing, after=utc(2026, 12, 2, 10)) is None


def test_bounds_alone_are_as_a_period():
    bounds = {"start": "2026-12-02T10:00:00Z", "end": "2026-12-03"}
    assert due(occurrenceTiming={"repeat": {"boundsPeriod": bounds}}) == Occurrence(utc(2026, 12, 2, 10), utc(2026, 12, 4, 5), "")
    one = {"event": ["2026-12-02"], "repeat": {"count": 1, "boundsDuration": {"value": 2, "code": "h"}}}
    assert due(occurrenceTiming=one) == Occurrence(utc(2026, 12, 2, 14), utc(2026, 12, 2, 16), "")


# Repeats


def test_a_daily_reminder_begins_with_the_next_morning():
    daily = {"frequency": 1, "period": 1, "periodUnit": "d"}
    assert times(3, repeat=daily) == ["Wed 11-25 09:00", "Thu 11-26 09:00", "Fri 11-27 09:00"]
    assert times(1, repeat={**daily, "timeOfDay": ["09:45:00"]}) == ["Tue 11-24 09:45"]


def test_a_daily_reminder_keeps_the_time_of_the_day_of_its_start():
    repeat = {"period": 1, "periodUnit": "d", "boundsPeriod": {"start": "2026-11-24T14:05:00Z"}}
    assert times(2, repeat=repeat, now=utc(2026, 11, 24, 14, 5)) == ["Tue 11-24 09:05", "Wed 11-25 09:05"]
    assert times(2, repeat={"period": 1, "periodUnit": "d"}, event=["2026-12-01T08:15:00-05:00"]) == [
        "Tue 12-01 08:15",
        "Wed 12-02 08:15",
    ]


def test_a_repeat_has_the_next_one_as_its_end():
    repeat = {"timeOfDay": ["09:00:00", "21:00:00"], "boundsPeriod": {"start": "2026-12-01", "end": "2026-12-01"}}
    first = due(occurrenceTiming={"repeat": repeat})
    assert first == Occurrence(utc(2026, 12, 1, 14), utc(2026, 12, 2, 2), "20261201T140000Z")
    second = due(occurrenceTiming={"repeat": repeat}, after=first.at)
    assert second == Occurrence(utc(2026, 12, 2, 2), utc(2026, 12, 2, 5), "20261202T020000Z")
    assert due(occurrenceTiming={"repeat": repeat}, after=second.at) is None


def test_nine_stays_nine_when_clocks_change():
    repeat = {"timeOfDay": ["09:00:00"], "boundsPeriod": {"start": "2026-10-30"}}
    now = utc(2026, 10, 29)
    found, after = [], None
    for _ in range(4):
        one = next_occurrence(asked(occurrenceTiming={"repeat": repeat}), after=after, zone=NEW_YORK, now=now)
        found.append(one.at)
        after = one.at
    assert found == [utc(2026, 10, 30, 13), utc(2026, 10, 31, 13), utc(2026, 11, 1, 14), utc(2026, 11, 2, 14)]


def test_a_time_that_clocks_leave_out_moves_forward_and_one_they_show_twice_comes_once():
    spring = {"timeOfDay": ["02:30:00"], "boundsPeriod": {"start": "2026-03-07", "end": "2026-03-09"}}
    assert times(5, repeat=spring, now=utc(2026, 3, 1)) == ["Sat 03-07 02:30", "Sun 03-08 03:30", "Mon 03-09 02:30"]
    autumn = {"timeOfDay": ["01:30:00"], "boundsPeriod": {"start": "2026-10-31", "end": "2026-11-02"}}
    assert times(5, repeat=autumn, now=utc(2026, 10, 1)) == ["Sat 10-31 01:30", "Sun 11-01 01:30", "Mon 11-02 01:30"]


def test_times_that_clocks_move_onto_each_other_or_past_each_other_keep_their_order():
    repeat = {"timeOfDay": ["02:30:00", "03:00:00", "03:30:00"], "boundsPeriod": {"start": "2026-03-08", "end": "2026-03-08"}}
    assert times(5, repeat=repeat, now=utc(2026, 3, 1)) == ["Sun 03-08 03:00", "Sun 03-08 03:30"]


def test_hours_are_real_hours_across_a_change_of_clocks():
    repeat = {"period": 6, "periodUnit": "h", "boundsPeriod": {"start": "2026-10-31T22:00:00-04:00"}}
    assert times(3, repeat=repeat, now=utc(2026, 10, 30)) == ["Sat 10-31 22:00", "Sun 11-01 03:00", "Sun 11-01 09:00"]


def test_hours_begin_with_the_request_or_with_the_morning_of_its_first_day():
    assert times(2, repeat={"period": 4, "periodUnit": "h"}) == ["Tue 11-24 09:30", "Tue 11-24 13:30"]
    bounds = {"boundsPeriod": {"start": "2026-12-01"}}
    assert times(2, repeat={"period": 4, "periodUnit": "h", **bounds}) == ["Tue 12-01 09:00", "Tue 12-01 13:00"]
    assert times(2, repeat={"frequency": 3, "period": 1, "periodUnit": "h", **bounds}) == ["Tue 12-01 09:00", "Tue 12-01 09:20"]
    assert times(2, repeat={"period": 0.5, "periodUnit": "d", **bounds}) == ["Tue 12-01 09:00", "Tue 12-01 21:00"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (2, ["08:00", "20:00"]),
        (3, ["08:00", "14:00", "20:00"]),
        (4, ["08:00", "12:00", "16:00", "20:00"]),
        (5, ["08:00", "11:00", "14:00", "17:00", "20:00"]),
    ],
)
def test_several_times_a_day_are_spread_over_the_day(number: int, expected: list[str]):
    repeat = {"frequency": number, "period": 1, "periodUnit": "d", "boundsPeriod": {"start": "2026-12-01"}}
    assert times(number, repeat=repeat) == [f"Tue 12-01 {time}" for time in expected]


def test_several_times_in_several_days_are_spread_over_them():
    bounds = {"boundsPeriod": {"start": "2026-12-01"}}
    assert times(4, repeat={"frequency": 2, "period": 1, "periodUnit": "wk", **bounds}) == [
        "Tue 12-01 09:00",
        "Fri 12-04 09:00",
        "Tue 12-08 09:00",
        "Fri 12-11 09:00",
    ]
    assert times(4, repeat={"frequency": 3, "period": 2, "periodUnit": "d", **bounds}) == [
        "Tue 12-01 08:00",
        "Tue 12-01 20:00",
        "Wed 12-02 09:00",
        "Thu 12-03 08:00",
    ]


def test_days_of_the_week_choose_days():
    assert times(4, repeat={"dayOfWeek": ["mon", "wed", "fri"], "timeOfDay": ["10:00:00"]}) == [
        "Wed 11-25 10:00",
        "Fri 11-27 10:00",
        "Mon 11-30 10:00",
        "Wed 12-02 10:00",
    ]
    assert times(2, repeat={"dayOfWeek": ["tue"]}) == ["Tue 12-01 09:00", "Tue 12-08 09:00"]
    working = {"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon", "tue", "wed", "thu", "fri"]}
    assert times(3, repeat={**working, "boundsPeriod": {"start": "2026-11-27"}}) == [
        "Fri 11-27 09:00",
        "Mon 11-30 09:00",
        "Tue 12-01 09:00",
    ]


def test_every_other_week_counts_from_the_week_of_the_start():
    repeat = {"period": 2, "periodUnit": "wk", "dayOfWeek": ["mon", "fri"], "boundsPeriod": {"start": "2026-11-25"}}
    assert times(4, repeat=repeat) == ["Fri 11-27 09:00", "Mon 12-07 09:00", "Fri 12-11 09:00", "Mon 12-21 09:00"]


def test_every_other_week_begins_with_the_next_where_this_one_has_passed():
    repeat = {"period": 2, "periodUnit": "wk", "dayOfWeek": ["mon"]}
    assert times(2, repeat=repeat) == ["Mon 11-30 09:00", "Mon 12-14 09:00"]


def test_more_times_a_week_than_days_are_spread_over_the_days():
    repeat = {
        "frequency": 4,
        "period": 1,
        "periodUnit": "wk",
        "dayOfWeek": ["mon", "wed"],
        "boundsPeriod": {"start": "2026-11-30"},
    }
    assert times(4, repeat=repeat) == ["Mon 11-30 08:00", "Mon 11-30 20:00", "Wed 12-02 08:00", "Wed 12-02 20:00"]


def test_months_and_years_keep_their_day_as_far_as_there_is_one():
    monthly = {"period": 1, "periodUnit": "mo", "boundsPeriod": {"start": "2027-01-31"}}
    assert times(3, repeat=monthly) == ["Sun 01-31 09:00", "Sun 02-28 09:00", "Wed 03-31 09:00"]
    yearly = {"period": 1, "periodUnit": "a", "boundsPeriod": {"start": "2028-02-29"}}
    found = due(occurrenceTiming={"repeat": yearly}, after=utc(2031, 6, 1))
    assert found.at == utc(2032, 2, 29, 14)
    assert times(2, repeat={"period": 1, "periodUnit": "mo", "dayOfWeek": ["mon"], "boundsPeriod": {"start": "2026-12-01"}}) == [
        "Mon 12-07 09:00",
        "Mon 01-04 09:00",
    ]


def test_hours_on_certain_days_stay_on_them():
    repeat = {"period": 8, "periodUnit": "h", "dayOfWeek": ["sat"], "boundsPeriod": {"start": "2026-11-27"}}
    assert times(4, repeat=repeat) == ["Sat 11-28 01:00", "Sat 11-28 09:00", "Sat 11-28 17:00", "Sat 12-05 01:00"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("BID", ["Tue 12-01 08:00", "Tue 12-01 20:00", "Wed 12-02 08:00"]),
        ("TID", ["Tue 12-01 08:00", "Tue 12-01 14:00", "Tue 12-01 20:00"]),
        ("QID", ["Tue 12-01 08:00", "Tue 12-01 12:00", "Tue 12-01 16:00"]),
        ("QD", ["Tue 12-01 09:00", "Wed 12-02 09:00", "Thu 12-03 09:00"]),
        ("AM", ["Tue 12-01 09:00", "Wed 12-02 09:00", "Thu 12-03 09:00"]),
        ("PM", ["Tue 12-01 15:00", "Wed 12-02 15:00", "Thu 12-03 15:00"]),
        ("BED", ["Tue 12-01 20:30", "Wed 12-02 20:30", "Thu 12-03 20:30"]),
        ("QOD", ["Tue 12-01 09:00", "Thu 12-03 09:00", "Sat 12-05 09:00"]),
        ("WK", ["Tue 12-01 09:00", "Tue 12-08 09:00", "Tue 12-15 09:00"]),
        ("MO", ["Tue 12-01 09:00", "Fri 01-01 09:00", "Mon 02-01 09:00"]),
        ("Q1H", ["Tue 12-01 09:00", "Tue 12-01 10:00", "Tue 12-01 11:00"]),
        ("Q6H", ["Tue 12-01 09:00", "Tue 12-01 15:00", "Tue 12-01 21:00"]),
        ("Q8H", ["Tue 12-01 09:00", "Tue 12-01 17:00", "Wed 12-02 01:00"]),
    ],
)
def test_an_abbreviation_says_it_all_but_the_bounds(code: str, expected: list[str]):
    timing = {"code": {"coding": [{"system": GTS, "code": code}]}, "repeat": {"boundsPeriod": {"start": "2026-12-01"}}}
    assert times(3, **timing) == expected


def test_data_rule_over_the_code():
    timing = {"code": {"coding": [{"system": "urn:x", "code": "noon"}]}, "repeat": {"timeOfDay": ["12:00:00"]}}
    assert times(1, **timing) == ["Tue 11-24 12:00"]


@pytest.mark.parametrize(
    ("when", "offset", "expected"),
    [
        (["HS"], None, ["20:30"]),
        (["HS"], 30, ["20:00"]),
        (["WAKE"], 15, ["07:15"]),
        (["PHS"], None, ["07:00"]),
        (["MORN", "EVE"], None, ["09:00", "19:00"]),
        (["MORN"], 10, ["09:10"]),
        (["C"], None, ["08:00", "12:30", "18:30"]),
        (["CM", "CV"], None, ["08:00", "18:30"]),
        (["AC"], None, ["07:30", "12:00", "18:00"]),
        (["ACD"], 60, ["11:30"]),
        (["PC"], None, ["08:30", "13:00", "19:00"]),
        (["PCV"], 45, ["19:15"]),
        (["NOON", "NIGHT", "AFT.late"], None, ["12:00", "17:00", "22:00"]),
    ],
)
def test_times_of_daily_life_are_clock_times(when: list[str], offset: int | None, expected: list[str]):
    repeat = {"when": when, "boundsPeriod": {"start": "2026-12-01"}, **({} if offset is None else {"offset": offset})}
    assert times(len(expected) + 1, repeat=repeat) == [*(f"Tue 12-01 {one}" for one in expected), f"Wed 12-02 {expected[0]}"]


def test_every_code_of_an_event_has_its_times():
    assert {code for code in CLOCK_CODES if not times(1, repeat={"when": [code]})} == set()
    assert len(CLOCK_CODES) == 26


def test_a_tenant_has_its_own_times():
    clock = clock_of('{"MORN": "08:00", "BID": ["19:00", "07:00"]}')
    bid = asked(occurrenceTiming={"code": {"coding": [{"code": "BID"}]}})
    assert next_occurrence(bid, after=None, zone=UTC, now=NOW, clock=clock).at == utc(2026, 11, 24, 19)
    day = asked(occurrenceDateTime="2026-12-01")
    assert next_occurrence(day, after=None, zone=UTC, now=NOW, clock=clock).at == utc(2026, 12, 1, 8)


@pytest.mark.parametrize("text", ['{"LUNCH": "12:00"}', '{"BID": "08:00"}', '{"HS": 21}', '{"HS": "9pm"}', "[]", '["x"]', "{"])
def test_times_that_are_none_are_no_setting(text: str):
    with pytest.raises(ValueError, match=r"."):
        clock_of(text)


# Bounds


def test_a_count_is_kept():
    repeat = {"period": 1, "periodUnit": "d", "count": 3, "countMax": 5}
    assert times(9, repeat=repeat) == ["Wed 11-25 09:00", "Thu 11-26 09:00", "Fri 11-27 09:00"]


def test_what_is_counted_includes_what_has_passed():
    repeat = {"period": 1, "periodUnit": "d", "count": 5, "boundsPeriod": {"start": "2026-11-22"}}
    assert times(9, repeat=repeat) == ["Wed 11-25 09:00", "Thu 11-26 09:00"]
    assert times(9, repeat={**repeat, "count": 2}) == []


@pytest.mark.parametrize(
    ("bounds", "number"),
    [
        ({"boundsDuration": {"value": 7, "code": "d", "system": "http://unitsofmeasure.org"}}, 7),
        ({"boundsDuration": {"value": 1, "unit": "wk"}}, 7),
        ({"boundsDuration": {"value": 1, "code": "mo"}}, 30),
        ({"boundsDuration": {"value": 36, "code": "h"}}, 2),
        ({"boundsRange": {"low": {"value": 2, "code": "d"}, "high": {"value": 4, "code": "d"}}}, 4),
        ({"boundsRange": {"low": {"value": 2, "code": "d"}}}, 2),
        ({"boundsPeriod": {"end": "2026-11-26"}}, 2),
        ({"boundsPeriod": {"end": "2026-11-26T14:00:00Z"}}, 2),
        ({"boundsPeriod": {"end": "2026-11-26T13:59:59Z"}}, 1),
        ({"boundsPeriod": {"end": "2026-11-26"}, "count": 1}, 1),
        ({"boundsPeriod": {"end": "2026-11-26"}, "count": 9}, 2),
    ],
)
def test_bounds_end_it(bounds: dict[str, Any], number: int):
    assert len(times(40, repeat={"period": 1, "periodUnit": "d", **bounds})) == number


def test_a_duration_of_days_lasts_as_many_days_whenever_clocks_change():
    repeat = {"timeOfDay": ["09:00:00"], "boundsDuration": {"value": 3, "code": "d"}}
    begin = {"event": ["2026-10-31T09:00:00-04:00"]}
    assert times(9, repeat=repeat, now=utc(2026, 10, 30), **begin) == ["Sat 10-31 09:00", "Sun 11-01 09:00", "Mon 11-02 09:00"]


def test_what_passed_before_the_request_came_is_not_made_up_for():
    repeat = {"timeOfDay": ["09:00:00"], "boundsPeriod": {"start": "2025-01-01"}}
    assert times(1, repeat=repeat) == ["Wed 11-25 09:00"]


def test_what_passed_while_nobody_planned_is_made_up_for():
    repeat = {"timeOfDay": ["09:00:00"], "boundsPeriod": {"start": "2025-01-01"}}
    request = asked(occurrenceTiming={"repeat": repeat}, meta={"lastUpdated": "2026-11-20T00:00:00.000Z"})
    assert next_occurrence(request, after=None, zone=NEW_YORK, now=NOW).at == utc(2026, 11, 20, 14)


# What can not be


@pytest.mark.parametrize(
    ("timing", "said"),
    [
        ({}, "neither events nor how it repeats"),
        ({"event": ["x"]}, "'x' is no date"),
        ({"event": [None], "_event": [{}]}, "needs a value"),
        ({"event": ["2026-12-01"] * 5001}, "5000"),
        ({"event": ["2026-12-01", "2026-12-02"], "repeat": {"period": 1, "periodUnit": "d"}}, "Several events"),
        ({"code": {"text": "whenever"}}, "none of BID"),
        ({"code": {"coding": [{"system": "urn:x", "code": "BID"}]}}, "none of BID"),
        ({"repeat": {"count": 3}}, "does not say how often"),
        ({"repeat": {"duration": 3, "durationUnit": "h"}}, "does not say how often"),
        ({"repeat": {"count": 0, "timeOfDay": ["09:00:00"]}}, "count is 0"),
        ({"repeat": {"count": 5001, "timeOfDay": ["09:00:00"]}}, "count is 5001"),
        ({"repeat": {"frequency": 2}}, "needs period"),
        ({"repeat": {"frequency": 0, "period": 1, "periodUnit": "d"}}, "frequency is 0"),
        ({"repeat": {"frequency": 97, "period": 1, "periodUnit": "d"}}, "96 times a day"),
        ({"repeat": {"period": 0, "periodUnit": "d"}}, "0 is no length"),
        ({"repeat": {"period": -1, "periodUnit": "d"}}, "-1 is no length"),
        ({"repeat": {"period": "x", "periodUnit": "d"}}, "x is no length"),
        ({"repeat": {"period": 1, "periodUnit": "fortnight"}}, "'fortnight' is no periodUnit"),
        ({"repeat": {"period": 1}}, "no periodUnit"),
        ({"repeat": {"period": 1.5, "periodUnit": "mo"}}, "no whole number"),
        ({"repeat": {"period": 10**9, "periodUnit": "d"}}, "no whole number"),
        ({"repeat": {"period": 10**15, "periodUnit": "h"}}, "longer than dates go"),
        ({"repeat": {"period": 30, "periodUnit": "s"}}, "more often than every 60 seconds"),
        ({"repeat": {"frequency": 100, "period": 1, "periodUnit": "h"}}, "more often than every 60 seconds"),
        ({"repeat": {"period": 4, "periodUnit": "h", "timeOfDay": ["09:00:00"]}}, "goes with a period of whole days"),
        ({"repeat": {"timeOfDay": ["25:00:00"]}}, "'25:00:00' is no time"),
        ({"repeat": {"when": ["TEATIME"]}}, "'TEATIME'"),
        ({"repeat": {"when": ["HS"], "offset": 1440}}, "another day"),
        ({"repeat": {"when": ["HS"], "offset": 10**18}}, "'HS'"),
        ({"repeat": {"dayOfWeek": ["someday"]}}, "dayOfWeek"),
        ({"repeat": {"timeOfDay": ["09:00:00"], "boundsDuration": {"value": 3, "code": "moons"}}}, "'moons' is no unit"),
        ({"repeat": {"timeOfDay": ["09:00:00"], "boundsDuration": {"code": "d"}}}, "no length"),
        ({"repeat": {"timeOfDay": ["09:00:00"], "boundsDuration": {"value": 10**6, "code": "a"}}}, "dates go"),
        ({"repeat": {"timeOfDay": ["09:00:00"], "boundsDuration": {"value": 9000, "code": "a"}}}, "dates go"),
        ({"repeat": {"timeOfDay": ["09:00:00"], "boundsPeriod": {"end": "2026-11-01"}}}, "before they begin"),
    ],
)
def test_a_timing_that_can_not_be_understood_is_refused_with_a_reason(timing: dict[str, Any], said: str):
    assert said in refused(occurrenceTiming=timing)


def test_what_never_happens_has_no_occurrence():
    seldom = {"period": 7, "periodUnit": "d", "dayOfWeek": ["mon"], "boundsPeriod": {"start": "2026-11-24"}}
    assert times(1, repeat=seldom) == []
    assert times(1, repeat={**seldom, "period": 168, "periodUnit": "h"}) == []


def test_it_ends_with_the_calendar():
    for unit in ("d", "wk", "mo", "a", "h"):
        repeat = {"period": 1, "periodUnit": unit, "boundsPeriod": {"start": "9999-12-31T09:00:00Z"}}
        assert len(times(99, zone=UTC, repeat=repeat)) <= 15
        assert len(times(99, zone=UTC, repeat={**repeat, "dayOfWeek": ["fri"]})) <= 15


# Properties

ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC")
    ]
)
MOMENTS = st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
CLOCK_TIMES = st.times().map(lambda at: at.replace(microsecond=0).isoformat())
WEEKDAYS = st.lists(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, unique=True)
REPEATS = st.fixed_dictionaries(
    {"period": st.integers(1, 40), "periodUnit": st.sampled_from(["min", "h", "d", "wk", "mo", "a"])},
    optional={
        "frequency": st.integers(1, 12),
        "dayOfWeek": WEEKDAYS,
        "count": st.integers(1, 60),
        "boundsDuration": st.fixed_dictionaries({"value": st.integers(1, 90), "code": st.sampled_from(["h", "d", "wk", "mo"])}),
    },
)


@given(repeat=REPEATS, start=MOMENTS, now=MOMENTS, zone=ZONES)
def test_occurrences_are_bounded_go_forward_and_do_not_depend_on_how_they_are_reached(
    repeat: dict[str, Any], start: datetime, now: datetime, zone: ZoneInfo
):
    request = {"occurrenceTiming": {"event": [start.isoformat()], "repeat": repeat}}
    found, after = [], start - timedelta(seconds=1)
    try:
        for _ in range(12):
            one = next_occurrence(request, after=after, zone=zone, now=now)
            if one is None:
                break
            found.append(one)
            after = one.at
    except FhirError as error:
        assert error.status == 422
        return
    assert all(one.at < other.at and one.until == other.at for one, other in pairwise(found))
    assert all(one.at >= start and one.at.tzinfo is UTC for one in found)
    assert len({one.key for one in found}) == len(found)
    assert len(found) <= repeat.get("count", 12)
    for one in found:
        # From any moment before it and after the one before it, it is the next.
        assert next_occurrence(request, after=one.at - timedelta(microseconds=1), zone=zone, now=now) == one
        if "dayOfWeek" in repeat and repeat["periodUnit"] in ("min", "h"):
            assert f"{one.at.astimezone(zone):%a}".lower() in repeat["dayOfWeek"]


@given(at=CLOCK_TIMES, day=st.dates(date(2026, 1, 1), date(2030, 1, 1)), zone=ZONES)
def test_every_day_has_its_reminder_at_its_time_or_later_by_what_clocks_leave_out(at: str, day: Any, zone: ZoneInfo):
    repeat = {"timeOfDay": [at], "boundsPeriod": {"start": day.isoformat(), "end": (day + timedelta(days=3)).isoformat()}}
    request, found, after = {"occurrenceTiming": {"repeat": repeat}}, [], utc(2025, 1, 1)
    while (one := next_occurrence(request, after=after, zone=zone, now=NOW)) is not None:
        found.append(one.at.astimezone(zone))
        after = one.at
    assert [one.date() for one in found] == [day + timedelta(days=place) for place in range(4)]
    for one in found:
        late = one.replace(tzinfo=None) - datetime.fromisoformat(f"{one.date()}T{at}")
        assert timedelta() <= late <= timedelta(hours=1)


@given(
    timing=st.fixed_dictionaries(
        {},
        optional={
            "event": st.lists(st.sampled_from(["2026", "2026-12", "2026-12-01", "2026-12-01T10:00:00Z", "x", "9999-12-31"])),
            "code": st.sampled_from(["BID", "Q1H", "x"]).map(lambda code: {"coding": [{"code": code}]}),
            "repeat": st.fixed_dictionaries(
                {},
                optional={
                    "period": st.one_of(st.integers(-5, 10**12), st.floats(0, 3)),
                    "periodUnit": st.sampled_from(["s", "min", "h", "d", "wk", "mo", "a", "x"]),
                    "frequency": st.integers(-1, 10**9),
                    "count": st.integers(-1, 10**9),
                    "dayOfWeek": WEEKDAYS,
                    "timeOfDay": st.lists(CLOCK_TIMES, max_size=3),
                    "when": st.lists(st.sampled_from(["HS", "C", "PCD", "x"]), max_size=2),
                    "offset": st.integers(0, 10**12),
                    "boundsRange": st.just({"high": {"value": 3, "code": "d"}}),
                },
            ),
        },
    ),
    zone=ZONES,
)
def test_every_timing_has_an_occurrence_or_none_or_a_reason(timing: dict[str, Any], zone: ZoneInfo):
    try:
        found = next_occurrence(asked(occurrenceTiming=timing), after=None, zone=zone, now=NOW)
    except FhirError as error:
        assert (error.status, error.issues[0].code) == (422, "business-rule")
        return
    assert found is None or found.until is None or found.at < found.until
