"""Texts of providers name nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm_ext.notifications.channels.channel import Message
from prm_ext.notifications.channels.masking import LENGTH, mask

NUMBERS = st.from_regex(r"\+[1-9]\d{7,13}", fullmatch=True)
ADDRESSES = st.from_regex(r"[a-z][a-z0-9.+]{0,10}@[a-z]{1,10}\.(org|com)", fullmatch=True)
WORDS = st.lists(st.sampled_from(["Unable", "to", "send,", "code", "21211:", "not", "valid."]), max_size=6).map(" ".join)


@given(before=WORDS, after=WORDS, secret=NUMBERS | ADDRESSES)
def test_numbers_and_addresses_are_hidden_wherever_they_stand(before, after, secret):
    hidden = mask(f"{before} {secret} {after}")
    assert secret not in hidden
    assert secret.lstrip("+") not in hidden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The 'To' number +1 (202) 555-0147 is not valid", "The 'To' number … is not valid"),
        ("550 5.1.1 <ana@example.org>: no", "550 5.1.1 <…>: no"),
        ("whatsapp:+12025550147 is none", "whatsapp:… is none"),
        ("See https://www.twilio.com/docs/errors/21211 for more", "See https://www.twilio.com/docs/errors/21211 for more"),
        ("GET https://x.example.org/a?To=ana failed", "GET https://x.example.org/a?… failed"),
        ("error 21211, HTTP 400", "error 21211, HTTP 400"),
        ("two\n lines", "two lines"),
    ],
)
def test_what_is_no_address_stays(text, expected):
    assert mask(text) == expected


def test_what_a_message_says_is_hidden():
    message = Message(
        "t", "r", "whatsapp", "+12025550147", "Clinic", "Bring it", subject="Soon", content_variables={"1": "Ana Li"}
    )
    assert mask("Bring it to Ana Li from Clinic Soon", message) == "… to … from … …"


def test_a_text_is_not_long():
    assert len(mask("word " * 1000)) == LENGTH
