"""Who issues access tokens, and by which keys they are signed.

https://openid.net/specs/openid-connect-discovery-1_0.html, https://www.rfc-editor.org/rfc/rfc7517
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import httpx

from fhir_server.fhir.outcome import unavailable

Claims = Mapping[str, Any]
REFRESH_SECONDS: Final = 30.0
"""Keys are asked for again at most this often when a token names one that is not known."""
STALE_SECONDS: Final = 3600.0
LONGEST_DOCUMENT: Final = 512_000


class Issuer(Protocol):
    """An issuer of tokens. The built-in authorization server is one whose keys live in the database."""

    @property
    def url(self) -> str:
        """The claim `iss` of its tokens."""
        ...

    async def keys(self, *, fresh: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return its public keys as JSON Web Keys; `fresh` where a token names a key that was not among them.

        Raises:
            FhirError: 503, they can not be had at the moment.
        """
        ...

    async def accepts(self, claims: Claims) -> bool:
        """Tell whether a token with these verified claims is still good: neither it nor its session has been revoked."""
        ...


class RemoteIssuer:
    """An OpenID Connect provider, whose keys are fetched and kept for an hour."""

    def __init__(
        self,
        url: str,
        jwks_url: str = "",
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._jwks_url = jwks_url
        self._transport = transport
        self._clock = clock
        self._keys: list[Mapping[str, Any]] = []
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def url(self) -> str:
        """The claim `iss` of its tokens."""
        return self._url

    async def accepts(self, claims: Claims) -> bool:
        """Its tokens are good until they expire."""
        del claims
        return True

    async def keys(self, *, fresh: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return its public keys; those that are known where it does not answer.

        Raises:
            FhirError: 503, there are none yet.
        """
        async with self._lock:
            age = self._clock() - self._fetched
            if age >= STALE_SECONDS or (fresh and age >= REFRESH_SECONDS):
                self._fetched = self._clock()
                try:
                    self._keys = await self._fetch()
                except (httpx.HTTPError, ValueError, KeyError, TypeError):
                    if not self._keys:
                        self._fetched = float("-inf")
                        raise unavailable("The issuer of the token does not give its keys at the moment; try again.") from None
            return self._keys

    async def _fetch(self) -> list[Mapping[str, Any]]:
        async with httpx.AsyncClient(transport=self._transport, timeout=5.0, follow_redirects=False) as client:
            jwks_url = self._jwks_url or await self._discovered(client)
            found = (await _json(client, jwks_url))["keys"]
        return [key for key in found if isinstance(key, dict) and key.get("kty") != "oct" and key.get("use", "sig") == "sig"]

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        document = await _json(client, f"{self._url.rstrip('/')}/.well-known/openid-configuration")
        if document["issuer"] != self._url:
            raise ValueError("The discovery document is that of another issuer.")
        return str(document["jwks_uri"])


async def _json(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await client.get(url, headers={"Accept": "application/json"})
    answer.raise_for_status()
    if len(answer.content) > LONGEST_DOCUMENT:
        raise ValueError("The document is too long.")
    found = answer.json()
    if not isinstance(found, dict):
        raise TypeError("The document is no object.")
    return found
