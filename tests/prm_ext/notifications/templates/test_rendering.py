"""A template with values: what is sent."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.templates.html import marked, to_html
from prm_ext.notifications.templates.model import ContentTemplate, Template
from prm_ext.notifications.templates.rendering import Reader, render_template
from prm_ext.notifications.templates.values import Variable


def template(body: str, **more: Any) -> Template:
    names = {"a": Variable("a"), "b": Variable("b", default="B"), "link": Variable("link", "url"), "n": Variable("n", "number")}
    values: dict[str, Any] = {"name": "hello", "language": "en", "url": "urn:x", "variables": names}
    return Template(**values | {"bodies": {("en", ""): body}} | more)


def render(found: Template, channel: Any = "sms", language: str = "en", **values: Any) -> Any:
    return render_template(found, channel, Reader(language), values)


class Page(HTMLParser):
    """What a browser sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(text.partition("<body>")[2].partition("</body>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_values_and_defaults_go_where_their_variables_stand():
    found = render(template("{a}-{b}-{{c}}"), a="{b} {{x}} %s \\1")
    assert found.body == "{b} {{x}} %s \\1-B-{c}"
    assert (found.html, found.content_sid, found.template) == ("", "", "urn:x|1")
    assert render(template("{b}"), b="other").body == "other"


def test_all_missing_and_wrong_values_are_named_at_once():
    with pytest.raises(FhirError) as raised:
        render(template("{a} {n} {link}", subjects={("en", ""): "{nobody}"}), n="many", a=" \u202e ")
    assert raised.value.status == 422
    found = [(issue.code, issue.expression[0]) for issue in raised.value.issues]
    assert found == [("required", "a"), ("required", "link"), ("required", "nobody"), ("value", "n")]


def test_a_subject_is_one_line():
    found = render(template("x", subjects={("en", ""): "Hi {a}\n"}), "email", a="you\r\nBcc: all@example.org\x0b")
    assert found.subject == "Hi you Bcc: all@example.org"


def test_an_email_without_subject_has_the_title():
    assert render(template("x", title="Hello"), "email").subject == "Hello"
    assert render(template("x", title="Hello"), "sms").subject == ""


def test_text_and_values_are_escaped_in_html():
    found = render(template('<b> & "it\'s" {a}\n\nnext\nline'), "email", a="<script>alert('x')</script>&amp;")
    page = Page(found.html)
    assert page.tags == ["p", "p", "br"]
    assert page.text == "<b> & \"it's\" <script>alert('x')</script>&amp;next\nline"


def test_addresses_of_the_template_and_of_url_variables_are_links_and_those_in_other_values_are_not():
    text = "See https://clinic.example/x?id={a}&y=1, (http://b.example/(c)). {link} or {b}!"
    found = render(template(text), "email", a="1/2", link="https://l.example/", b="http://evil.example https://evil.example")
    page = Page(found.html)
    assert page.links == ["https://clinic.example/x?id=1%2F2&y=1", "http://b.example/(c)", "https://l.example/"]
    assert page.text == found.body


def test_a_value_can_not_get_out_of_a_link():
    found = render(template("https://clinic.example/{a}"), "email", a="'\"><script>")
    assert Page(found.html).tags == ["p", "a"]
    assert Page(found.html).links == ["https://clinic.example/%27%22%3E%3Cscript%3E"]


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from(["Hi {a} {b}", "http://x.example/{a}?{b} {a}", "{a}{b}", "<{a}>\n\n{b}"]),
)
def test_whatever_a_value_is_the_html_has_only_our_tags_and_shows_the_text(one, other, text):
    try:
        found = render(template(text), "email", a=one, b=other)
    except FhirError:
        return
    page = Page(found.html)
    assert set(page.tags) <= {"p", "br", "a"}
    assert "".join(page.text.split()) == "".join(found.body.split())
    assert all(link.startswith("http://x.example/") for link in page.links)


def test_html_says_its_language_and_direction():
    assert '<html lang="ar" dir="rtl">' in to_html("x", "ar")
    assert '<html lang="en"><head>' in to_html(marked("x"), "en")


def test_the_text_of_the_channel_and_the_language_is_taken_and_else_the_general_one():
    bodies = {("en", ""): "en", ("es", ""): "es", ("es", "sms"): "es-sms", ("pt", "email"): "pt-email"}
    subjects = {("en", ""): "S", ("es", "email"): "Se"}
    found = template("", bodies=bodies, subjects=subjects)
    said = {
        (channel, language): render(found, channel, language).body
        for channel in ("sms", "email", "whatsapp")
        for language in ("en", "es-MX", "pt-BR", "de")
    }
    assert said == {
        ("sms", "en"): "en",
        ("sms", "es-MX"): "es-sms",
        ("sms", "pt-BR"): "en",
        ("sms", "de"): "en",
        ("email", "en"): "en",
        ("email", "es-MX"): "es",
        ("email", "pt-BR"): "pt-email",
        ("email", "de"): "en",
        ("whatsapp", "en"): "en",
        ("whatsapp", "es-MX"): "es",
        ("whatsapp", "pt-BR"): "en",
        ("whatsapp", "de"): "en",
    }
    assert [render(found, "email", language).subject for language in ("en", "es", "pt")] == ["S", "Se", "S"]


def test_an_approved_template_gets_its_variables_by_their_places():
    contents = {"en": ContentTemplate("HX1", {"1": "b", "name": "a"}), "es": ContentTemplate("HX2")}
    found = template("", bodies={("en", ""): "{a}", ("es", ""): "{b} {a} {b}"}, contents=contents)
    english = render(found, "whatsapp", a="x\ny    z")
    assert (english.content_sid, english.content_variables) == ("HX1", {"1": "B", "name": "x y z"})
    spanish = render(found, "whatsapp", "es", a="x")
    assert (spanish.content_sid, spanish.content_variables) == ("HX2", {"1": "B", "2": "x"})
    assert render(found, "sms", a="x").content_sid == ""


def test_what_a_provider_would_not_take_is_refused():
    for channel, length in (("sms", 1601), ("whatsapp", 1601), ("voice", 4001)):
        with pytest.raises(FhirError, match="too-long"):
            render(template("x" * (length - 1) + "{a}"), channel, a="y")
    with pytest.raises(FhirError, match="too-long"):
        render(template("x", subjects={("en", ""): "{a}"}), "email", a="y" * 201)


def test_a_message_is_not_shown_where_the_program_shows_its_data():
    assert "secret" not in repr(render(template("{a}", subjects={("en", ""): "{a}"}), "email", a="secret"))
