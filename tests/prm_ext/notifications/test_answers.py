"""Texts that the server itself says to patients."""

import string
from typing import Any

import pytest

from prm_ext.notifications.answers import LANGUAGES, RIGHT_TO_LEFT, answer, language_like, texts_of
from prm_ext.notifications.codes import KINDS

VALUES: dict[str, Any] = {"when": "<when>", "appointments": "<list>"}
NEEDED = {"confirmed": {"when"}, "cancelled": {"when"}, "too_late": {"when"}, "which": {"appointments"}}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_are_texts_in_the_languages_of_patients():
    assert set(LANGUAGES) == {"en", "es", "fr", "de", "pt", "it", "zh", "zh-Hant", "vi", "ar", "ru", "ko", "ja", "tl"}
    assert set(LANGUAGES) > RIGHT_TO_LEFT


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_texts_with_the_same_places_to_fill(language: str):
    found, english = texts_of(language), texts_of("en")
    assert set(found.kinds) == set(KINDS)
    assert set(found.words) == {"confirm", "cancel", "stop", "start", "help"}
    for own, other in ((found.answers, english.answers), (found.page, english.page)):
        assert {name: fields(text) - {"organisation"} for name, text in own.items()} == {
            name: fields(text) - {"organisation"} for name, text in other.items()
        }
        assert all(text.strip() for text in own.values())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", texts_of("en").answers)
def test_every_answer_is_filled(language: str, name: Any):
    text = answer(name, language, organisation="Bay Clinic", **VALUES)
    assert "{" not in text
    assert all(VALUES[one] in text for one in NEEDED.get(name, ()))
    assert len(text) < 480


def test_what_ends_messages_is_said_with_how_to_have_them_again():
    for language in LANGUAGES:
        assert "START" in answer("stopped", language, organisation="Bay Clinic")
        assert "STOP" in answer("started", language, organisation="Bay Clinic")
        assert "STOP" in answer("help", language, organisation="Bay Clinic")


def test_values_are_not_read_as_places_to_fill():
    assert "{organisation}" in answer("confirmed", "en", organisation="x", when="{organisation}")


def test_an_organisation_without_a_name_is_us():
    assert answer("none", "en", organisation="").endswith("Please contact us.")


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(KeyError, match="when"):
        answer("confirmed", "en", organisation="x")


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("en-GB", "en"),
        ("ES_mx", "es"),
        ("pt-BR", "pt"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("zh-CN", "zh"),
        ("fil", "tl"),
        ("fil-PH", "tl"),
        ("so", "en"),
        ("", "en"),
    ],
)
def test_the_closest_language_is_taken(tag: str, language: str):
    assert language_like(tag) == language
