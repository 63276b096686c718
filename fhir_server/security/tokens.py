"""Access tokens: JSON Web Tokens of known issuers, opaque ones by introspection.

https://www.rfc-editor.org/rfc/rfc6750, https://www.rfc-editor.org/rfc/rfc8725, https://www.rfc-editor.org/rfc/rfc7662
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.config import Settings
from fhir_server.exchange import Principal
from fhir_server.fhir.outcome import FhirError, unauthorized, unavailable
from fhir_server.security.authorization.fetching import read_bounded
from fhir_server.security.issuers import LONGEST_DOCUMENT, OTHERS_SECONDS, Claims, Issuer, RemoteIssuer
from fhir_server.security.outgoing import PLAIN
from fhir_server.security.principal import ClaimNames, principal_of

LONGEST: Final = 16_384
MOST: Final = 10_000
UNAUTHORIZED: Final = 401
REFUSED_SECONDS: Final = 5.0
"""So long a bad token is not looked at again."""
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_JWT_DOTS: Final = 2


class Tokens:
    """Finds out who a bearer token speaks for, and remembers it for a short time."""

    def __init__(
        self,
        settings: Settings,
        own: Issuer | None = None,
        *,
        own_audience: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`own` is the built-in authorization server, whose tokens are for `own_audience`.

        `transport` is for introspection and the keys of others.
        """
        self._settings = settings
        self._issuers: dict[str, Issuer] = {issuer.url: issuer for issuer in remote_issuers(settings, transport)}
        if own is not None:
            self._issuers[own.url] = own
        self._own = own
        self._own_audience = frozenset({own_audience.rstrip("/")})
        self._names = ClaimNames(settings.auth_tenant_claim, settings.auth_roles_claim)
        self._algorithms = [name.strip() for name in settings.auth_algorithms.split(",") if name.strip()]
        self._audiences = frozenset(_listed(settings.auth_audience)) or frozenset({settings.base_url.rstrip("/")} - {""})
        self._transport = transport
        self._now = now
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._refused: dict[bytes, float] = {}

    async def principal(self, token: str) -> Principal:
        """Return who a token speaks for.

        Raises:
            FhirError: 401, it is not valid; 503, that can not be found out at the moment.
        """
        known = self.known(token)
        if known is not None:
            return known
        digest = hashlib.sha256(token.encode()).digest()
        if self._now() < self._refused.get(digest, 0):
            raise _invalid("The token has been refused a moment ago.")
        try:
            return await self._found(token, digest)
        except FhirError as error:
            if error.status == UNAUTHORIZED:
                if len(self._refused) >= MOST:
                    self._refused.clear()
                self._refused[digest] = self._now() + REFUSED_SECONDS
            raise

    def known(self, token: str) -> Principal | None:
        """Return who a token speaks for that has been verified lately."""
        known = self._known.get(hashlib.sha256(token.encode()).digest())
        return known[1] if known is not None and self._now() < known[0] else None

    async def _found(self, token: str, digest: bytes) -> Principal:
        if len(token) > LONGEST:
            raise _invalid("The token is too long.")
        claims = await self._claims(token)
        own = self._own is not None and claims.get("iss") == self._own.url
        principal = principal_of(claims, self._settings, ClaimNames() if own else self._names)
        self._keep(digest, claims, principal)
        return principal

    def _keep(self, digest: bytes, claims: Claims, principal: Principal) -> None:
        if len(self._known) >= MOST:
            self._known.clear()
        until = self._now() + self._settings.auth_cache_seconds
        expires = claims.get("exp")
        self._known[digest] = (min(until, expires) if isinstance(expires, int | float) else until, principal)

    async def _claims(self, token: str) -> Claims:
        issuer = self._issuers.get(_unverified_issuer(token)) if token.count(".") == _JWT_DOTS else None
        if issuer is not None:
            return await self._verified(token, issuer)
        if self._settings.auth_introspection_url:
            return await self._introspected(token)
        raise _invalid("The token is not one of an issuer that is known here.")

    async def _verified(self, token: str, issuer: Issuer) -> Claims:
        found = await self._decoded(token, issuer, fresh=False) or await self._decoded(token, issuer, fresh=True)
        if found is None:
            raise _invalid("The signature of the token is not valid.")
        if str(found.header.get("typ", "")).lower() not in _TYPES:
            raise _invalid("The token is no access token.")
        claims: Claims = found.claims
        self._check(claims, issuer.url)
        self._check_audience(claims, self._own_audience if issuer is self._own else self._audiences)
        if not await issuer.accepts(claims):
            raise _invalid("The token has been revoked.")
        return claims

    async def _decoded(self, token: str, issuer: Issuer, *, fresh: bool) -> jwt.Token | None:
        keys = [dict(key) for key in await issuer.keys(fresh=fresh)]
        if not keys:
            return None
        try:
            return jwt.decode(token, KeySet.import_key_set({"keys": keys}), algorithms=self._algorithms)
        except (JoseError, ValueError):
            return None

    def _check(self, claims: Claims, issuer: str) -> None:
        registry = jwt.JWTClaimsRegistry(
            now=int(self._now()),
            leeway=self._settings.auth_leeway_seconds,
            iss={"essential": True, "value": issuer},
            exp={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as error:
            raise _invalid(f"The token is not valid: {error.error}.") from None

    def _check_audience(self, claims: Claims, wanted: frozenset[str]) -> None:
        audience = claims.get("aud")
        named = {audience} if isinstance(audience, str) else set(audience) if isinstance(audience, list) else set()
        if not any(isinstance(one, str) and one.rstrip("/") in wanted for one in named):
            raise _invalid("The token is for another audience.")

    async def _introspected(self, token: str) -> Claims:
        settings = self._settings
        try:
            async with (
                asyncio.timeout(2 * OTHERS_SECONDS),
                httpx.AsyncClient(transport=self._transport, timeout=OTHERS_SECONDS, follow_redirects=False) as client,
                client.stream(
                    "POST",
                    settings.auth_introspection_url,
                    data={"token": token, "token_type_hint": "access_token"},
                    auth=(settings.auth_introspection_client, settings.auth_introspection_secret),
                    headers=PLAIN,
                ) as answer,
            ):
                answer.raise_for_status()
                claims = json.loads(await read_bounded(answer, LONGEST_DOCUMENT))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError):
            raise unavailable("Whether the token is valid can not be found out at the moment; try again.") from None
        if not isinstance(claims, dict) or claims.get("active") is not True:
            raise _invalid("The token is not active.")
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires + settings.auth_leeway_seconds < self._now():
            raise _invalid("The token has expired.")
        if "aud" in claims:
            self._check_audience(claims, self._audiences)
        return claims


def remote_issuers(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> list[RemoteIssuer]:
    """Return the issuers that the settings name."""
    found = []
    for text in _listed(settings.auth_issuers):
        url, _, jwks_url = text.partition("|")
        found.append(RemoteIssuer(url, jwks_url, transport=transport))
    return found


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _unverified_issuer(token: str) -> str:
    """Return what a token says of its issuer, only to choose the keys by which that is then verified."""
    payload = token.split(".")[1]
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return ""
    issuer = claims.get("iss") if isinstance(claims, Mapping) else None
    return issuer if isinstance(issuer, str) else ""


def _invalid(text: str) -> FhirError:
    return unauthorized(text, "invalid_token")
