"""JSON tree to XML: https://hl7.org/fhir/R4/xml.html.

Elements come in the order of the specification. A resource that holds what XML can not (a control character, a
narrative that is not well-formed) is a 406 that says where: the client can still ask for JSON.
"""

import re
from decimal import Decimal
from typing import Any

from bson.decimal128 import Decimal128

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import not_acceptable
from fhir_server.fhir.xml_narrative import NarrativeError, as_xml
from fhir_server.fhir.xml_tables import FHIR, Form, Row, rows_of

_SPECIAL = re.compile('[&<>"\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_SMALL = re.compile(r"E-[0-9]{1,2}$")
"""What Python writes with an exponent, though others (XML Schema too) expect 0.0000001."""
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


class _UnwritableError(ValueError):
    """Why something has no XML form, and where; the path grows from the inside out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str] = []


def to_xml(resource: dict[str, Any], *, pretty: bool = False) -> bytes:
    """Return the resource as an XML document in UTF-8.

    Raises:
        FhirError: 406, it holds what XML can not.
    """
    out = [_HEAD]
    try:
        _resource(out, resource, "\n" if pretty else "", f' xmlns="{FHIR}"')
    except _UnwritableError as error:
        path = ".".join([str(resource.get("resourceType") or "The resource"), *reversed(error.path)])
        raise not_acceptable(f"{path} can not be written as XML: {error}. Ask for JSON instead.") from None
    return "".join(out).encode()


def _resource(out: list[str], resource: Any, pad: str, namespace: str = "") -> None:
    type_ = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(type_, str) or type_ not in RESOURCE_TYPES:
        raise _UnwritableError("it is no resource of FHIR R4")
    out.append(f"{pad}<{type_}{namespace}>")
    _members(out, resource, type_, pad)
    out.append(f"{pad}</{type_}>")


def _members(out: list[str], content: dict[str, Any], type_: str, pad: str) -> None:
    """Write the elements of a JSON object in the order of the specification."""
    rows = rows_of(type_)
    ordered: list[tuple[int, Row]] = []
    for name in content:
        row = rows.get(name)
        if row is None:
            row = _row_of_extra(rows, content, name)
            if row is None:
                continue
        ordered.append((row.order, row))
    ordered.sort(key=_order)
    below = pad + "  " if pad else ""
    for _, row in ordered:
        if row.form is Form.ATTRIBUTE:
            continue
        try:
            _WRITE[row.form](out, content, row, below)
        except _UnwritableError as error:
            error.path.append(row.name)
            raise


def _order(item: tuple[int, Row]) -> int:
    return item[0]


def _row_of_extra(rows: dict[str, Row], content: dict[str, Any], name: str) -> Row | None:
    """Return the row of `_name`, where `name` itself is not there."""
    if name == "resourceType":
        return None
    plain = name.removeprefix("_")
    row = rows.get(plain)
    if row is None or plain == name or row.form is not Form.PRIMITIVE:
        raise _UnwritableError(f"R4 has no element {name!r} there")
    return None if plain in content else row


def _primitive(out: list[str], content: dict[str, Any], row: Row, pad: str) -> None:
    value, extra = content.get(row.name), content.get("_" + row.name)
    if not row.repeats:
        _one_primitive(out, row.name, value, extra, pad)
        return
    values, extras = _list(value), _list(extra)
    if not extras:
        for item in values:
            _one_primitive(out, row.name, item, None, pad)
        return
    for index in range(max(len(values), len(extras))):
        item = values[index] if index < len(values) else None
        _one_primitive(out, row.name, item, extras[index] if index < len(extras) else None, pad)


def _one_primitive(out: list[str], name: str, value: Any, extra: Any, pad: str) -> None:
    if not extra:
        if value is not None:
            out.append(f'{pad}<{name} value="{_text(value)}"/>')
        return
    if not isinstance(extra, dict):
        raise _UnwritableError("what stands in its member with the underscore is no object")
    stated = "" if value is None else f' value="{_text(value)}"'
    _tag(out, f"{name}{_id(extra)}{stated}", name, extra, "Element", pad)


def _complex(out: list[str], content: dict[str, Any], row: Row, pad: str) -> None:
    value = content[row.name]
    for item in _list(value) if row.repeats else (value,):
        if not isinstance(item, dict):
            raise _UnwritableError("it is no object")
        url = f' url="{_text(item["url"])}"' if row.type == "Extension" and "url" in item else ""
        _tag(out, f"{row.name}{_id(item)}{url}", row.name, item, row.type, pad)


def _tag(out: list[str], opening: str, name: str, content: dict[str, Any], type_: str, pad: str) -> None:
    out.append(f"{pad}<{opening}>")
    before = len(out)
    _members(out, content, type_, pad)
    if len(out) == before:
        out[-1] = f"{pad}<{opening}/>"
    else:
        out.append(f"{pad}</{name}>")


def _contained(out: list[str], content: dict[str, Any], row: Row, pad: str) -> None:
    value = content[row.name]
    for item in _list(value) if row.repeats else (value,):
        out.append(f"{pad}<{row.name}>")
        _resource(out, item, pad + "  " if pad else "")
        out.append(f"{pad}</{row.name}>")


def _narrative(out: list[str], content: dict[str, Any], row: Row, pad: str) -> None:
    div = content[row.name]
    if not isinstance(div, str):
        raise _UnwritableError("it is no string")
    try:
        out.append(pad + as_xml(div))
    except NarrativeError as error:
        raise _UnwritableError(f"it is no well-formed XHTML ({error})") from None


_WRITE = {Form.PRIMITIVE: _primitive, Form.COMPLEX: _complex, Form.RESOURCE: _contained, Form.XHTML: _narrative}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _UnwritableError("it is no array")
    return value


def _id(content: dict[str, Any]) -> str:
    return f' id="{_text(content["id"])}"' if "id" in content else ""


def _text(value: Any) -> str:
    """Return a primitive value as the text of an attribute."""
    if isinstance(value, str):
        return value if _SPECIAL.search(value) is None else _SPECIAL.sub(_escape, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, int | Decimal):
        text = str(value)
        return f"{value:f}" if _SMALL.search(text) else text
    raise _UnwritableError("it is no string, number or boolean")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    escaped = _ESCAPES.get(character)
    if escaped is None:
        raise _UnwritableError(f"it holds the character U+{ord(character):04X}")
    return escaped
