"""Dynamic client registration: https://www.rfc-editor.org/rfc/rfc7591.

Whoever registers an app this way gets no more than a person can grant it: no `system/` scopes and no client credentials,
unless the operator's initial access token was sent.
"""

import secrets
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749 import AccessDeniedError
from authlib.oauth2.rfc7591 import (
    ClientMetadataClaims,
    ClientRegistrationEndpoint,
    InvalidClientMetadataError,
    InvalidRedirectURIError,
)
from joserfc.errors import InvalidClaimError

from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.client_keys import KeySetError, checked_key_set
from fhir_server.security.authorization.clients import AuthMethod, Client
from fhir_server.security.authorization.collections import digest, new_secret
from fhir_server.security.authorization.grantable import IDENTITY, LAUNCH, REFRESH, is_scope
from fhir_server.security.authorization.redirects import RedirectUriError, check_redirect_uri
from fhir_server.security.authorization.requests import RegistrationRequest

if TYPE_CHECKING:
    from fhir_server.security.authorization.server import Server

DEFAULT_SCOPES: Final = (*IDENTITY, *LAUNCH, *REFRESH, "patient/*.rs")
GRANT_TYPES: Final = ("authorization_code", "refresh_token")
_TEXTS: Final = (
    "client_name",
    "client_uri",
    "initiate_login_uri",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "scope",
    "software_id",
    "software_version",
    "token_endpoint_auth_method",
    "tos_uri",
)
_MOST: Final = 50
_LONGEST: Final = 200
AUTH_METHODS: dict[str, AuthMethod] = {
    "none": "none",
    "client_secret_basic": "client_secret_basic",
    "client_secret_post": "client_secret_basic",
    "private_key_jwt": "private_key_jwt",
}


class Metadata(ClientMetadataClaims):
    """What a client says about itself, checked."""

    REGISTERED_CLAIMS = [*ClientMetadataClaims.REGISTERED_CLAIMS, "initiate_login_uri"]  # noqa: RUF012 -- Authlib's attribute

    def validate(self, now: int | None = None, leeway: int = 0) -> None:
        """Refuse what is not as it has to be."""
        for name in ("redirect_uris", "grant_types", "response_types", "contacts"):
            if name in self and not _is_list_of_texts(self[name]):
                raise InvalidClaimError(name)
        for name in _TEXTS:
            if name in self and not isinstance(self[name], str):
                raise InvalidClaimError(name)
        super().validate(now, leeway)
        if self["token_endpoint_auth_method"] not in AUTH_METHODS:
            raise InvalidClaimError("token_endpoint_auth_method")
        if set(self.get("response_types", ["code"])) != {"code"}:
            raise InvalidClaimError("response_types")

    def validate_jwks(self) -> None:
        """Refuse what is no set of public keys."""
        if "jwks" not in self:
            return
        if "jwks_uri" in self:
            raise InvalidClaimError("jwks")
        try:
            self["jwks"] = checked_key_set(self["jwks"])
        except KeySetError:
            raise InvalidClaimError("jwks") from None


def _is_list_of_texts(found: Any) -> bool:
    return isinstance(found, list) and len(found) <= _MOST and all(isinstance(one, str) for one in found)


class Registration(ClientRegistrationEndpoint):
    """Registers a client of the default tenant."""

    server: "Server"

    def __init__(self, server: "Server") -> None:
        super().__init__(server, [Metadata])
        self._secret = ""

    def authenticate_token(self, request: RegistrationRequest) -> str:
        """Return as whom the request registers: `operator`, `anyone`, or nobody."""
        settings = self.server.service.settings
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        token = settings.auth_registration_token
        if token and scheme.lower() == "bearer" and secrets.compare_digest(sent.strip().encode(), token.encode()):
            return "operator"
        if settings.auth_registration == "open" and not sent:
            return "anyone"
        raise AccessDeniedError("Registration needs the initial access token as a bearer token.", status_code=401)

    def get_server_metadata(self) -> dict[str, Any]:
        """Return nothing: `Metadata` knows what is supported."""
        return {}

    def generate_client_info(self, request: RegistrationRequest) -> dict[str, Any]:
        """Return client id and, for those that can keep one, secret."""
        info: dict[str, Any] = {"client_id": new_secret(), "client_id_issued_at": int(self.server.service.now().timestamp())}
        method = AUTH_METHODS[request.payload.data.get("token_endpoint_auth_method", "client_secret_basic")]
        if method == "client_secret_basic":
            self._secret = new_secret()
            info |= {"client_secret": self._secret, "client_secret_expires_at": 0}
        return info

    def generate_client_registration_info(self, client: Client, request: RegistrationRequest) -> dict[str, Any]:
        """Return what was registered, where that differs from what was asked for."""
        del request
        return {"scope": " ".join(client.scopes), "grant_types": list(client.grant_types), "response_types": ["code"]}

    def save_client(self, client_info: dict[str, Any], client_metadata: dict[str, Any], request: RegistrationRequest) -> Client:
        """Keep the client."""
        client = Client(
            id=client_info["client_id"],
            tenant=self.server.service.settings.default_tenant,
            name=str(client_metadata.get("client_name") or "An app without a name")[:_LONGEST],
            auth_method=AUTH_METHODS[client_metadata["token_endpoint_auth_method"]],
            secret=digest(self._secret) if self._secret else "",
            redirect_uris=_redirect_uris(client_metadata),
            scopes=_scopes(client_metadata, request.credential),
            grant_types=_grant_types(client_metadata, request.credential),
            jwks=client_metadata.get("jwks"),
            jwks_uri=client_metadata.get("jwks_uri", ""),
            launch_url=_launch_url(client_metadata),
        )
        if "authorization_code" in client.grant_types and not client.redirect_uris:
            raise InvalidRedirectURIError("An app registers at least one of redirect_uris.")
        if client.auth_method == "private_key_jwt" and not (client.jwks or client.jwks_uri):
            raise InvalidClientMetadataError("private_key_jwt needs jwks or jwks_uri.")
        wait(self.server.service.clients.add, client)
        return client


def _redirect_uris(metadata: dict[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(check_redirect_uri(uri) for uri in metadata.get("redirect_uris", ()))
    except RedirectUriError:
        raise InvalidRedirectURIError(
            "A redirect URI is https, http on loopback, or of a scheme such as org.example.app, without fragment or wildcard."
        ) from None


def _launch_url(metadata: dict[str, Any]) -> str:
    found = metadata.get("initiate_login_uri", "")
    try:
        return check_redirect_uri(found) if found else ""
    except RedirectUriError:
        raise InvalidClientMetadataError("The initiate_login_uri is https, or http on loopback.") from None


def _scopes(metadata: dict[str, Any], credential: str) -> tuple[str, ...]:
    asked = metadata.get("scope", "").split() or DEFAULT_SCOPES
    return tuple(
        scope for scope in dict.fromkeys(asked) if is_scope(scope) and (credential == "operator" or scope[:7] != "system/")
    )


def _grant_types(metadata: dict[str, Any], credential: str) -> tuple[str, ...]:
    asked = metadata.get("grant_types") or ["authorization_code"]
    allowed = (*GRANT_TYPES, "client_credentials") if credential == "operator" else GRANT_TYPES
    if not set(asked) <= set(allowed):
        raise InvalidClientMetadataError(f"The grant_types that can be registered are {', '.join(allowed)}.")
    return tuple(dict.fromkeys(asked))
