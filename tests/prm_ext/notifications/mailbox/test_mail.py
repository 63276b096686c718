"""Emails are read whatever is wrong with them."""

import string
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prm_ext.notifications.channels.channel import Message
from prm_ext.notifications.channels.checking import examine
from prm_ext.notifications.channels.mime import mime
from prm_ext.notifications.mailbox.addresses import LONGEST_LOCAL, reference_in, reply_address
from prm_ext.notifications.mailbox.judging import doubt_about
from prm_ext.notifications.mailbox.mail import mail_of
from prm_ext.notifications.mailbox.markup import text_of
from prm_ext.notifications.mailbox.posted import Posted, decoded
from prm_ext.notifications.mailbox.quoting import reply_of
from prm_ext.notifications.settings import NotificationSettings

REFERENCE = "01a20dfa-4c7d-7a61-8956-acef7ebb479a"
HEADS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"From",
                b"To",
                b"Subject",
                b"Message-ID",
                b"References",
                b"Content-Type",
                b"Content-Transfer-Encoding",
                b"Precedence",
            ]
        ),
        st.binary(max_size=40)
        | st.sampled_from(
            [
                b"=?utf-8?q?x=?= <a@b.example>",
                b"=?nothing?b?!!?=",
                b"multipart/mixed; boundary=x",
                b"text/plain; charset=hex",
                b"base64",
                b"a@b.example, c@d.example",
                b"message/rfc822",
            ]
        ),
    ),
    max_size=8,
)


@given(
    HEADS,
    st.binary(max_size=200),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["envelope", "charsets", "spam_score", "dkim", "SPF", "text", "html"]), st.binary(max_size=60)
    ),
)
def test_any_bytes_are_an_email(heads: list[tuple[bytes, bytes]], body: bytes, raw: bool, fields: dict[str, bytes]) -> None:
    head = b"".join(name + b": " + value + b"\n" for name, value in heads)
    found = mail_of(Posted({**fields, **({"email": head + b"\n" + body} if raw else {"headers": head})}, ()))
    assert len(found.id) == 48
    assert doubt_about(found, ()) in ("", "unverified", "spam", "automatic")
    assert reply_of(found.text) is not None
    assert "\x00" not in found.text + found.subject


@given(st.binary(max_size=100), st.sampled_from(["utf-8", "iso-8859-1", "hex", "no such", "", "utf-16", "idna", "rot13"]))
def test_any_bytes_are_a_text_in_whatever_charset(data: bytes, charset: str) -> None:
    assert "\x00" not in decoded(data, charset)


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(["<p>", "</p>", "<blockquote>", "</blockquote>", "<script>", "</script>", "x", "<br", "&amp;"])
    ).map("".join)
)
def test_any_text_is_html(text: str) -> None:
    found = text_of(text)
    assert (found, "\n\n\n" in found) == (found.strip(), False)


@given(st.text(string.ascii_lowercase, min_size=1, max_size=LONGEST_LOCAL))
def test_the_address_for_answers_says_what_they_answer(local: str) -> None:
    found = reply_address(f"Bay Clinic <{local}@parse.example.org>", REFERENCE)
    name, address = parseaddr(found)
    assert (name, address, reference_in(address)) == ("Bay Clinic", f"{local}+{REFERENCE}@parse.example.org", REFERENCE)
    assert len(address.partition("@")[0]) <= 64


def test_without_an_address_for_answers_they_go_to_the_sender() -> None:
    assert reply_address("", REFERENCE) == ""
    assert reference_in("reply@parse.example.org") == ""
    sent = Message("t", REFERENCE, "email", "a@b.example", "c@d.example", "Hello")
    assert mime(sent, [])["Reply-To"] is None


def test_an_email_of_ours_says_where_answers_go() -> None:
    reply = reply_address("Bay Clinic <reply@parse.example.org>", REFERENCE)
    sent = Message("t", REFERENCE, "email", "a@b.example", "c@d.example", "Hello", reply_to=reply)
    assert mime(sent, [])["Reply-To"] == f"Bay Clinic <reply+{REFERENCE}@parse.example.org>"


@pytest.mark.parametrize("wrong", ["nobody", "@example.org", "a" * (LONGEST_LOCAL + 1) + "@example.org"])
def test_an_address_for_answers_that_can_not_be_one_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        NotificationSettings(_env_file=None, email_reply_to=wrong)


@pytest.mark.parametrize(
    ("more", "good"), [({}, False), ({"sendgrid_parse_key": "k"}, True), ({"sendgrid_parse_secret": "s"}, True)]
)
def test_the_doctor_says_whether_answers_are_taken(more: dict[str, str], good: bool) -> None:
    settings = NotificationSettings(_env_file=None, email_reply_to="reply@parse.example.org", **more)
    found = {one.subject: one.ok for one in examine(settings)}
    assert found["Notifications: answers to emails"] is good
    assert "Notifications: answers to emails" not in {one.subject for one in examine(NotificationSettings(_env_file=None))}


@pytest.mark.parametrize("part", ["<", "<!--", "<![CDATA[", "<a ", "&#", "<div>", "</p", "a@a.a ", "10:12 ", "<blockquote>"])
def test_no_email_takes_long_to_read(part: str) -> None:
    text = part * (1_000_000 // len(part))
    assert len(reply_of(text_of(text)[:100_000])) <= 100_000
    assert len(reply_of(text[:100_000])) <= 100_000


def test_html_is_read_as_lines_of_words() -> None:
    html = "<title>x</title><p>Caf&eacute;<script>bad()</script> &lt;b&gt;<br>now</p><ul><li>1<li>2</ul>"
    html += "<blockquote>old</blockquote>end"
    assert text_of(html) == "Café <b>\nnow\n\n1\n\n2\n\nend"
