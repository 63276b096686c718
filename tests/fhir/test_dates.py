from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.dates import EARLIEST, LATEST, interval, period, timing


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2012", utc(2012, 1, 1), utc(2013, 1, 1)),
        ("2012-02", utc(2012, 2, 1), utc(2012, 3, 1)),
        ("2012-12", utc(2012, 12, 1), utc(2013, 1, 1)),
        ("2012-02-29", utc(2012, 2, 29), utc(2012, 3, 1)),
        ("2012-02-29T10:30", utc(2012, 2, 29, 10, 30), utc(2012, 2, 29, 10, 31)),
        ("2012-02-29T10:30:05", utc(2012, 2, 29, 10, 30, 5), utc(2012, 2, 29, 10, 30, 6)),
        ("2012-02-29T10:30:05.1Z", utc(2012, 2, 29, 10, 30, 5, 100_000), utc(2012, 2, 29, 10, 30, 5, 101_000)),
        ("2012-02-29T10:30:05.123987654Z", utc(2012, 2, 29, 10, 30, 5, 123_000), utc(2012, 2, 29, 10, 30, 5, 124_000)),
        ("2012-02-29T23:30:00-05:00", utc(2012, 3, 1, 4, 30), utc(2012, 3, 1, 4, 30, 1)),
        ("2013-01-01T00:15:00+13:45", utc(2012, 12, 31, 10, 30), utc(2012, 12, 31, 10, 30, 1)),
        ("2016-12-31T23:59:60Z", utc(2017, 1, 1), utc(2017, 1, 1, 0, 0, 1)),
        ("9999", utc(9999, 1, 1), LATEST),
        ("9999-12-31", utc(9999, 12, 31), LATEST),
        ("0001-01-01T00:00:00+14:00", EARLIEST, EARLIEST + timedelta(seconds=1)),
    ],
)
def test_is_the_interval_that_it_may_mean(text: str, low: datetime, high: datetime) -> None:
    """A date stands for all instants that it leaves open."""
    assert interval(text) == (low, high)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "05",
        "201",
        "0000",
        "2012-13",
        "2012-02-30",
        "2012-2-3",
        "2012-W01-1",
        "2012-02-29T",
        "2012-02-29T10",
        "2012-02-29T25:00",
        "2012-02-29T10:00:61Z",
        "2012-02-29T10:00:00+15:00",
        "2012-02-29T10:00:00+01",
        "yesterday",
        "\uff12\uff10\uff11\uff12",
        "2012-02-29\n",
    ],
)
def test_refuses_what_is_no_date(text: str) -> None:
    """A text that is no FHIR date is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 -- the text may be PHI, so the message is nobody's business
        interval(text)


@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001 -- made aware below
def test_a_finer_date_lies_within_a_coarser_one(moment: datetime) -> None:
    """Second, minute, day, month and year of a moment contain each other."""
    texts = [moment.strftime(form) for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d", "%Y-%m", "%Y")]
    intervals = [interval(text.zfill(len(text))) for text in texts]
    for (low, high), (outer_low, outer_high) in pairwise(intervals):
        assert outer_low <= low < high <= outer_high


@given(st.text(max_size=30))
def test_any_text_is_a_date_or_a_value_error(text: str) -> None:
    """No text makes it fail in another way."""
    try:
        low, high = interval(text)
    except ValueError:
        return
    assert low <= high


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"start": "2012", "end": "2013"}, (utc(2012, 1, 1), utc(2014, 1, 1))),
        ({"start": "2012"}, (utc(2012, 1, 1), LATEST)),
        ({"end": "2012-01-01"}, (EARLIEST, utc(2012, 1, 2))),
        ({}, None),
    ],
)
def test_a_period_is_open_where_it_has_no_end(value: dict[str, Any], expected: Any) -> None:
    """A Period reaches to the end of time where it says nothing."""
    assert period(value) == expected


def test_a_timing_spans_its_events_and_bounds() -> None:
    """The outer limits of a Timing count."""
    value = {"event": ["2012-05-01", "2012-03-01"], "repeat": {"boundsPeriod": {"start": "2012-04", "end": "2012-06"}}}
    assert timing(value) == (utc(2012, 3, 1), utc(2012, 7, 1))
    assert timing({"repeat": {"frequency": 1}}) is None
