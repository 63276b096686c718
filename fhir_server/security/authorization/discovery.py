"""What clients find out about the authorization server before they use it.

https://hl7.org/fhir/smart-app-launch/conformance.html, https://openid.net/specs/openid-connect-discovery-1_0.html,
https://www.rfc-editor.org/rfc/rfc8414
"""

from typing import Any, Final

from fhir_server.config import Settings
from fhir_server.security.authorization import place as paths
from fhir_server.security.authorization.grantable import PLAIN
from fhir_server.security.authorization.place import Place

CAPABILITIES: Final = (
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "context-standalone-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
)
SCOPES: Final = (*PLAIN, "patient/*.cruds", "user/*.cruds", "system/*.cruds")
AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION_ALGORITHMS: Final = ("RS384", "ES384")
OAUTH_URIS: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
SERVICE: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"


def smart_configuration(settings: Settings) -> dict[str, Any]:
    """Return `[base]/.well-known/smart-configuration`."""
    place = Place.of(settings)
    return {
        **_metadata(place, settings),
        "management_endpoint": place.url(paths.MANAGE),
        "capabilities": list(CAPABILITIES),
    }


def openid_configuration(settings: Settings) -> dict[str, Any]:
    """Return `[issuer]/.well-known/openid-configuration`, which serves as the metadata of RFC 8414 too."""
    place = Place.of(settings)
    return {
        **_metadata(place, settings),
        "userinfo_endpoint": place.url(paths.USERINFO),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_modes_supported": ["query"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "amr", "nonce", "fhirUser", "profile", "name"],
        "prompt_values_supported": ["none", "login", "consent"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }


def _metadata(place: Place, settings: Settings) -> dict[str, Any]:
    registration = {} if settings.auth_registration == "off" else {"registration_endpoint": place.url(paths.REGISTER)}
    return {
        "issuer": place.issuer,
        "jwks_uri": place.url(paths.JWKS),
        "authorization_endpoint": place.url(paths.AUTHORIZE),
        "token_endpoint": place.url(paths.TOKEN),
        "introspection_endpoint": place.url(paths.INTROSPECT),
        "revocation_endpoint": place.url(paths.REVOKE),
        **registration,
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": list(SCOPES),
        "token_endpoint_auth_methods_supported": [*AUTH_METHODS, "none"],
        "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": [*AUTH_METHODS, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
    }


def security(settings: Settings) -> dict[str, Any]:
    """Return members of `CapabilityStatement.rest.security`, where a client of SMART 1.0 looks for the endpoints."""
    place = Place.of(settings)
    uris = {"token": paths.TOKEN, "authorize": paths.AUTHORIZE, "introspect": paths.INTROSPECT, "revoke": paths.REVOKE}
    if settings.auth_registration != "off":
        uris["register"] = paths.REGISTER
    uris["manage"] = paths.MANAGE
    return {
        "extension": [
            {"url": OAUTH_URIS, "extension": [{"url": name, "valueUri": place.url(path)} for name, path in uris.items()]}
        ],
        "service": [
            {"coding": [{"system": SERVICE, "code": "SMART-on-FHIR"}], "text": "OAuth 2.0 with SMART on FHIR App Launch"}
        ],
    }
