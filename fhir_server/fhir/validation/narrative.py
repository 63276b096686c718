"""The XHTML of a narrative: https://hl7.org/fhir/R4/narrative.html#xhtml (invariant txt-1)."""

from typing import Any

from lxml import etree

from fhir_server.fhir.validation.problem import Problem, Problems, quote, wrong_kind

XHTML = "http://www.w3.org/1999/xhtml"
_NAMESPACE = f"{{{XHTML}}}"

_ELEMENTS = frozenset(
    """a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img li
    ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var""".split()  # noqa: SIM905 - 47 literals read worse
)
_ATTRIBUTES = frozenset(
    """abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff charset cite
    class colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name nowrap rel rev
    rowspan rules scope shape span src start style summary tabindex title type valign value vspace width
    {http://www.w3.org/XML/1998/namespace}lang {http://www.w3.org/XML/1998/namespace}space""".split()  # noqa: SIM905 - 59 literals read worse
)
_ACTIVE_SCHEMES = ("javascript:", "vbscript:")


def check_narrative(value: Any, _owner: object) -> Problems | None:
    """Well-formed XHTML in a `div`, of plain formatting only."""
    if type(value) is not str:
        return wrong_kind("a string", value)
    try:
        root = etree.fromstring(value, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        return [Problem("value", f"The narrative is not well-formed XHTML: {error}.")]
    if root.tag != f"{_NAMESPACE}div":
        return [Problem("value", f"The narrative has to be a <div> in the namespace {XHTML}, not {quote(root.tag)}.")]
    problems = [
        Problem("invariant", f"txt-1: {what} is not allowed in a narrative.")
        for element in root.iter()
        if (what := _forbidden(element)) is not None
    ]
    return problems or None


def _parser() -> etree.XMLParser:
    """Return a parser that reads nothing but the text; one a call, because parsers are not shared between threads."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _forbidden(element: Any) -> str | None:
    if element.tag is etree.Comment:
        return None
    if not isinstance(element.tag, str):
        return "a processing instruction or entity"
    if element.tag.removeprefix(_NAMESPACE) not in _ELEMENTS:
        return f"the element <{element.tag.removeprefix(_NAMESPACE)}>"
    for name, text in element.items():
        if name not in _ATTRIBUTES:
            return f"the attribute {name!r}"
        if name in {"href", "src"} and text.strip().lower().startswith(_ACTIVE_SCHEMES):
            return f"the link {text!r}"
    return None


def has_content(value: str) -> bool:
    """Say whether a well-formed narrative shows anything (txt-2)."""
    root = etree.fromstring(value, _parser())
    return any(text.strip() for text in root.itertext()) or any(image.get("src") for image in root.iter(f"{_NAMESPACE}img"))
