"""Phone numbers and email addresses as they are compared and judged."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.contact import digits_of, is_with_more, may_be_email, may_be_phone, normal_email, normal_phone, sought_phone


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("+14155550100", "+14155550100"),
        ("(415) 555-0100", "+14155550100"),
        ("1-415-555-0100", "+14155550100"),
        ("+1 415.555.0100 x12", "+14155550100"),
        ("tel:+1-415-555-0100", "+14155550100"),
        ("whatsapp:+14155550100", "+14155550100"),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("011 44 20 7946 0958", "+442079460958"),
        ("442079460958", "+442079460958"),
        ("+52 1 55 1234 5678", "+525512345678"),
        ("whatsapp:+5215512345678", "+525512345678"),
        ("+55 11 8765-4321", "+5511987654321"),
        ("+55 11 98765-4321", "+5511987654321"),
        ("+55 11 3765-4321", "+551137654321"),
        ("555-0100", ""),
        ("911", ""),
        ("unknown", ""),
        ("+", ""),
        ("", ""),
        ("1" * 5000, ""),
    ],
)
def test_a_number_has_one_normal_form_however_it_is_written(written: str, normal: str) -> None:
    assert normal_phone(written, "US") == normal


@pytest.mark.parametrize(
    ("written", "region", "normal"),
    [("020 7946 0958", "GB", "+442079460958"), ("0170 1234567", "DE", "+491701234567"), ("55 1234 5678", "MX", "+525512345678")],
)
def test_the_region_completes_a_number_without_country_code(written: str, region: str, normal: str) -> None:
    assert normal_phone(written, region) == normal


@pytest.mark.parametrize(
    ("asked", "sought"),
    [
        ("(415) 555-0100", "+14155550100"),
        (" 14155550100", "+14155550100"),
        (" 442079460958", "+442079460958"),
        ("+5215512345678", "+525512345678"),
        ("555-0100", "5550100"),
        ("55 50100", "5550100"),
        ("442079460958", "442079460958"),
        ("+1 415 55", "141555"),
        ("nobody", ""),
    ],
)
def test_a_search_looks_for_a_whole_number_or_for_its_digits(asked: str, sought: str) -> None:
    assert sought_phone(asked, "US") == sought


@pytest.mark.parametrize(
    ("text", "possible"),
    [("+14155550100", True), ("555-0100", True), ("(03) 5555 6473", True), ("911", False), ("call me", False), ("+999", False)],
)
def test_a_phone_number_is_refused_only_when_it_can_be_none(text: str, possible: bool) -> None:
    assert may_be_phone(text, "US") is possible


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("ada@example.org", True),
        (" Ada.Lovelace+tag@sub.example.org ", True),
        ("mailto:ada@example.org", True),
        ("j@müller.de", True),
        ("ada@localhost", False),
        ("ada", False),
        ("a b@example.org", False),
        ("ada@example..org", False),
        (".ada@example.org", False),
        ("ada@-example.org", False),
        ("Ada <ada@example.org>", False),
        ("a" * 250 + "@example.org", False),
    ],
)
def test_an_email_address_has_a_name_and_a_domain(text: str, possible: bool) -> None:
    assert may_be_email(text) is possible


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("555-0100 ask for Ann", True),
        ("(555) 000-73a3564e-889", True),
        ("415-555-0100 / 415-555-0101", True),
        ("(555) 000-12345678-889", True),
        ("12345678901234", False),
        ("+12345678901234567", False),
        ("call Ann", False),
        ("555-01", False),
        ("+1 415 555 01", False),
    ],
)
def test_a_number_with_a_note_or_another_one_is_more_than_a_number(text: str, more: bool) -> None:
    assert not may_be_phone(text, "US")
    assert is_with_more(text, "US") is more


def test_email_addresses_are_compared_without_case() -> None:
    assert normal_email(" mailto:Ada@Example.ORG") == "ada@example.org"


@given(st.from_regex(r"\(?[2-9][0-9]{2}\)?[-. ]?[0-9]{3}[-. ]?[0-9]{4}", fullmatch=True), st.sampled_from(["US", "CA"]))
def test_the_short_way_to_a_north_american_number_gives_what_the_library_gives(text: str, region: str) -> None:
    number = phonenumbers.parse(text, region)
    assert normal_phone(text, region) == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@given(st.text(max_size=80), st.sampled_from(["US", "DE", "MX", "BR"]))
def test_whatever_is_written_is_judged_and_normal_forms_are_stable(text: str, region: str) -> None:
    normal = normal_phone(text, region)
    assert isinstance(may_be_email(text), bool)
    assert isinstance(may_be_phone(text, region), bool)
    assert digits_of(text).isdigit() or digits_of(text) == ""
    assert sought_phone(text, region) is not None
    if normal:
        assert normal_phone(normal, region) == normal
        assert sought_phone(normal, region) == normal
