"""Introspection and revocation: https://www.rfc-editor.org/rfc/rfc7662, https://www.rfc-editor.org/rfc/rfc7009."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from fhir_server.security.authorization import issue
from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.clients import ANY_TENANT, Client
from fhir_server.security.authorization.code import METHODS
from fhir_server.security.authorization.requests import Request
from fhir_server.security.authorization.service import Service

if TYPE_CHECKING:
    from fhir_server.security.authorization.server import Server


@dataclass(frozen=True, slots=True)
class Found:
    """A token of this server: an access token by its claims, or a refresh token by its grant."""

    client: str
    tenant: str
    grant: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    expired: bool = False
    revoked: bool = False

    def check_client(self, client: Client) -> bool:
        """Tell whether it was issued to this client."""
        return self.client == client.id

    def is_expired(self) -> bool:
        """Tell whether its time is over."""
        return self.expired

    def is_revoked(self) -> bool:
        """Tell whether it, or what was granted, was revoked."""
        return self.revoked


async def find(service: Service, token: str) -> Found | None:
    """Return what is known of a token; None of what is none of ours."""
    claims = issue.read(token, await service.keys.key_set())
    if claims is None:
        return await _find_refresh_token(service, token)
    return Found(
        client=claims["client_id"],
        tenant=claims["tenant"],
        grant=claims.get("grant", ""),
        claims=claims,
        expired=claims["exp"] <= service.now().timestamp(),
        revoked=await service.revoked.has(claims),
    )


async def _find_refresh_token(service: Service, token: str) -> Found | None:
    grant = await service.grants.of_refresh_token(token)
    if grant is None:
        return None
    times = {"iat": int(grant.created.timestamp()), "exp": int(grant.expires.timestamp())}
    claims = {"client_id": grant.client, "sub": grant.user, "scope": grant.scope, "tenant": grant.tenant, **times}
    return Found(grant.client, grant.tenant, grant.id, claims)


class Introspection(IntrospectionEndpoint):
    """Tells a client about its own tokens, and a resource server about those of its organisation."""

    CLIENT_AUTH_METHODS = METHODS[:-1]
    server: "Server"

    def query_token(self, token_string: str, token_type_hint: str | None) -> Found | None:
        """Return the token; the hint is not needed."""
        del token_type_hint
        return wait(find, self.server.service, token_string)

    def check_permission(self, token: Found, client: Client, request: Request) -> bool:
        """Tell whether the client may know about the token."""
        allowed = token.check_client(client) or (client.introspects and client.tenant in (token.tenant, ANY_TENANT))
        if allowed:
            request.about = token.tenant
        return allowed

    def introspect_token(self, token: Found) -> dict[str, Any]:
        """Return what SMART and RFC 7662 name."""
        wanted = ("scope", "client_id", "sub", "aud", "iss", "exp", "iat", "jti", "tenant", "roles")
        context = ("patient", "encounter", "fhirUser")
        found = {name: token.claims[name] for name in (*wanted, *context) if name in token.claims}
        return {"active": True, **found, **({"token_type": "Bearer"} if "jti" in token.claims else {})}


class Revocation(RevocationEndpoint):
    """Ends an access token, or with a refresh token all that was granted."""

    CLIENT_AUTH_METHODS = METHODS
    server: "Server"

    def query_token(self, token_string: str, token_type_hint: str | None) -> Found | None:
        """Return the token; the hint is not needed."""
        del token_type_hint
        return wait(find, self.server.service, token_string)

    def revoke_token(self, token: Found, request: Request) -> None:
        """Revoke it."""
        request.about = token.tenant
        service = self.server.service
        if "jti" in token.claims:
            wait(service.revoked.add, token.claims["jti"])
        else:
            wait(service.grants.revoke, token.grant)
