"""An OpenAPI description of the FHIR paths: https://spec.openapis.org/oas/v3.1.0.

All resource types share their paths; the type is a parameter whose values are listed.
"""

from typing import Any

from fhir_server import __version__
from fhir_server.engine import OPERATIONS
from fhir_server.fhir.definitions import RESOURCE_TYPES

JSON, XML = "application/fhir+json", "application/fhir+xml"
Parts = dict[str, Any]
_ID = {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}
_EMPTY = ("204", "304")
_ERRORS = ("400", "404", "405", "406", "409", "410", "412", "413", "414", "415", "422", "428", "503")


def openapi(base_url: str) -> Parts:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FHIR R4 REST API",
            "version": __version__,
            "description": "The RESTful API of https://hl7.org/fhir/R4/http.html; see /metadata for search parameters.",
        },
        "servers": [{"url": base_url}],
        "paths": {
            "/": {"get": _search("Search all types"), "post": _write("Process a batch or transaction", "200")},
            "/metadata": {"get": _read("The CapabilityStatement")},
            "/_history": {"get": _read("History of the system", *_history())},
            "/{type}": {"parameters": [_path("type")], **_type_methods()},
            "/{type}/_search": {"parameters": [_path("type")], "post": _form("Search a type by POST")},
            "/{type}/_history": {"parameters": [_path("type")], "get": _read("History of a type", *_history())},
            "/{type}/{id}": {"parameters": [_path("type"), _path("id")], **_instance_methods()},
            "/{type}/{id}/_history": {
                "parameters": [_path("type"), _path("id")],
                "get": _read("History of a resource", *_history()),
            },
            "/{type}/{id}/_history/{version}": {
                "parameters": [_path("type"), _path("id"), _path("version")],
                "get": _read("Read a version (vread)"),
            },
            "/{type}/{id}/{member}": {
                "parameters": [_path("type"), _path("id"), _path("member")],
                "get": _search("Search a compartment"),
            },
            **_operation_paths(),
        },
        "components": {"schemas": {"Resource": _resource_schema()}},
    }


def _type_methods() -> Parts:
    return {
        "get": _search("Search a type"),
        "post": _write("Create", "201", _header("If-None-Exist")),
        "put": _write("Conditional update", "200", *_criteria(), more={"201": "Created"}),
        "patch": _patch("Conditional patch", *_criteria()),
        "delete": _delete("Conditional delete", *_criteria()),
    }


def _instance_methods() -> Parts:
    match = _header("If-Match")
    return {
        "get": _read("Read", _header("If-None-Match"), _header("If-Modified-Since"), _query("_summary"), _query("_elements")),
        "put": _write("Update, or create under this id", "200", match, more={"201": "Created"}),
        "patch": _patch("Patch", match),
        "delete": _delete("Delete", match),
    }


def _operation_paths() -> Parts:
    found: Parts = {}
    for (name, type_), operation in OPERATIONS.items():
        for level in sorted(operation.levels):
            steps = {"system": "", "type": f"/{type_ or '{type}'}", "instance": f"/{type_ or '{type}'}/{{id}}"}[level]
            parameters = [
                *([] if type_ or level == "system" else [_path("type")]),
                *([_path("id")] if level == "instance" else []),
            ]
            methods: Parts = {"post": _write(f"${name}", "200")}
            if not operation.affects_state:
                methods["get"] = _read(f"${name}")
            found[f"{steps}/${name}"] = {"parameters": parameters, **methods}
    return found


def _operation(summary: str, responses: dict[str, str], parameters: tuple[Parts, ...], body: Parts | None = None) -> Parts:
    described: Parts = {
        status: {"description": text} | ({} if status in _EMPTY else {"content": _content()})
        for status, text in responses.items()
    }
    described |= {status: {"description": "OperationOutcome", "content": _content()} for status in _ERRORS}
    common = [_query("_format"), _query("_pretty"), _header("Prefer")]
    found: Parts = {"summary": summary, "parameters": [*parameters, *common], "responses": described}
    return found | ({"requestBody": body} if body else {})


def _read(summary: str, *parameters: Parts) -> Parts:
    return _operation(summary, {"200": "Found", "304": "Not modified"}, parameters)


def _search(summary: str) -> Parts:
    return _operation(summary, {"200": "A searchset Bundle"}, (*_criteria(), _query("_count"), _query("_sort"), _query("_total")))


def _write(summary: str, status: str, *parameters: Parts, more: dict[str, str] | None = None) -> Parts:
    responses = {status: "Done"} | (more or {"200": "Done"})
    return _operation(summary, responses, parameters, {"required": True, "content": _content()})


def _patch(summary: str, *parameters: Parts) -> Parts:
    operations = {"schema": {"type": "array", "items": {"type": "object"}}}
    body = {"required": True, "content": {"application/json-patch+json": operations, **_content()}}
    return _operation(summary, {"200": "Patched"}, parameters, body)


def _form(summary: str) -> Parts:
    form = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
    body = {"required": False, "content": {"application/x-www-form-urlencoded": form}}
    return _operation(summary, {"200": "A searchset Bundle"}, (), body)


def _delete(summary: str, *parameters: Parts) -> Parts:
    return _operation(summary, {"200": "Deleted", "204": "Deleted, or nothing there"}, parameters)


def _content() -> Parts:
    return {JSON: {"schema": {"$ref": "#/components/schemas/Resource"}}, XML: {"schema": {"type": "string"}}}


def _resource_schema() -> Parts:
    properties = {"resourceType": {"type": "string", "enum": sorted(RESOURCE_TYPES)}, "id": _ID}
    return {"type": "object", "required": ["resourceType"], "properties": properties}


def _path(name: str) -> Parts:
    schemas: Parts = {
        "type": {"type": "string", "enum": sorted(RESOURCE_TYPES)},
        "member": {"type": "string", "enum": ["*", *sorted(RESOURCE_TYPES)]},
        "version": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    }
    return {"name": name, "in": "path", "required": True, "schema": schemas.get(name, _ID)}


def _query(name: str) -> Parts:
    return {"name": name, "in": "query", "schema": {"type": "string"}}


def _header(name: str) -> Parts:
    return {"name": name, "in": "header", "schema": {"type": "string"}}


def _criteria() -> tuple[Parts, ...]:
    return tuple(_query(name) for name in ("_id", "_lastUpdated", "_tag", "_profile", "identifier"))


def _history() -> tuple[Parts, ...]:
    return tuple(_query(name) for name in ("_count", "_since", "_at"))
