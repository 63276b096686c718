"""From a method and a path below the base to a Call: https://hl7.org/fhir/R4/http.html#summary.

The HTTP face and Bundles share this one table of paths.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fhir_server.exchange import Call, Params
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import bad_request, method_not_allowed, not_supported, unknown_type
from fhir_server.interactions.reading import ID, check_id

READS = {"GET", "HEAD"}
_ON_INSTANCE = {"GET": "read", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed path: what the methods on it mean."""

    interactions: dict[str, str]
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""
    compartment: tuple[str, str] | None = None


def call_for(method: str, path: str, params: Params = (), **details: Any) -> Call:
    """Return the Call that a request asks for.

    `path` is relative to the base, without a query: `Patient/123/_history/2`. `details` are further members of the
    Call: body, preconditions, preferences.

    Raises:
        FhirError: 404 for an unknown type or path, 400 for what is no id, 405 for a method that the path lacks.
    """
    inner = path.strip("/")
    parts = inner.split("/") if inner else []
    target = _target([unquote(part) for part in parts] if "%" in inner else parts, path)
    interaction = target.interactions.get("GET" if method == "HEAD" else method)
    if interaction is None:
        raise method_not_allowed(method, path or "/", ", ".join(target.interactions))
    return Call(
        interaction,
        target.type,
        target.id,
        target.version,
        target.operation,
        target.compartment,
        params,
        affects_state=method not in READS,
        **details,
    )


def _target(parts: list[str], path: str) -> _Target:
    match parts:
        case [type_, id_] if type_ in RESOURCE_TYPES and ID.fullmatch(id_):
            return _Target(_ON_INSTANCE, type_, id_)
        case []:
            return _Target({"GET": "search-system", "POST": "transaction"})
        case ["metadata"]:
            return _Target({"GET": "capabilities"})
        case ["_history"]:
            return _Target({"GET": "history-system"})
        case ["_search"]:
            return _Target({"GET": "search-system", "POST": "search-system"})
        case [name] if name.startswith("$"):
            return _operation(name)
        case [type_, *rest]:
            if type_ not in RESOURCE_TYPES:
                raise unknown_type(type_)
            return _type_target(type_, rest, path)
    raise AssertionError


def _type_target(type_: str, parts: list[str], path: str) -> _Target:
    match parts:
        case []:
            return _Target({"GET": "search-type", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}, type_)
        case ["_search"]:
            return _Target({"GET": "search-type", "POST": "search-type"}, type_)
        case ["_history"]:
            return _Target({"GET": "history-type"}, type_)
        case [name] if name.startswith("$"):
            return _operation(name, type_)
        case [id_, *rest]:
            return _instance_target(type_, check_id(id_), rest, path)
    raise AssertionError


def _instance_target(type_: str, id_: str, parts: list[str], path: str) -> _Target:
    match parts:
        case []:
            return _Target(_ON_INSTANCE, type_, id_)
        case ["_history"]:
            return _Target({"GET": "history-instance"}, type_, id_)
        case ["_history", version]:
            return _Target({"GET": "vread"}, type_, id_, version)
        case [name] if name.startswith("$"):
            return _operation(name, type_, id_)
        case [other] if other == "*" or other in RESOURCE_TYPES:
            return _Target({"GET": "search-compartment"}, "" if other == "*" else other, compartment=(type_, id_))
        case [other, "_search"] if other == "*" or other in RESOURCE_TYPES:
            return _Target(
                {"GET": "search-compartment", "POST": "search-compartment"},
                "" if other == "*" else other,
                compartment=(type_, id_),
            )
    raise not_supported(f"There is nothing at {path!r}.", status=404)


def _operation(name: str, type_: str = "", id_: str = "") -> _Target:
    if len(name) == 1:
        raise bad_request("An operation needs a name after the '$'.")
    return _Target({"GET": "operation", "POST": "operation"}, type_, id_, operation=name[1:])
