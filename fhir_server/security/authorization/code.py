"""The authorization code grant, with PKCE and OpenID Connect.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1, https://www.rfc-editor.org/rfc/rfc7636,
https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth
"""

from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDToken
from joserfc.jwk import RSAKey

from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.grants import Code, Grant
from fhir_server.security.authorization.issue import identity
from fhir_server.security.authorization.keys import ALGORITHM
from fhir_server.security.authorization.requests import Request
from fhir_server.security.authorization.service import Service
from fhir_server.security.authorization.tokens import issued
from fhir_server.security.authorization.users import User

if TYPE_CHECKING:
    from fhir_server.security.authorization.server import Server

METHODS: Final = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]


class Pkce(CodeChallenge):
    """PKCE, asked of every client, by S256 only; so no request can be downgraded to `plain` or to none."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 -- Authlib's attribute

    def validate_code_challenge(self, grant: "CodeGrant", redirect_uri: str) -> None:
        """Refuse an authorization request without a challenge."""
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is required: send code_challenge and code_challenge_method=S256.")
        super().validate_code_challenge(grant, redirect_uri)


class SmartIdentity(OpenIDToken):
    """Adds an id token where `openid` was granted. What `prompt` and `nonce` ask for is seen to by the pages and the client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._key: RSAKey | None = None

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        """Return the key that signs."""
        del client
        return self._signer()

    def get_client_algorithm(self, client: Client) -> str:
        """Return the algorithm that signs."""
        del client
        return ALGORITHM

    def get_encode_header(self, client: Client) -> dict[str, Any]:
        """Return the header of an id token."""
        del client
        return {"alg": ALGORITHM, "typ": "JWT", "kid": self._signer().kid}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        """Return the claims that do not depend on the user."""
        now = int(self._service.now().timestamp())
        expires = now + self._service.settings.auth_access_seconds
        return {"iss": self._service.place.issuer, "aud": client.id, "iat": now, "exp": expires}

    def get_compatible_claims(self, request: Request) -> dict[str, Any]:
        """Return the claims that do not depend on the user, and when the user logged in, which a refresh does not change."""
        source = request.authorization_code or request.refresh_token
        found: dict[str, Any] = super().get_compatible_claims(request)
        if source.grant.auth_time:
            found["auth_time"] = int(source.grant.auth_time.timestamp())
        return found

    def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
        """Return the claims about the user."""
        return identity(self._service.place, user, frozenset(scope.split()))

    def _signer(self) -> RSAKey:
        if self._key is None:
            self._key = wait(self._service.keys.signer)
        return self._key


class CodeGrant(AuthorizationCodeGrant):
    """Gives out codes for what a user has granted, and redeems each once."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    server: "Server"
    granted: Grant | None = None
    """What the user has just granted, where this is about an authorization request."""

    @staticmethod
    def validate_authorization_redirect_uri(request: Request, client: Client) -> str:
        """Return the redirect URI, which has to be given, and be one of the registered ones to the letter."""
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError("The redirect_uri is missing, or is none of those that the app has registered.")
        return str(uri)

    def save_authorization_code(self, code: str, request: Request) -> None:
        """Keep the grant and its code."""
        if self.granted is None:
            raise AssertionError
        data = request.payload.data
        grants = self.server.service.grants
        wait(grants.add, self.granted)
        wait(
            grants.new_code,
            self.granted,
            code=code,
            redirect_uri=data["redirect_uri"],
            code_challenge=data["code_challenge"],
            nonce=data.get("nonce", ""),
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """Redeem a code: from here on it is used, whatever becomes of the request."""
        return wait(self.server.service.grants.redeem, code, client.id)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Do nothing: it is used already, and is kept so that a replay is noticed."""

    def authenticate_user(self, authorization_code: Code) -> User | None:
        """Return the user who granted it, if still active."""
        user = wait(self.server.service.users.get, authorization_code.grant.user)
        return user if user is not None and user.active else None

    def generate_token(self, user: User, scope: str, **_: Any) -> dict[str, Any]:
        """Return the token response."""
        return wait(issued, self.server.service, self.request.client, self.request.authorization_code.grant, user, scope)
