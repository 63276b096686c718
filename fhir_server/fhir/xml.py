"""XML both ways: https://hl7.org/fhir/R4/xml.html.

Between XML and the JSON tree that the rest of the server works on nothing is lost: decimals keep their digits, text its
white space, primitives their id and extensions, the narrative its very characters.
"""

from fhir_server.fhir.xml_read import from_xml
from fhir_server.fhir.xml_write import to_xml

__all__ = ["from_xml", "to_xml"]
