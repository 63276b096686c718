"""How the elements of each type stand in XML: https://hl7.org/fhir/R4/xml.html."""

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

from fhir_server.fhir.definitions import TYPES, Element, Type

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Form(Enum):
    """What XML makes of an element."""

    ATTRIBUTE = auto()
    PRIMITIVE = auto()
    COMPLEX = auto()
    RESOURCE = auto()
    """An element that holds one resource, such as `contained`."""
    XHTML = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """One element of a type."""

    order: int
    name: str
    type: str
    form: Form
    repeats: bool


@cache
def rows_of(type_: str) -> dict[str, Row]:
    """Return the elements of a type by their JSON name, in the order of the specification."""
    definition = TYPES[type_]
    return {
        name: Row(order, name, element.type, _form(definition, element), element.max is None or element.max > 1)
        for order, (name, element) in enumerate(definition.elements.items())
        if element.max != 0
    }


def _form(definition: Type, element: Element) -> Form:
    if definition.kind != "resource" and (element.name == "id" or (definition.name == "Extension" and element.name == "url")):
        return Form.ATTRIBUTE
    if element.type == "Resource":
        return Form.RESOURCE
    if element.type == "xhtml":
        return Form.XHTML
    return Form.PRIMITIVE if TYPES[element.type].kind == "primitive" else Form.COMPLEX
