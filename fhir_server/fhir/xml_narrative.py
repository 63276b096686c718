"""The narrative, which is XML inside JSON: https://hl7.org/fhir/R4/narrative.html.

It is taken over character by character wherever it can stand alone; only where it relies on namespaces that are
declared around it is it written anew. XML can not hold a carriage return as such: between tags it becomes `&#xD;` and
back again.
"""

import re
from collections.abc import Mapping
from html.entities import html5
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from fhir_server.fhir.xml_tables import XHTML

_DIV = f"{XHTML} div"
_SELF_CONTAINED = re.compile(rf'<div\s+xmlns="{re.escape(XHTML)}"')
_PREFIXED = re.compile(r"<[^\s/>!?]+:|\sxmlns:")
_MARKUP = re.compile(r"(<!--.*?-->|<!\[CDATA\[.*?\]\]>|<(?:\"[^\"]*\"|'[^']*'|[^\"'>])*>)", re.DOTALL)
_NAMED_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*;)")
_XML_ENTITIES = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})


class NarrativeError(ValueError):
    """A narrative that is no XHTML div."""


def as_xml(div: str) -> str:
    """Return a narrative so that it can stand in an XML document.

    Raises:
        NarrativeError: it is no well-formed div.
    """
    try:
        namespace = _check(div)
    except NarrativeError:
        if not _NAMED_ENTITY.search(div):
            raise
        div = _NAMED_ENTITY.sub(_character, div)
        namespace = _check(div)
    if not namespace:
        div = re.sub(r"<div\b", f'<div xmlns="{XHTML}"', div, count=1)
    return _keep_returns(div) if "\r" in div else div


def from_slice(text: str, namespaces: Mapping[str, str]) -> str:
    """Return the narrative of a piece of XML, around which the namespaces are declared."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not _SELF_CONTAINED.match(text) or _PREFIXED.search(text):
        try:
            if not _check(text):
                text = _rewrite(text, namespaces)
        except NarrativeError:
            text = _rewrite(text, namespaces)
    return text.replace("&#xD;", "\r")


def _character(match: re.Match[str]) -> str:
    name = match[1]
    return match[0] if name in _XML_ENTITIES else html5.get(name, match[0])


def _keep_returns(div: str) -> str:
    pieces = _MARKUP.split(div)
    for number, piece in enumerate(pieces):
        is_markup = number % 2
        pieces[number] = piece.replace("\r\n", "\n").replace("\r", "\n") if is_markup else piece.replace("\r", "&#xD;")
    return "".join(pieces)


def _check(div: str) -> bool:
    """Tell whether a div declares its namespace.

    Raises:
        NarrativeError: it is not one div, or not well-formed.
    """
    outer: list[str] = []
    depth = 0

    def start(name: str, _attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth == 2:  # noqa: PLR2004  # The wrapper is 1.
            outer.append(name)

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def text(data: str) -> None:
        if depth == 1 and data.strip():
            raise NarrativeError("there is text around the div")

    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(f"<x>{div}</x>".encode(), True)
    except expat.ExpatError as error:
        column = error.offset + 1 - (len("<x>") if error.lineno == 1 else 0)
        raise NarrativeError(f"{expat.ErrorString(error.code)} in its line {error.lineno}, column {column}") from None
    except UnicodeEncodeError:
        raise NarrativeError("it holds half of a surrogate pair") from None
    if len(outer) != 1 or outer[0] not in {_DIV, "div"}:
        raise NarrativeError("it is not one div element")
    return outer[0] == _DIV


def _rewrite(text: str, namespaces: Mapping[str, str]) -> str:
    """Return a div that relies on namespaces from around it as one that does not."""
    declared = "".join(
        f" xmlns{':' if prefix else ''}{prefix}={quoteattr(uri)}" for prefix, uri in namespaces.items() if prefix != "xml"
    )
    pieces: list[str] = []
    scope = [""]

    def start(name: str, attributes: Mapping[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        if len(scope) > 1:
            own = f" xmlns={quoteattr(uri)}" if uri != scope[-1] else ""
            pieces.append(f"<{local}{own}{_attributes(attributes)}>")
        scope.append(uri if len(scope) > 1 else "")

    def end(name: str) -> None:
        scope.pop()
        if len(scope) > 1:
            pieces.append(f"</{name.rpartition(' ')[2]}>")

    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda data: pieces.append(escape(data, {"\r": "&#xD;"}))
    parser.Parse(f"<x{declared}>{text}</x>".encode(), True)
    return "".join(pieces)


def _attributes(attributes: Mapping[str, Any]) -> str:
    xml = "http://www.w3.org/XML/1998/namespace "
    return "".join(
        f" {name.replace(xml, 'xml:') if name.startswith(xml) else name.rpartition(' ')[2]}={quoteattr(value)}"
        for name, value in attributes.items()
    )
