"""The narrative in XML and in JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.xml import from_xml, to_xml
from fhir_server.fhir.xml_narrative import NarrativeError, as_xml

XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def there_and_back(div: str) -> str:
    """Return a narrative after it has been written to XML and read again."""
    return str(from_xml(to_xml({"resourceType": "Patient", "text": {"div": div}}))["text"]["div"])


def read(text: str, root: str = "") -> str:
    """Return the narrative of an XML document."""
    xml = f'<Patient xmlns="http://hl7.org/fhir" {root}><text><status value="generated"/>{text}</text></Patient>'
    return str(from_xml(xml.encode())["text"]["div"])


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "a",
        " \n\ta  b\n",
        "<br/><br /><br></br>",
        "<p class='x' id=\"y\"\n  title = 'a\"b'>a</p>",
        "&amp;&lt;&gt;&quot;&apos;&#160;&#xA0;é😀",
        "<!-- a -- b -->".replace(" -- ", " - ") + "<![CDATA[<x>]]>",
        "a\rb\r\nc",
        '<a href="#x" xml:lang="en">b</a>',
        '<img src="data:image/png;base64,AAAA" alt=""/>',
        '<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
    ],
)
def test_a_narrative_is_taken_over_character_by_character(inner: str) -> None:
    div = f"<div {XHTML}>{inner}</div>"
    assert there_and_back(div) == div


def test_a_narrative_that_declares_a_prefix_itself_is_taken_over_as_it_is() -> None:
    div = '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p>a</h:p></h:div>'
    assert there_and_back(div) == div


def test_white_space_inside_a_tag_is_a_line_feed_after_xml() -> None:
    assert there_and_back(f"<div {XHTML}><p\r\nid='x'>a</p></div>") == f"<div {XHTML}><p\nid='x'>a</p></div>"


def test_line_ends_of_a_document_are_line_feeds() -> None:
    assert read(f"<div {XHTML}>a\r\nb\rc&#13;d</div>") == f"<div {XHTML}>a\nb\nc&#13;d</div>"


def test_a_narrative_that_relies_on_a_prefix_around_it_is_written_anew() -> None:
    text = '<h:div id="x"><h:p title="a&quot;&lt;">a &amp; b</h:p><h:br/></h:div>'
    assert (
        read(text, 'xmlns:h="http://www.w3.org/1999/xhtml"')
        == f'<div {XHTML} id="x"><p title=\'a"&lt;\'>a &amp; b</p><br></br></div>'
    )


def test_a_foreign_element_keeps_its_namespace_when_a_narrative_is_written_anew() -> None:
    text = f'<div {XHTML}><o:p xml:lang="en" o:x="1">a</o:p>b</div>'
    assert read(text, 'xmlns:o="urn:o"') == f'<div {XHTML}><p xmlns="urn:o" xml:lang="en" x="1">a</p>b</div>'


def test_an_empty_div_is_read() -> None:
    assert read(f"<div {XHTML}/>") == f"<div {XHTML}/>"


def test_a_narrative_without_its_namespace_gets_it() -> None:
    assert as_xml("<div><p>a</p></div>") == f"<div {XHTML}><p>a</p></div>"


def test_entities_of_html_become_characters() -> None:
    assert as_xml(f"<div {XHTML}>a&nbsp;&eacute;&amp;b</div>") == f"<div {XHTML}>a\xa0é&amp;b</div>"


@pytest.mark.parametrize(
    ("div", "why"),
    [
        (f"<div {XHTML}>a</p></div>", "mismatched tag in its line 1, column 46"),
        (f"<div {XHTML}>\n&bogus;</div>", "undefined entity in its line 2, column 1"),
        (f"<?xml version='1.0'?><div {XHTML}/>", "XML or text declaration not at start of entity in its line 1, column 1"),
        (f"<!DOCTYPE x><div {XHTML}/>", "not well-formed (invalid token) in its line 1, column 3"),
        (f"</x><div {XHTML}/><x>", "junk after document element in its line 1, column 5"),
        (f"<div {XHTML}/><div {XHTML}/>", "it is not one div element"),
        (f"<p {XHTML}/>", "it is not one div element"),
        ('<div xmlns="urn:x"/>', "it is not one div element"),
        ("", "it is not one div element"),
        (f"a<div {XHTML}/>", "there is text around the div"),
        (f"<div {XHTML}>\x01</div>", "not well-formed (invalid token) in its line 1, column 43"),
        (f"<div {XHTML}>\ud800</div>", "it holds half of a surrogate pair"),
        (f"<div {XHTML}><x:p/></div>", "unbound prefix in its line 1, column 43"),
    ],
)
def test_what_is_no_div_is_refused(div: str, why: str) -> None:
    with pytest.raises(NarrativeError) as caught:
        as_xml(div)
    assert str(caught.value) == why


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "<b>",
                "</b>",
                "<br/>",
                "&amp;",
                "\r",
                "\n",
                "<!-- x -->",
                "<![CDATA[",
                "]]>",
                "&#13;",
                "<i a='>'>",
                "</i>",
                "</div>",
                "]]>",
                "<",
            ]
        )
    ).map("".join)
)
def test_a_well_formed_narrative_survives_and_any_other_is_refused(inner: str) -> None:
    div = f"<div {XHTML}>{inner}</div>"
    try:
        as_xml(div)
    except NarrativeError:
        return
    assert there_and_back(div) == div
