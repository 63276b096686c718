"""Time zones of recipients, and when nobody is disturbed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prm_ext.notifications.hours import TIME_ZONE, allowed_at, zone_of
from prm_ext.notifications.settings import NotificationSettings

NEW_YORK = ZoneInfo("America/New_York")
NIGHT = "21:00-08:00"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("moment", "quiet", "allowed"),
    [
        (utc(2026, 11, 24, 14), NIGHT, utc(2026, 11, 24, 14)),
        (utc(2026, 11, 25, 1, 59), NIGHT, utc(2026, 11, 25, 1, 59)),
        (utc(2026, 11, 25, 2), NIGHT, utc(2026, 11, 25, 13)),
        (utc(2026, 11, 25, 5), NIGHT, utc(2026, 11, 25, 13)),
        (utc(2026, 11, 25, 12, 59, 59), NIGHT, utc(2026, 11, 25, 13)),
        (utc(2026, 11, 25, 13), NIGHT, utc(2026, 11, 25, 13)),
        (utc(2026, 11, 24, 17, 30), "12:00-13:00", utc(2026, 11, 24, 18)),
        (utc(2026, 11, 24, 18), "12:00-13:00", utc(2026, 11, 24, 18)),
        (utc(2026, 11, 24, 5), "00:00-06:30", utc(2026, 11, 24, 11, 30)),
        (utc(2026, 11, 24, 5), "", utc(2026, 11, 24, 5)),
        (utc(2026, 11, 24, 5), "09:00-09:00", utc(2026, 11, 24, 5)),
    ],
)
def test_what_is_due_in_quiet_hours_goes_at_their_end(moment: datetime, quiet: str, allowed: datetime):
    assert allowed_at(moment, NEW_YORK, quiet, "routine") == allowed


@pytest.mark.parametrize("priority", ["stat", "asap", "urgent"])
def test_pressing_messages_do_not_wait(priority: str):
    assert allowed_at(utc(2026, 11, 25, 5), NEW_YORK, NIGHT, priority) == utc(2026, 11, 25, 5)


def test_the_answer_is_in_utc_whatever_zone_was_asked_in():
    asked = datetime(2026, 11, 25, 0, 0, tzinfo=NEW_YORK)
    assert allowed_at(asked, NEW_YORK, NIGHT, "routine").tzinfo is UTC
    assert allowed_at(asked, NEW_YORK, "", "").tzinfo is UTC


def test_quiet_hours_end_by_the_clock_when_it_changes_in_the_night():
    assert allowed_at(utc(2026, 3, 8, 4), NEW_YORK, NIGHT, "") == utc(2026, 3, 8, 12)
    assert allowed_at(utc(2026, 11, 1, 4), NEW_YORK, NIGHT, "") == utc(2026, 11, 1, 13)


def test_an_end_that_clocks_leave_out_moves_forward():
    assert allowed_at(utc(2026, 3, 8, 6), NEW_YORK, "21:00-02:30", "") == utc(2026, 3, 8, 7, 30)


def test_an_end_that_clocks_show_twice_is_the_one_ahead():
    assert allowed_at(utc(2026, 11, 1, 5, 10), NEW_YORK, "23:00-01:30", "") == utc(2026, 11, 1, 5, 30)
    assert allowed_at(utc(2026, 11, 1, 6, 10), NEW_YORK, "23:00-01:30", "") == utc(2026, 11, 1, 6, 30)


ZONES = st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]).map(ZoneInfo)
CLOCK = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(seconds=st.integers(1_700_000_000, 2_000_000_000), zone=ZONES, begin=CLOCK, end=CLOCK)
def test_what_is_allowed_is_not_before_it_was_due_soon_and_outside_of_quiet_hours(
    seconds: int, zone: ZoneInfo, begin: Any, end: Any
):
    moment, quiet = datetime.fromtimestamp(seconds, UTC), f"{begin:%H:%M}-{end:%H:%M}"
    found = allowed_at(moment, zone, quiet, "routine")
    assert moment <= found <= moment + timedelta(hours=25)
    assert allowed_at(found, zone, quiet, "routine") == found
    at = found.astimezone(zone).time()
    assert begin == end or not (begin <= at < end if begin < end else at >= begin or at < end)


def named(zone: Any, url: str = TIME_ZONE[0]) -> list[dict[str, Any]]:
    return [{"url": "urn:x", "valueString": "x"}, {"url": url, "valueCode": zone}]


@pytest.mark.parametrize(
    ("recipient", "zone"),
    [
        (None, "America/Chicago"),
        ({}, "America/Chicago"),
        ({"extension": named("Europe/Madrid")}, "Europe/Madrid"),
        ({"extension": named("Europe/Madrid", TIME_ZONE[1])}, "Europe/Madrid"),
        ({"extension": named("Nowhere/Land"), "address": [{"extension": named("Asia/Tokyo")}]}, "Asia/Tokyo"),
        (
            {
                "address": [
                    {"use": "old", "extension": named("Asia/Tokyo")},
                    {"use": "work", "extension": named("Asia/Seoul")},
                    {"use": "home", "extension": named("Asia/Manila")},
                ]
            },
            "Asia/Manila",
        ),
        ({"address": [{"type": "postal", "extension": named("Asia/Tokyo")}]}, "America/Chicago"),
        ({"address": {"use": "work", "extension": named("Asia/Seoul")}}, "Asia/Seoul"),
        ({"extension": named(7)}, "America/Chicago"),
    ],
)
def test_the_zone_of_a_recipient_is_what_its_resource_says(recipient: dict[str, Any] | None, zone: str):
    assert zone_of(recipient, "America/Chicago").key == zone


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "/etc/passwd", "America", "x\0y", "x" * 5000, "posix/"])
def test_a_zone_that_nobody_knows_is_the_default_and_a_default_that_nobody_knows_is_utc(name: str):
    assert zone_of({"extension": named(name)}, "America/Chicago").key == "America/Chicago"
    assert zone_of({}, name).key == "UTC"


def test_settings_name_zones_and_clock_times_that_there_are():
    found = NotificationSettings(_env_file=None, time_zone="Asia/Manila", clock_times='{"HS": "21:30"}')
    assert found.of("acme").time_zone == "Asia/Manila"
    for wrong in ({"time_zone": "Mars/Base"}, {"clock_times": '{"HS": "late"}'}, {"clock_times": "{"}):
        with pytest.raises(ValidationError):
            NotificationSettings(_env_file=None, **wrong)
