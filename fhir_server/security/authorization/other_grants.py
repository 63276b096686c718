"""Refresh tokens, which rotate, and the client credentials of backend services.

https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2, https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidScopeError, UnauthorizedClientError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant as AuthlibRefreshTokenGrant

from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.clients import ANY_TENANT, Client
from fhir_server.security.authorization.code import METHODS
from fhir_server.security.authorization.grantable import allowed
from fhir_server.security.authorization.grants import RefreshToken
from fhir_server.security.authorization.tokens import issued, issued_to_backend
from fhir_server.security.authorization.users import User

if TYPE_CHECKING:
    from fhir_server.security.authorization.server import Server


class RefreshGrant(AuthlibRefreshTokenGrant):
    """Gives new tokens for a refresh token, which is thereby used up."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: "Server"

    def authenticate_token_endpoint_client(self) -> Client:
        """Return the client; a public one that does not name itself is found by its refresh token, as SMART JS needs it."""
        form = self.request.form
        named = "client_id" in form or "client_assertion" in form or "Authorization" in self.request.headers
        if named or "refresh_token" not in form:
            found: Client = super().authenticate_token_endpoint_client()
            return found
        client_id = wait(self.server.service.grants.client_of, form["refresh_token"])
        client = self.server.query_client(client_id) if client_id else None
        if client is None or client.confidential:
            raise InvalidGrantError("The refresh token is not known, or its client has to authenticate.")
        self.request.auth_method = "none"
        return client

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        """Return a refresh token of the client; one that was used before ends what was granted."""
        return wait(self.server.service.grants.find_refresh_token, refresh_token, self.request.client.id)

    def authenticate_user(self, refresh_token: RefreshToken) -> User:
        """Use the refresh token up, and return the user whose access it continues."""
        service = self.server.service
        grant = refresh_token.grant
        if not wait(service.tenants.is_open, grant.tenant):
            raise InvalidGrantError("The organisation is suspended.")
        if not wait(service.grants.use, refresh_token):
            raise InvalidGrantError("The refresh token has been used already.")
        user = wait(service.users.get, grant.user)
        if user is None or not user.active:
            wait(service.grants.revoke, grant.id)
            raise InvalidGrantError("The user may not log in any more.")
        if "offline_access" not in grant.scopes and not wait(service.sessions.lasts, grant.session):
            wait(service.grants.revoke, grant.id)
            raise InvalidGrantError("The user has logged out, and access was given for that long.")
        return user

    def issue_token(self, user: User, refresh_token: RefreshToken) -> dict[str, Any]:
        """Return the token response; what was granted bounds it, and so does what the client is registered for by now."""
        asked = self.request.payload.scope or refresh_token.get_scope()
        client = self.request.client
        scope = " ".join(allowed(asked.split(), client.scopes))
        if not scope:
            raise InvalidScopeError("Nothing is left of what was granted.")
        return wait(issued, self.server.service, client, refresh_token.grant, user, scope)

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """Do nothing: it is used up already, and is kept so that a replay is noticed."""


class BackendGrant(ClientCredentialsGrant):
    """Gives a backend service a token in its own name."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["private_key_jwt"]  # noqa: RUF012 -- Authlib's attribute
    server: "Server"

    def generate_token(self, scope: str | None = None, **_: Any) -> dict[str, Any]:
        """Return the token response."""
        client = self.request.client
        if client.tenant == ANY_TENANT:
            raise UnauthorizedClientError("A backend service is registered for one organisation.")
        given = [one for one in client.get_allowed_scope(scope).split() if one.startswith("system/")]
        if not given:
            raise InvalidScopeError("None of the scopes is a system scope that the client is registered for.")
        return wait(issued_to_backend, self.server.service, client, " ".join(given))
