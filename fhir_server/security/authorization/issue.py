"""Access tokens (https://www.rfc-editor.org/rfc/rfc9068) and what an OpenID Connect id token says.

Claims of an access token beyond those of RFC 9068: `tenant`, `roles`, `grant` (the id of what was granted, for revocation),
and, as SMART names them, `patient`, `encounter`, `fhirUser`.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.grants import Grant
from fhir_server.security.authorization.keys import ALGORITHM
from fhir_server.security.authorization.place import Place
from fhir_server.security.authorization.users import User

TYPE: Final = "at+jwt"
BACKEND_SECONDS: Final = 300
"""The longest life of a backend service's token: https://hl7.org/fhir/smart-app-launch/backend-services.html."""


def access_claims(
    place: Place, client: Client, scope: str, now: datetime, seconds: int, *, grant: Grant | None = None, user: User | None = None
) -> dict[str, Any]:
    """Return the claims of an access token, for a user's grant or, without one, for a backend service."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": place.issuer,
        "sub": user.id if user else client.id,
        "aud": place.base,
        "exp": issued + seconds,
        "iat": issued,
        "jti": secrets.token_urlsafe(16),
        "client_id": client.id,
        "scope": scope,
        "tenant": user.tenant if user else client.tenant,
    }
    if user is not None:
        claims |= {"roles": list(user.roles), "fhirUser": fhir_user_url(place, user)}
    if grant is not None:
        claims |= {"grant": grant.id, "patient": grant.patient, "encounter": grant.encounter}
        claims["auth_time"] = int(grant.auth_time.timestamp()) if grant.auth_time else None
    return {name: value for name, value in claims.items() if value not in ("", None, [])}


def signed(claims: Mapping[str, Any], key: RSAKey) -> str:
    """Return the token of the claims."""
    return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}, dict(claims), key, algorithms=[ALGORITHM])


def read(token: str, keys: KeySet) -> dict[str, Any] | None:
    """Return the claims of an access token that this server signed, expired or not; None for anything else."""
    try:
        found = jwt.decode(token, keys, algorithms=[ALGORITHM])
    except (JoseError, ValueError, UnicodeError):
        return None
    return dict(found.claims) if found.header.get("typ") == TYPE else None


def fhir_user_url(place: Place, user: User) -> str:
    """Return the URL of the resource that a user is; empty when there is none."""
    return f"{place.base}/{user.fhir_user}" if user.fhir_user else ""


def identity(place: Place, user: User, scopes: frozenset[str]) -> dict[str, Any]:
    """Return what an id token says about a user beyond the protocol's own claims."""
    found: dict[str, Any] = {"sub": user.id}
    if scopes & {"fhirUser", "profile"} and user.fhir_user:
        found["fhirUser"] = fhir_user_url(place, user)
    if "profile" in scopes:
        found["profile"] = fhir_user_url(place, user) or None
        found["name"] = user.display or None
    return {name: value for name, value in found.items() if value}
