"""What the token endpoint gives: https://hl7.org/fhir/smart-app-launch/app-launch.html#response-5."""

from datetime import timedelta
from typing import Any

from authlib.oauth2.rfc6749 import InvalidGrantError, UnauthorizedClientError

from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.grants import Grant
from fhir_server.security.authorization.issue import BACKEND_SECONDS, access_claims, signed
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.users import User


async def issued(service: Service, client: Client, grant: Grant, user: User, scope: str) -> dict[str, Any]:
    """Return the token response for a user's grant; `scope` may be narrower than it.

    Raises:
        OAuth2Error: the grant holds no more, or the organisation is suspended.
    """
    if not await service.tenants.is_open(user.tenant):
        raise InvalidGrantError("The organisation is suspended.")
    now, seconds = service.now(), service.settings.auth_access_seconds
    if "offline_access" in grant.scopes:
        expires = now + timedelta(days=service.settings.auth_refresh_days)
    elif "online_access" in grant.scopes:
        expires = grant.expires
    else:
        expires = now + timedelta(seconds=seconds)
    current = await service.grants.prolong(grant.id, expires)
    if current is None:
        raise InvalidGrantError("What was granted has been revoked, or has expired.")
    claims = access_claims(service.place, client, scope, now, seconds, grant=current, user=user)
    answer: dict[str, Any] = {
        "access_token": signed(claims, await service.keys.signer()),
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": scope,
        **current.context,
    }
    answer |= {name: value for name, value in (("patient", current.patient), ("encounter", current.encounter)) if value}
    if client.check_grant_type("refresh_token") and {"offline_access", "online_access"} & set(current.scopes):
        answer["refresh_token"] = await service.grants.new_refresh_token(current)
    return answer


async def issued_to_backend(service: Service, client: Client, scope: str) -> dict[str, Any]:
    """Return the token response for a backend service.

    Raises:
        OAuth2Error: its organisation is suspended.
    """
    if not await service.tenants.is_open(client.tenant):
        raise UnauthorizedClientError("The organisation is suspended.")
    seconds = min(BACKEND_SECONDS, service.settings.auth_access_seconds)
    claims = access_claims(service.place, client, scope, service.now(), seconds)
    token = signed(claims, await service.keys.signer())
    return {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope}
