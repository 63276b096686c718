"""Patches of a resource: https://hl7.org/fhir/R4/http.html#patch.

The two kinds of patch that a FHIR client may send in JSON (or, as Parameters, in XML). Neither judges whether the
outcome is valid FHIR; that is for the caller to check.
"""

from typing import Any

from fhir_server.fhir import fhirpath_patch as by_fhirpath
from fhir_server.fhir import json_patch as by_pointer
from fhir_server.fhir.outcome import unprocessable


def json_patch(resource: dict[str, Any], operations: Any, *, max_depth: int = 64) -> dict[str, Any]:
    """Return the resource with a JSON Patch (RFC 6902) applied; the one given stays as it is.

    Raises:
        FhirError: 400 when `operations` is no JSON Patch, 422 when it can not be applied.
    """
    patched = by_pointer.apply(resource, operations, max_depth=max_depth)
    if not isinstance(patched, dict):
        raise unprocessable("The JSON Patch leaves a value that is no resource.")
    return patched


def fhirpath_patch(resource: dict[str, Any], parameters: dict[str, Any], *, max_depth: int = 64) -> dict[str, Any]:
    """Return the resource with a FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html) applied; the one given stays.

    Raises:
        FhirError: 400 when `parameters` is no FHIRPath Patch, 422 when it can not be applied.
    """
    return by_fhirpath.apply(resource, parameters, max_depth=max_depth)
