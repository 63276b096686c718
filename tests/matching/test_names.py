"""Words of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.matching.names import are_nicknames, generation, name_words, parts, sound, sounds, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O'Brien", ("obrien",)),
        ("O\u2019Brien", ("obrien",)),
        ("García-López", ("garcia", "lopez")),
        ("  Mary  Ann ", ("mary", "ann")),
        ("Jürgen_Peter", ("jurgen", "peter")),
        ("", ()),
        ("-", ()),
    ],
)
def test_a_text_is_split_into_folded_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("word", "rank"), [("jr", "2"), ("ii", "2"), ("senior", "1"), ("3rd", "3"), ("iv", "4"), ("v", ""), ("john", "")]
)
def test_a_word_may_state_a_generation(word, rank):
    assert generation(word) == rank


def test_a_generation_at_the_end_of_a_name_is_none_of_its_words():
    assert name_words("Smith Jr.") == (("smith",), "2")
    assert name_words("Junior") == (("junior",), "")


def test_words_that_stand_for_an_unknown_name_are_left_out():
    assert name_words("Baby Boy") == ((), "")
    assert name_words("Baby Boy A") == (("a",), "")


def test_a_family_is_told_by_the_words_that_others_do_not_have():
    assert parts(("de", "la", "cruz")) == ("cruz",)
    assert parts(("la",)) == ("la",)


@pytest.mark.parametrize(("one", "other"), [("bill", "william"), ("liz", "beth"), ("paco", "francisco"), ("william", "will")])
def test_nicknames_stand_for_each_other(one, other):
    assert are_nicknames(one, other)
    assert are_nicknames(other, one)


def test_other_names_do_not():
    assert not are_nicknames("john", "mary")
    assert not are_nicknames("xyz", "xyzzy")


def test_names_that_sound_alike_have_a_sound_in_common():
    assert sound("smith") == sound("smyth")
    assert not sounds("catherine").isdisjoint(sounds("katherine"))
    assert sounds("schmidt") & sounds("smith")
    assert sound("иванов") == "иванов"


@given(st.text(max_size=40))
def test_every_text_has_words_and_sounds(text):
    for word in words(text):
        assert word == word.strip()
        assert sound(word)
        assert sounds(word)
