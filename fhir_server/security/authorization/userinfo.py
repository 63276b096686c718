"""Who a token speaks for, as OpenID Connect tells it: https://openid.net/specs/openid-connect-core-1_0.html#UserInfo."""

from typing import Any

from fhir_server.security.authorization.endpoints import find
from fhir_server.security.authorization.issue import identity
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.users import User


class BearerError(Exception):
    """The token does not open it: https://www.rfc-editor.org/rfc/rfc6750#section-3.1."""

    def __init__(self, status: int, error: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error


async def userinfo(service: Service, token: str) -> tuple[User, dict[str, Any]]:
    """Return the user of an access token, and the claims about them: `sub`, and what its scopes `fhirUser` and `profile` open.

    Raises:
        BearerError: 401, the token is not good; 403, it was not given with the scope `openid`.
        FhirError: 403, the tenant is suspended.
    """
    found = await find(service, token)
    if found is None or "jti" not in found.claims or found.is_expired() or found.is_revoked():
        raise BearerError(401, "invalid_token", "The access token is not valid, or not any more.")
    scopes = frozenset(str(found.claims.get("scope", "")).split())
    if "openid" not in scopes:
        raise BearerError(403, "insufficient_scope", "The access token was not given with the scope openid.")
    user = await service.users.get(str(found.claims["sub"]))
    if user is None or not user.active:
        raise BearerError(401, "invalid_token", "The user may not log in any more.")
    await service.tenants.admit(user.tenant, service.place.issuer)
    return user, identity(service.place, user, scopes)
