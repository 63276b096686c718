"""From the claims of a verified token to a principal.

https://www.rfc-editor.org/rfc/rfc9068, https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_server.config import Settings
from fhir_server.exchange import Principal
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.fhir.outcome import unauthorized

_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLIENT_CLAIMS: Final = ("client_id", "azp", "appid", "cid")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where tokens say what no standard has a claim for; a path such as `realm_access.roles` leads into objects."""

    tenant: str = "tenant"
    roles: str = "roles"


def principal_of(claims: Mapping[str, Any], settings: Settings, names: "ClaimNames") -> Principal:
    """Return who a token speaks for.

    Raises:
        FhirError: 401, a claim can not be read.
    """
    client = next((claims[name] for name in _CLIENT_CLAIMS if isinstance(claims.get(name), str)), "")
    subject = claims.get("sub") or client
    if not isinstance(subject, str) or not subject:
        raise unauthorized("The token names neither a subject nor a client.", "invalid_token")
    return Principal(
        id=subject,
        scopes=frozenset(_words(claims.get("scope", claims.get("scp")))),
        tenant=_tenant(claims, settings, names.tenant),
        issuer=str(claims.get("iss", "")),
        client=client,
        roles=frozenset(_words(_at(claims, names.roles))),
        fhir_user=_fhir_user(claims.get("fhirUser")),
        patient=_id(claims.get("patient")),
        encounter=_id(claims.get("encounter")),
    )


def _tenant(claims: Mapping[str, Any], settings: Settings, name: str) -> str:
    found = _at(claims, name)
    if found is None:
        return settings.default_tenant
    if not isinstance(found, str) or not _TENANT.fullmatch(found):
        raise unauthorized(f"The claim {name} of the token names no tenant.", "invalid_token")
    return found


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim; a path leads into objects, unless a claim has the whole of it as its name."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _id(value: Any) -> str:
    """Return the id of a launch context, which some servers give as a reference."""
    text = value.rpartition("/")[2] if isinstance(value, str) else ""
    return text if _ID.fullmatch(text) else ""


def _fhir_user(value: Any) -> str:
    """Return `Type/id` of the claim `fhirUser`, which is a URL or a relative reference."""
    parts = value.rstrip("/").split("/")[-2:] if isinstance(value, str) else []
    if len(parts) == 2 and parts[0] in RESOURCE_TYPES and _ID.fullmatch(parts[1]):  # noqa: PLR2004 -- a type and an id
        return "/".join(parts)
    return ""
