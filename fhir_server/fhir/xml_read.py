"""XML to JSON tree: https://hl7.org/fhir/R4/xml.html.

Read with expat, which knows line and column of everything and the very bytes of the narrative. Refused: a DOCTYPE and
with it every entity of one's own, what R4 does not know, text where none belongs, empty elements. Elements are accepted
in any order; comments and processing instructions are ignored.
"""

import re
from typing import Any, NoReturn
from xml.parsers import expat

from fhir_server.fhir.codec import parse_number
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import FhirError, bad_request
from fhir_server.fhir.xml_encoding import as_utf8
from fhir_server.fhir.xml_narrative import from_slice
from fhir_server.fhir.xml_tables import FHIR, XHTML, XSI, Form, Row, rows_of

_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
_BOOLEANS = {"true": True, "false": False}
_SCHEMA_LOCATION = f"{XSI} schemaLocation"
_PREFIX = FHIR + " "
_HTML = XHTML + " "
_END_OF_DIV = re.compile(rb"</(?:[^\s>:/]+:)?div[\s>]")
_HINTS = {
    "undefined entity": "; XML itself knows only &amp; &lt; &gt; &quot; &apos;, write others as numbers, such as &#160;",
    "unbound prefix": "; a prefix needs its xmlns declaration",
}


def from_xml(data: bytes, *, max_depth: int = 64) -> dict[str, Any]:
    """Return the resource that an XML document holds.

    Raises:
        FhirError: 400 `structure`, with line and column, when it is no such thing or is nested deeper than `max_depth`.
    """
    return _Reader(as_utf8(data), max_depth).read()


class _Frame:
    """An element that is open."""

    __slots__ = ("content", "depth", "form", "gaps", "name", "row", "rows", "type", "value")

    def __init__(self, name: str, type_: str, form: Form, row: Row | None, depth: int) -> None:
        self.name = name
        self.type = type_
        self.form = form
        self.row = row
        self.depth = depth
        """How deep the JSON object of the element is nested."""
        self.rows = {} if form is Form.RESOURCE else rows_of(type_)
        self.content: dict[str, Any] = {}
        self.value: Any = None
        self.gaps: set[str] = set()
        """Names of repeating primitives of which an item has no value."""


