"""Which of several languages a person gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.templates.languages import is_right_to_left, locale_of, lookup, tidy


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        ("es", ["en", "es"], "es"),
        ("es-MX", ["en", "es"], "es"),
        ("ES-mx", ["en", "es", "es-MX"], "es-MX"),
        ("zh-Hant-CN-x-private1-private2", ["en", "zh-Hant"], "zh-Hant"),
        ("de-CH-1996", ["de-CH", "de"], "de-CH"),
        ("fr", ["en", "es"], "en"),
        ("pt", ["en", "pt-BR"], "pt-BR"),
        ("es-MX", ["en", "es-419"], "es-419"),
        ("zh-Hant-TW", ["en", "zh-Hans"], "en"),
        ("sr-Latn", ["en", "sr-Latn-RS"], "sr-Latn-RS"),
        ("es_MX", ["en", "es"], "es"),
        ("", ["en", "es"], "en"),
        ("e", ["en"], "en"),
    ],
)
def test_the_language_is_looked_up(wanted, available, found):
    assert lookup(wanted, available, "en") == found


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("EN", "en"),
        ("es-mx", "es-MX"),
        ("zh-hans-cn", "zh-Hans-CN"),
        ("es_419", "es-419"),
        ("en-a-bbbb-x-us", "en-a-bbbb-x-us"),
        ("english please", ""),
        ("", ""),
        ("e", ""),
    ],
)
def test_a_tag_is_written_as_the_standard_does(tag, found):
    assert tidy(tag) == found


def test_dates_are_those_of_the_region_that_a_person_is_of():
    assert str(locale_of("en", "en-GB")) == "en_GB"
    assert str(locale_of("en", "es-MX")) == "en"
    assert str(locale_of("zh-Hans-CN")) == "zh_Hans_CN"
    assert str(locale_of("tlh", "tlh")) == "en"


def test_the_direction_is_that_of_the_script():
    assert is_right_to_left("ar")
    assert is_right_to_left("he-IL")
    assert not is_right_to_left("es")


@given(st.text(max_size=20), st.lists(st.sampled_from(["en", "es", "pt-BR", "zh-Hans"]), min_size=1))
def test_any_wish_gets_one_of_those_that_there_are(wanted, available):
    assert lookup(wanted, available, available[0]) in available
    assert locale_of("en", wanted) is not None
    assert tidy(tidy(wanted)) == tidy(wanted)
