"""Client authentication by a signed JWT: `private_key_jwt`.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html, https://www.rfc-editor.org/rfc/rfc7523#section-3
"""

import time
from datetime import UTC, datetime
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.security.authorization.bridge import wait
from fhir_server.security.authorization.client_keys import ALGORITHMS, KeySetError
from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.place import TOKEN
from fhir_server.security.authorization.service import Service

LONGEST: Final = 300
"""The longest life of an assertion, in seconds."""
LEEWAY: Final = 30
_LONGEST_JTI: Final = 1000


class PrivateKeyJwt(JWTBearerClientAssertion):
    """Verifies an assertion with the registered keys of the client that it names."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, service: Service) -> None:
        super().__init__(leeway=LEEWAY)
        self._service = service
        self._header: dict[str, Any] = {}

    def extract_assertion(self, assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return header and claims, not verified yet."""
        header, claims = super().extract_assertion(assertion)
        if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
            raise InvalidClientError("The assertion is signed with RS384 or ES384 and names its key by kid.")
        self._header = header
        return header, claims

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """Return the keys of the client."""
        jku = self._header.get("jku")
        if jku is not None and jku != client.jwks_uri:
            raise InvalidClientError("The jku of the assertion is not the registered jwks_uri.")
        try:
            return wait(self._service.client_keys.of, client, self._header["kid"])
        except KeySetError as error:
            raise InvalidClientError(str(error)) from None

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """Verify signature and claims."""
        try:
            claims = dict(jwt.decode(assertion, resolve_key, algorithms=list(ALGORITHMS)).claims)
        except (JoseError, ValueError):
            raise InvalidClientError("The assertion is not signed with a registered key of the client.") from None
        expires = claims.get("exp")
        if not isinstance(expires, int) or expires > time.time() + LONGEST + LEEWAY:
            raise InvalidClientError("The assertion has to expire within five minutes.")
        self.verify_claims(claims)
        return claims

    def get_audiences(self) -> list[str]:
        """Return what an assertion may be made for: the token endpoint, or the issuer."""
        return [self._service.place.url(TOKEN), self._service.place.issuer]

    def validate_jti(self, claims: dict[str, Any], jti: Any) -> bool:
        """Tell whether the assertion is used for the first time."""
        if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
            return False
        return wait(self._service.assertions.use, claims["sub"], jti, datetime.fromtimestamp(claims["exp"], UTC))
