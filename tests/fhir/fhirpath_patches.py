"""How the tests write FHIRPath patches."""

from typing import Any

import pytest

from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.patch import fhirpath_patch
from fhir_server.fhir.xml import from_xml, to_xml

Json = dict[str, Any]
A_NAME = {"valueHumanName": {"text": "a name"}}


def part(name: str, **value: Any) -> Json:
    """Return a part with a value[x], a resource or parts."""
    return {"name": name, **value}


def op(type_: str, path: str, value: Json | None = None, **more: Any) -> Json:
    """Return one operation."""
    parts = [part("type", valueCode=type_), part("path", valueString=path)]
    if value is not None:
        parts.append({"name": "value", **value})
    parts += [part(name, valueString=item) if name == "name" else part(name, valueInteger=item) for name, item in more.items()]
    return {"name": "operation", "part": parts}


def patch(resource: Json, *operations: Json) -> Json:
    """Return the patched Patient without its type; what was given must stay as it was."""
    whole = {"resourceType": "Patient", **resource}
    before = clone(whole)
    parameters = {"resourceType": "Parameters", "parameter": list(operations)}
    patched = fhirpath_patch(whole, parameters)
    assert whole == before
    assert fhirpath_patch(whole, from_xml(to_xml(parameters))) == patched
    assert patched.pop("resourceType") == "Patient"
    return patched


def refused(resource: Json, *operations: Any, status: int = 422) -> str:
    """Return why the patch is refused."""
    with pytest.raises(FhirError) as caught:
        fhirpath_patch({"resourceType": "Patient", **resource}, {"resourceType": "Parameters", "parameter": list(operations)})
    assert caught.value.status == status
    return caught.value.issues[0].diagnostics


def ids(*values: str) -> Json:
    """Return a Patient with these identifiers."""
    return {"identifier": [{"system": "http://example.org", "value": value} for value in values]}
