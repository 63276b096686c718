"""capabilities: https://hl7.org/fhir/R4/http.html#capabilities.

The CapabilityStatement is made from what the server has: the engine's tables, the registry of search parameters, the
settings. `statement` is pure; `capability-statement.json` in the repository is what it gives by default.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from fhir_server import __version__
from fhir_server.config import Settings
from fhir_server.exchange import Call, Context, OperationEntry, Reply, Resource
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.registry import BUILTIN, Registry, SearchParameter
from fhir_server.security.authorization import discovery

DATE = "2026-11-24"
"""When the shape of the statement last changed."""
FORMATS = ["application/fhir+json", "application/fhir+xml", "json", "xml"]
PATCH_FORMATS = ["application/json-patch+json", "application/fhir+json", "application/fhir+xml"]
_INTERACTIONS = ("read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type")


async def capabilities(ctx: Context, call: Call) -> Reply:
    """Answer what this server can do."""
    del call
    return Reply(200, statement(ctx.settings, ctx.operations, ctx.registry or BUILTIN, ctx.base_url))


def statement(settings: Settings, operations: tuple[OperationEntry, ...], registry: Registry, base_url: str) -> Resource:
    """Return the CapabilityStatement: https://hl7.org/fhir/R4/capabilitystatement.html."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "publisher": "The operators of this server",
        "kind": "instance",
        "software": {"name": "fhir-prm-server", "version": __version__},
        "implementation": {"description": "FHIR R4 on MongoDB", **({"url": base_url} if base_url else {})},
        "fhirVersion": "4.0.1",
        "format": FORMATS,
        "patchFormat": PATCH_FORMATS,
        "rest": [_rest(settings, operations, registry)],
    }


@lru_cache(maxsize=16)
def _rest(settings: Settings, operations: tuple[OperationEntry, ...], registry: Registry) -> dict[str, Any]:
    pointing = _pointing(registry)
    return {
        "mode": "server",
        "security": _security(settings),
        "resource": [
            _resource(settings, operations, registry, type_, sorted(pointing[type_])) for type_ in sorted(RESOURCE_TYPES)
        ],
        "interaction": [{"code": code} for code in ("transaction", "batch", "search-system", "history-system")],
        "searchParam": [_parameter(found) for _, found in sorted(_shared(registry).items())],
    }


def _security(settings: Settings) -> dict[str, Any]:
    if settings.auth != "builtin":
        return {"cors": bool(settings.cors_origins)}
    # The pages of registered apps may call this server.
    return {"cors": True, **discovery.security(settings)}


def _resource(
    settings: Settings, operations: Iterable[OperationEntry], registry: Registry, type_: str, pointing: list[str]
) -> dict[str, Any]:
    shared = _shared(registry)
    parameters = {code: found for code, found in registry.of(type_).items() if found.filled and code not in shared}
    references = sorted(code for code, found in parameters.items() if found.type == "reference")
    optional = {
        "searchRevInclude": pointing,
        "searchParam": [_parameter(found) for _, found in sorted(parameters.items())],
        "operation": _operations(operations, type_),
    }
    return {
        "type": type_,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{type_}",
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update" if settings.require_if_match else "versioned",
        "readHistory": True,
        "updateCreate": settings.update_create,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "multiple" if settings.multiple_delete else "single",
        "referencePolicy": ["literal", "local", *(["enforced"] if settings.reference_check else [])],
        "searchInclude": ["*", *(f"{type_}:{code}" for code in references)],
        **{name: members for name, members in optional.items() if members},
    }


def _pointing(registry: Registry) -> Mapping[str, set[str]]:
    """Return the `_revinclude` values by the type that they point at."""
    found: dict[str, set[str]] = {type_: set() for type_ in RESOURCE_TYPES}
    for type_ in RESOURCE_TYPES:
        for code, parameter in registry.of(type_).items():
            if parameter.type == "reference" and parameter.filled:
                for target in RESOURCE_TYPES.intersection(parameter.target):
                    found[target].add(f"{type_}:{code}")
    return found


def _shared(registry: Registry) -> dict[str, SearchParameter]:
    """Return the parameters that every type has."""
    return {code: found for code, found in registry.of("Basic").items() if code.startswith("_") and found.filled}


def _parameter(found: SearchParameter) -> dict[str, Any]:
    return {
        "name": found.code,
        **({"definition": found.url} if found.url else {}),
        "type": found.type,
        **({"documentation": found.description} if found.description and found.custom else {}),
    }


def _operations(operations: Iterable[OperationEntry], type_: str) -> list[dict[str, Any]]:
    return [
        {"name": item.name, "definition": item.definition}
        for item in sorted(operations, key=lambda item: (item.name, item.definition))
        if type_ in item.types or not item.types
    ]
