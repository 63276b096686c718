"""Values: what they may be, and how they read."""

import unicodedata
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.templates.values import MAX_VALUE, TYPES, Setting, ValueProblemError, Variable, clean, formatted

ENGLISH = Setting(Locale("en", "US"), ZoneInfo("America/New_York"))
SPANISH = Setting(Locale("es"), ZoneInfo("Europe/Madrid"))
GERMAN = Setting(Locale("de"), UTC)


@pytest.mark.parametrize(
    ("type_", "format_", "value", "setting", "shown"),
    [
        ("text", "", "  a \n b ", ENGLISH, "a b"),
        ("text", "lines", "a \r\n  b\u2028c", ENGLISH, "a\nb\nc"),
        ("date", "", "2026-11-24", ENGLISH, "November 24, 2026"),
        ("date", "", "2026-11-24", SPANISH, "24 de noviembre de 2026"),
        ("date", "full", "2026-11-24", GERMAN, "Dienstag, 24. November 2026"),
        ("date", "short", "2026-11-24", GERMAN, "24.11.26"),
        ("date", "", "2026-11-25T02:00:00Z", ENGLISH, "November 24, 2026"),
        ("date", "", "2026-11-25T02:00:00", ENGLISH, "November 25, 2026"),
        ("time", "", "14:30", ENGLISH, "2:30 PM"),
        ("time", "", "14:30:05", SPANISH, "14:30"),
        ("time", "medium", "14:30:05", SPANISH, "14:30:05"),
        ("time", "", "2026-07-01T14:30:00Z", ENGLISH, "10:30 AM"),
        ("time", "", "2026-12-01T14:30:00Z", ENGLISH, "9:30 AM"),
        ("time", "", datetime(2026, 12, 1, 14, 30, tzinfo=UTC), SPANISH, "15:30"),
        ("datetime", "", "2026-11-24T14:30:00Z", ENGLISH, "November 24, 2026, 9:30 AM"),
        ("datetime", "short", "2026-11-24T14:30:00Z", GERMAN, "24.11.26, 14:30"),
        ("number", "", "1234567.50", ENGLISH, "1,234,567.5"),
        ("number", "", "1234567.5", GERMAN, "1.234.567,5"),
        ("number", "percent", "0.125", ENGLISH, "12.5%"),
        ("money", "EUR", "12.5", GERMAN, "12,50 €"),
        ("money", "EUR", "12.50 USD", ENGLISH, "$12.50"),
        ("money", "", "JPY 1200", ENGLISH, "¥1,200"),
        ("url", "", "https://a.example/b?c=d", ENGLISH, "https://a.example/b?c=d"),
    ],
)
def test_a_value_reads_as_its_type_language_and_time_zone_want(type_, format_, value, setting, shown):
    assert formatted(Variable("x", type_, format_), value, setting) == shown


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("date", "24.11.2026"),
        ("date", "2026-13-01"),
        ("date", "0000-00-00T00:00:00Z"),
        ("time", "25:00"),
        ("time", "10 AM"),
        ("datetime", "2026-11-23"),
        ("datetime", "0001-01-01T00:00:00+23:59"),
        ("number", "many"),
        ("number", "NaN"),
        ("number", "Infinity"),
        ("number", "1e400"),
        ("money", "12.51"),
        ("money", "USD 12 EUR"),
        ("money", "12,50 EUR"),
        ("url", "javascript:alert(1)"),
        ("url", "https://a.example/ b"),
        ("text", "x" * (MAX_VALUE + 1)),
    ],
)
def test_what_is_not_of_the_type_is_refused_without_quoting_it(type_, value):
    with pytest.raises(ValueProblemError) as raised:
        formatted(Variable("x", type_), value, ENGLISH)
    assert value not in str(raised.value)


def test_a_well_known_variable_shows_what_somebody_wrote_in_place_of_a_date():
    assert formatted(Variable("x", "time", strict=False), "at ten\u202e", ENGLISH) == "at ten"
    assert formatted(Variable("x", "time", strict=False), "10:00", ENGLISH) == "10:00 AM"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\x00b\x1bc", "abc"),
        ("\u202eevil\u202c \u2066x\u2069", "evil x"),
        ("a\u200bb\ufeff", "ab"),
        ("👩‍⚕️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👩‍⚕️ 🏴"),
        ("می‌خواهم", "می‌خواهم"),
        ("\ufdd0\ufffe\U0001ffff\ud800\ue000", ""),
    ],
)
def test_a_value_has_nothing_that_controls_how_text_is_shown(text, found):
    assert clean(text) == found


@given(st.text(max_size=60))
def test_a_clean_value_is_one_line_and_stays_the_same(text):
    found = clean(text)
    assert "\n" not in found
    assert found == found.strip()
    assert all(unicodedata.category(letter) not in ("Cc", "Cs", "Co") for letter in found)
    assert not set(found) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufdd0\ufdd1")
    assert clean(found) == found


@given(st.sampled_from(TYPES), st.text(max_size=40), st.sampled_from([ENGLISH, SPANISH, GERMAN]))
def test_any_value_either_reads_or_is_refused(type_, text, setting):
    try:
        found = formatted(Variable("x", type_), text, setting)
    except ValueProblemError:
        return
    assert clean(found) == found


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["date", "time", "datetime"]))
def test_any_moment_reads(moment, type_):
    assert formatted(Variable("x", type_), moment.isoformat(), SPANISH) or moment.year in (1, 9999)
