"""How fields agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.matching import compare
from fhir_server.matching.record import Address, Name


def name(given_: str, family: str) -> Name:
    return Name(tuple(given_.split()), family.replace(" ", ""), tuple(family.split()))


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("ana", "ana", "exact"),
        ("bill", "william", "nickname"),
        ("jonathan", "jonahtan", "similar"),
        ("geoff", "jef", "sounds"),
        ("theresa", "tmracie", "sounds"),
        ("a", "ana", "initial"),
        ("b", "ana", "different"),
        ("maria ana", "ana", "middle"),
        ("peter", "ana", "different"),
    ],
)
def test_given_names(one, other, level):
    assert compare.given(name(one, "x"), name(other, "x")) == level
    assert compare.given(name(other, "x"), name(one, "x")) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("smith", "smith", "exact"),
        ("smith", "smiht", "similar"),
        ("schmidt", "smith", "sounds"),
        ("ng jones", "ng", "part"),
        ("okonkwo", "smith", "different"),
    ],
)
def test_family_names(one, other, level):
    assert compare.family(name("x", one), name("x", other)) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        (("gary", "patel"), ("patel", "gary"), "swapped"),
        (("gary", "patel"), ("paetl", "gary"), "swapped"),
        (("benjamin", "goodman"), ("goodman", "benjy"), "swapped"),
        (("robert", "morton"), ("morton", "larsen"), "crossed"),
        (("robert", "morton"), ("peter", "larsen"), None),
        (("robert", ""), ("peter", "larsen"), None),
    ],
)
def test_names_in_each_others_place(one, other, level):
    assert compare.crossed(name(*one), name(*other)) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("19840307", "19840307", "exact"),
        ("19840307", "19840703", "swapped"),
        ("19840307", "19840308", "digit"),
        ("19840317", "19840371", "digit"),
        ("19840307", "19841207", "near"),
        ("1984", "19840307", "part"),
        ("198403", "198404", "different"),
        ("19840307", "19511224", "different"),
    ],
)
def test_birth_dates(one, other, level):
    assert compare.birth(one, other) == level
    assert compare.birth(other, one) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        ("14155550134", "4155550134", "exact"),
        ("5550134", "14155550134", "different"),
        ("5215512345678", "525512345678", "exact"),
        ("551187654321", "5511987654321", "exact"),
        ("14155550134", "14155550143", "similar"),
        ("14155550134", "442079460000", "different"),
    ],
)
def test_phone_numbers(one, other, level):
    assert compare.phone((one,), (other,)) == level


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [("a.b@x.org", "a.b@x.org", "exact"), ("a.b@x.org", "a.b@y.org", "similar"), ("ab@x.org", "zz@yyy.org", "different")],
)
def test_email_addresses(one, other, level):
    assert compare.email((one,), (other,)) == level


def test_addresses_are_compared_part_by_part():
    one = Address("12", "harbour st", "oakland", "94607")
    assert compare.address(one, one) == [("number", "exact"), ("street", "exact"), ("city", "exact"), ("postcode", "exact")]
    other = Address("14", "harbuor st", "", "94670")
    assert compare.address(one, other) == [("number", "different"), ("street", "similar"), ("postcode", "similar")]
    assert compare.address(one, Address("", "broadway", "berlin", "10115")) == [
        ("street", "different"),
        ("city", "different"),
        ("postcode", "different"),
    ]


def test_identifiers_agree_by_one_and_disagree_only_where_a_person_has_one():
    system = "http://hl7.org/fhir/sid/us-ssn"
    one = frozenset({f"1|{system}", "7|http://a"})
    assert compare.identifiers(one, frozenset({"7|http://a"}), [system]) == "exact"
    assert compare.identifiers(one, frozenset({f"2|{system}"}), [system]) == "different"
    assert compare.identifiers(one, frozenset({"8|http://a"}), [system]) is None
    assert compare.identifiers(frozenset({"1|"}), frozenset({"1|"}), []) is None
    assert compare.identifiers(one, frozenset(), [system]) is None


_WORDS = st.text("abcdeimnorst", min_size=1, max_size=8)


@given(_WORDS, _WORDS)
def test_names_agree_the_same_way_in_both_directions(one, other):
    assert compare.first_names(one, other) == compare.first_names(other, one)
    assert compare.family_words(one, other) == compare.family_words(other, one)
    assert compare.first_names(one, one) == compare.family_words(one, one) == "exact"


_DIGITS = st.text("0123456789", min_size=7, max_size=12)


@given(st.lists(_DIGITS, min_size=1, max_size=3), st.lists(_DIGITS, min_size=1, max_size=3))
def test_every_level_is_known(ours, theirs):
    assert compare.phone(tuple(ours), tuple(theirs)) in compare.LEVELS["phone"]
    assert compare.phone(tuple(ours), tuple(ours)) == "exact"
