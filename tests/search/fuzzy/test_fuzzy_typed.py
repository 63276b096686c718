"""What somebody typed, read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.fuzzy.typed import Number, Typed, read


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("John Smi", Typed(words=("john", "smi"), open="smi")),
        ("John Smi ", Typed(words=("john", "smi"))),
        ("Söderberg, Åsa", Typed(words=("soderberg", "asa"), open="asa")),
        ("O'Brien Anne-Marie", Typed(words=("obrien", "anne", "marie"), open="marie")),
        ("Jan van der Berg", Typed(words=("jan", "berg"), open="berg")),
        ("Jan de", Typed(words=("jan", "de"), open="de")),
        ("ek 1980-03-05", Typed(words=("ek",), dates=(("1980-03-05",),))),
        ("ek 1980", Typed(words=("ek",), dates=(("1980",),))),
        ("5.3.1980", Typed(dates=(("1980-05-03", "1980-03-05"),))),
        ("31/12/1980", Typed(dates=(("1980-12-31",),))),
        ("1980/3", Typed(dates=(("1980-03",),))),
        ("1980-13-05", Typed(numbers=(Number(("1980-13-05",)),))),
        ("1980-02-30", Typed(numbers=(Number(("1980-02-30",)),))),
        ("19800305", Typed(numbers=(Number(("19800305",), ("1980-03-05",)),))),
        ("(415) 555-0100 ek", Typed(words=("ek",), numbers=(Number(("(415)", "555-0100")),), open="ek")),
        ("+1 415 555 1980", Typed(numbers=(Number(("+1", "415", "555", "1980")),))),
        ("4155550100 1980", Typed(dates=(("1980",),), numbers=(Number(("4155550100",)),))),
        ("5550100 5550101 5550102", Typed(numbers=(Number(("5550100", "5550101")), Number(("5550102",))))),
        ("MRN MRN-2026000123", Typed(numbers=(Number(("MRN-2026000123",)),))),
        ("bo@example.org", Typed(numbers=(Number(("bo@example.org",)),))),
    ],
)
def test_reads_words_dates_and_numbers_in_any_order(text: str, typed: Typed) -> None:
    """A date may be ambiguous, a phone number may have gaps, the last word may go on."""
    assert read(text) == typed


def test_a_number_may_be_of_a_phone() -> None:
    """From seven digits on, without letters."""
    assert Number(("555-0100",)).may_be_phone
    assert not Number(("555-010",)).may_be_phone
    assert not Number(("MRN-2026000123",)).may_be_phone


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (" , ", "q=' , ' has nothing to search for; type a name"),
        ("mrn", "has nothing to search for"),
        ("a b c d e f g h i", "has 9 words, dates and numbers"),
        ("x" * 201, "q has 201 characters; at most 200 can be searched for."),
    ],
)
def test_refuses_nothing_and_too_much(text: str, says: str) -> None:
    """A 400 says what can be typed."""
    with pytest.raises(FhirError) as refused:
        read(text)
    assert refused.value.status == 400
    assert says in refused.value.issues[0].diagnostics


@given(st.text(max_size=220))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    """There is no third way."""
    try:
        typed = read(text)
    except FhirError as error:
        assert error.status == 400
    else:
        assert 0 < typed.items <= 8
        assert typed.open in ("", *typed.words)
