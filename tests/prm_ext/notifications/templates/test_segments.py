"""How many SMS a text is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.templates.segments import BASIC, EXTENDED, Segments, segments

GSM = st.text(st.sampled_from(sorted(BASIC | EXTENDED)), max_size=700)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Segments("GSM-7", 0, 1, 160)),
        ("a" * 160, Segments("GSM-7", 160, 1, 0)),
        ("a" * 161, Segments("GSM-7", 161, 2, 145)),
        ("a" * 306, Segments("GSM-7", 306, 2, 0)),
        ("a" * 307, Segments("GSM-7", 307, 3, 152)),
        ("€" * 80, Segments("GSM-7", 160, 1, 0)),
        ("€" * 81, Segments("GSM-7", 162, 2, 143)),
        ("ñÑ¿¡äÄßéàΔ", Segments("GSM-7", 10, 1, 150)),
        ("ç", Segments("UCS-2", 1, 1, 69)),
        ("á" * 70, Segments("UCS-2", 70, 1, 0)),
        ("á" * 71, Segments("UCS-2", 71, 2, 63)),
        ("á" * 134, Segments("UCS-2", 134, 2, 0)),
        ("á" * 135, Segments("UCS-2", 135, 3, 66)),
        ("👍" * 35, Segments("UCS-2", 70, 1, 0)),
        ("👍" * 36, Segments("UCS-2", 72, 2, 61)),
        ("a\u00a0b", Segments("UCS-2", 3, 1, 67)),
    ],
)
def test_a_text_is_counted(text, expected):
    assert segments(text) == expected


def test_the_alphabet_has_the_127_characters_and_the_extension_of_the_standard():
    assert (len(BASIC), len(EXTENDED)) == (127, 10)


@given(GSM)
def test_an_escape_and_its_character_stay_in_one_segment(text):
    found = segments(text)
    units = sum(2 if letter in EXTENDED else 1 for letter in text)
    assert (found.encoding, found.units) == ("GSM-7", units)
    if units > 160:
        # At most one septet of each segment but the last is left empty.
        assert -(-units // 153) <= found.count <= -(-units // 152)


@given(st.text(max_size=400))
def test_a_longer_text_never_takes_fewer_segments(text):
    assert segments(text + "a").count >= segments(text).count
    assert segments(text).left >= 0
