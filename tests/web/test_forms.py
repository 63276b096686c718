from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.web.receive import MOST_FIELDS, parsed_form

PIECES = st.sampled_from(["&", "=", "+", "%20", "%", "%2", "%zz", "%C3%A5", "%c3", "%FF", "%26", "%3D", "a", "name", "\x7f"])
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(st.lists(PIECES).map("".join))
def test_a_form_is_read_as_the_standard_library_reads_it(text):
    try:
        expected = tuple(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        with pytest.raises(FhirError) as refused:
            parsed_form(text.encode())
        assert (refused.value.status, refused.value.issues[0].code) == (400, "structure")
    else:
        assert parsed_form(text.encode()) == expected


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_what_is_encoded_is_read_as_it_was(params):
    assert parsed_form(urlencode(params).encode()) == tuple(params)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"a=%00", "structure"), (b"a=\xc3", "structure"), (b"&".join([b"a=b"] * (MOST_FIELDS + 1)), "too-costly")],
)
def test_a_form_that_can_not_be_is_refused(data, code):
    with pytest.raises(FhirError) as refused:
        parsed_form(data)
    assert (refused.value.status, refused.value.issues[0].code) == (400, code)