class _Reader:
    """One document being read."""

    def __init__(self, data: bytes, max_depth: int) -> None:
        self.data = data
        self.max_depth = max_depth
        self.stack: list[_Frame] = []
        self.result: dict[str, Any] = {}
        self.namespaces: list[tuple[str, str]] = []
        self.html_depth = 0
        self.html_start = 0
        parser = self.parser = expat.ParserCreate("utf-8", " ")
        parser.StartDoctypeDeclHandler = self.doctype
        parser.StartNamespaceDeclHandler = lambda prefix, uri: self.namespaces.append((prefix or "", uri or ""))
        parser.EndNamespaceDeclHandler = lambda _prefix: self.namespaces.pop()
        self.outside_html()

    def outside_html(self) -> None:
        """Read FHIR elements."""
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text

    def read(self) -> dict[str, Any]:
        """Return the resource."""
        try:
            self.parser.Parse(self.data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise _malformed(f"{reason}{_HINTS.get(reason, '')}", error.lineno, error.offset + 1) from None
        return self.result

    def refuse(self, why: str) -> NoReturn:
        """Raise the error of what the parser has just come to."""
        path = self.path()
        raise _malformed(why, self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1, path)

    def path(self) -> str:
        """Return the FHIRPath of the innermost open element."""
        path = ""
        for outer, frame in zip([None, *self.stack], self.stack, strict=False):
            if outer is None:
                path = frame.type
            elif frame.row is not None:
                path += f".{frame.name}"
                if frame.row.repeats:
                    path += f"[{len(outer.content.get(frame.name, ()))}]"
        return path

    def doctype(self, *_declaration: object) -> None:
        """Refuse a DOCTYPE, and so entities and external files."""
        self.refuse("a DOCTYPE is not allowed")

    def text(self, text: str) -> None:
        """Refuse text between FHIR elements."""
        if text.strip():
            self.refuse(f"the text {text.strip()[:40]!r} is not allowed here; values stand in the attribute value")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        if not self.stack:
            self.open_resource(name, attributes, None, 1)
            return
        parent = self.stack[-1]
        if parent.form is Form.RESOURCE:
            if parent.content:
                self.refuse(f"{parent.name} must hold one resource")
            self.open_resource(name, attributes, parent, parent.depth)
            return
        local = name.removeprefix(_PREFIX)
        row = parent.rows.get(local)
        if name == _HTML + "div" and "div" in parent.rows:
            self.open_html(parent)
        elif row is None or row.form in {Form.ATTRIBUTE, Form.XHTML} or local == name:
            self.refuse(_unknown(parent, name, row))
        else:
            self.open_element(parent, row, attributes)

    def open_resource(self, name: str, attributes: dict[str, str], parent: _Frame | None, depth: int) -> None:
        """Open the element of a resource."""
        type_ = name.removeprefix(_PREFIX)
        if type_ not in RESOURCE_TYPES or type_ == name:
            where = f"what {parent.name} holds" if parent else "the root"
            self.refuse(f"{where} must be a resource type of FHIR R4 in the namespace {FHIR}, not {_shown(name)}")
        frame = _Frame(type_, type_, Form.COMPLEX, None, depth)
        frame.content["resourceType"] = type_
        self.push(frame)
        self.check_attributes(attributes, frozenset())

    def open_element(self, parent: _Frame, row: Row, attributes: dict[str, str]) -> None:
        """Open an element of a type."""
        if not row.repeats and (row.name in parent.content or "_" + row.name in parent.content):
            self.refuse(f"{row.name} may stand only once in {parent.type}")
        depth = parent.depth + (2 if row.repeats else 1)
        frame = _Frame(row.name, row.type, row.form, row, depth)
        self.push(frame)
        if row.form is Form.RESOURCE:
            self.check_attributes(attributes, frozenset())
            return
        allowed = _ATTRIBUTES["primitive" if row.form is Form.PRIMITIVE else row.type if row.type == "Extension" else ""]
        self.check_attributes(attributes, allowed)
        for name in ("id", "url"):
            if name in attributes:
                frame.content[name] = attributes[name]
        if "value" in attributes:
            frame.value = self.primitive(row.type, attributes["value"])

    def push(self, frame: _Frame) -> None:
        """Make an element the innermost open one."""
        if frame.depth > self.max_depth:
            self.refuse(f"the document is nested deeper than {self.max_depth} levels")
        self.stack.append(frame)

    def check_attributes(self, attributes: dict[str, str], allowed: frozenset[str]) -> None:
        """Refuse unknown and empty attributes."""
        for name, value in attributes.items():
            if name not in allowed and name != _SCHEMA_LOCATION:
                self.refuse(f"the attribute {name.rpartition(' ')[2]} is not allowed on {self.stack[-1].name}")
            if not value:
                self.refuse(f"the attribute {name} of {self.stack[-1].name} is empty")

    def primitive(self, type_: str, text: str) -> Any:
        """Return the JSON value of the text of a primitive."""
        if type_ == "boolean":
            if text not in _BOOLEANS:
                self.refuse(f"{text[:40]!r} is no boolean; it must be true or false")
            return _BOOLEANS[text]
        if type_ in _INTEGERS:
            if not _INTEGER.fullmatch(text):
                self.refuse(f"{text[:40]!r} is no whole number")
            return int(text)
        if type_ != "decimal":
            return text
        if not _DECIMAL.fullmatch(text):
            self.refuse(f"{text[:40]!r} is no decimal number")
        try:
            return parse_number(text)
        except ValueError as error:
            self.refuse(str(error))

    def end(self, _name: str) -> None:
        """Close an element, and give it to the one around it."""
        frame = self.stack[-1]
        for name in frame.gaps:
            if all(item is None for item in frame.content[name]):
                del frame.content[name]
        if frame.value is None and not frame.content:
            self.refuse(f"{frame.name} is empty; an element must have a value, a child or both")
        self.stack.pop()
        if frame.row is None:
            self.close_resource(frame)
        elif frame.form is Form.PRIMITIVE:
            _add_primitive(self.stack[-1], frame.row, frame.value, frame.content)
        else:
            _add(self.stack[-1], frame.row, frame.content)

    def close_resource(self, frame: _Frame) -> None:
        """Give a resource to the element that holds it."""
        if self.stack:
            self.stack[-1].content = frame.content
        else:
            self.result = frame.content

    def open_html(self, parent: _Frame) -> None:
        """Pass over a narrative, remembering where it begins."""
        if "div" in parent.content:
            self.refuse("div may stand only once in Narrative")
        self.html_depth = 1
        self.html_start = self.parser.CurrentByteIndex
        self.parser.StartElementHandler = self.start_html
        self.parser.EndElementHandler = self.end_html
        self.parser.CharacterDataHandler = None

    def start_html(self, _name: str, _attributes: dict[str, str]) -> None:
        """Count the nesting of a narrative."""
        self.html_depth += 1
        if self.html_depth > self.max_depth:
            self.refuse(f"the narrative is nested deeper than {self.max_depth} levels")

    def end_html(self, _name: str) -> None:
        """Take a narrative as it stands when its div closes."""
        self.html_depth -= 1
        if self.html_depth:
            return
        end = self.parser.CurrentByteIndex
        if _END_OF_DIV.match(self.data, end):  # Else it is an empty-element tag, after which the parser stands already.
            end = self.data.index(b">", end) + 1
        self.stack[-1].content["div"] = from_slice(self.data[self.html_start : end].decode(), dict(self.namespaces))
        self.outside_html()


_ATTRIBUTES = {"primitive": frozenset({"id", "value"}), "Extension": frozenset({"id", "url"}), "": frozenset({"id"})}


def _add(parent: _Frame, row: Row, value: Any) -> None:
    if row.repeats:
        parent.content.setdefault(row.name, []).append(value)
    else:
        parent.content[row.name] = value


def _add_primitive(parent: _Frame, row: Row, value: Any, extra: dict[str, Any]) -> None:
    """Add a primitive: its value under its name, its id and extensions under `_name`; null keeps a place in a list."""
    content, name, extra_name = parent.content, row.name, "_" + row.name
    if not row.repeats:
        if value is not None:
            content[name] = value
        if extra:
            content[extra_name] = extra
        return
    values = content.setdefault(name, [])
    if extra or extra_name in content:
        extras = content.setdefault(extra_name, [None] * len(values))
        extras.append(extra or None)
    values.append(value)
    if value is None:
        parent.gaps.add(name)


def _unknown(parent: _Frame, name: str, row: Row | None) -> str:
    local = name.rpartition(" ")[2]
    if row is not None and row.form is Form.ATTRIBUTE:
        return f"{local} of {parent.type} is an attribute, not an element"
    if row is None and name in {local, _PREFIX + local}:
        known = parent.rows.get(local)
        if known is None and name != local:
            return f"{parent.type} has no element {local}"
    namespace = XHTML if local == "div" else FHIR
    return f"{_shown(name)} is not an element of {parent.type}; elements are in the namespace {namespace}"


def _shown(name: str) -> str:
    """Return a name, with its namespace unless that is FHIR's."""
    uri, _, local = name.rpartition(" ")
    if uri == FHIR:
        return local
    return f"{{{uri}}}{local}" if uri else f"{local} without a namespace"


def _malformed(what: str, line: int, column: int, path: str = "") -> FhirError:
    return bad_request(f"Malformed XML: {what} (line {line}, column {column}).", path, code="structure")
