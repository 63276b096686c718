"""Texts that the server itself says to patients."""

import string

import pytest

from prm_ext.notifications.answers import LANGUAGES, RIGHT_TO_LEFT, language_like, texts_of
from prm_ext.notifications.codes import KINDS

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
def test_answers_name_what_they_are_about_and_stay_short(language: str):
    texts = texts_of(language)
    for name, text in texts.answers.items():
        assert fields(text) <= {*texts.words, "organisation", *NEEDED.get(name, ())}
        assert fields(text) >= NEEDED.get(name, set())
        assert len(text) < 400


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_ends_messages_is_said_with_how_to_have_them_again(language: str):
    texts = texts_of(language)
    assert (texts.words["stop"], texts.words["start"]) == ("STOP", "START")
    assert "{start}" in texts.answers["stopped"]
    assert "{stop}" in texts.answers["started"]
    assert {"organisation", "stop"} <= fields(texts.answers["help"])


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
