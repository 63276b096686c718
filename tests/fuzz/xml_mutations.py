"""Breaks XML texts."""
# ruff: noqa: E501 - long tables of odd values read best as they are.

import re
from collections.abc import Callable

from hypothesis import strategies as st

Text = Callable[[str], str]
_ATTRIBUTE = re.compile(r'value="[^"]*"')
_TAG = re.compile(r"<[A-Za-z][^<>]*>")
_DOCTYPES = (
    '<!DOCTYPE Patient [<!ENTITY x "y">]>',
    '<!DOCTYPE Patient [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY x "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    '<!DOCTYPE Patient [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE Patient SYSTEM "http://127.0.0.1:1/x.dtd">',
    "<!DOCTYPE Patient [<!ENTITY % x SYSTEM 'http://127.0.0.1:1/x'> %x;]>",
    '<?xml version="1.1"?>',
    '<?xml version="1.0" encoding="utf-7"?>',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="no-such"?>',
    '<?xml-stylesheet href="http://127.0.0.1:1/x"?>',
)
_FRAGMENTS = (
    "&x;", "&#0;", "&#xFFFE;", "&#xD800;", "&#1;", "&nbsp;", "<x/>", "<!-- -->", "<!--", "<![CDATA[x]]>", "<?pi x?>", "text", "</Patient>", "<", ">",
    '<extension url="u"/>', '<extension xmlns="urn:x" url="u"/>', '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>', "\x00", "\ud800",
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>', '<id value="x" value="y"/>', '<id xml:id="x" value="z"/>',
    "<a:b/>", '<contained><Patient xmlns="http://hl7.org/fhir"/></contained>',
)  # fmt: skip
_VALUES = (
    "", " ", "&amp;", "&#10;", "1e400", "9" * 50, "2020-02-30", "true ", "TRUE", "$where", "x" * 5000, "&lt;", "-0.0", "NaN", "INF", "\ufffe", "0x1", "1e5",
)  # fmt: skip


def _at(pattern: re.Pattern[str], number: int, put: Callable[[re.Match[str]], str]) -> Text:
    def edit(text: str) -> str:
        found = list(pattern.finditer(text))
        if not found:
            return text
        match = found[number % len(found)]
        return text[: match.start()] + put(match) + text[match.end() :]

    return edit


def _value(number: int, value: str) -> Text:
    return _at(_ATTRIBUTE, number, lambda _: f'value="{value}"')


def _after_tag(number: int, fragment: str) -> Text:
    return _at(_TAG, number, lambda match: match[0] + fragment)


def _without_tag(number: int) -> Text:
    return _at(_TAG, number, lambda _: "")


def _attribute(number: int, attribute: str) -> Text:
    return _at(_TAG, number, lambda match: f"{match[0].rstrip('/>')} {attribute}{'/' if match[0].endswith('/>') else ''}>")


def _deep(number: int, depth: int) -> Text:
    inner = '<extension url="u">' * depth + '<valueString value="x"/>' + "</extension>" * depth
    return _after_tag(number, inner)


def _before(doctype: str) -> Text:
    return lambda text: doctype + text.replace('value="', 'value="&x;', 1)


_numbers = st.integers(0, 5000)
xml_edits: st.SearchStrategy[list[Text]] = st.lists(
    st.one_of(
        st.builds(_value, _numbers, st.sampled_from(_VALUES)),
        st.builds(_after_tag, _numbers, st.sampled_from(_FRAGMENTS)),
        st.builds(_without_tag, _numbers),
        st.builds(
            _attribute, _numbers, st.sampled_from(['x="y"', 'value="z"', 'id="1 2"', 'url=""', 'xmlns="urn:x"', 'xsi:nil="true"'])
        ),
        st.builds(_deep, _numbers, st.sampled_from([1, 70, 200, 5000])),
        st.sampled_from(_DOCTYPES).map(_before),
    ),
    min_size=1,
    max_size=3,
)
