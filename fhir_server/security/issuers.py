"""Who issues access tokens, and by which keys they are signed.

https://openid.net/specs/openid-connect-discovery-1_0.html, https://www.rfc-editor.org/rfc/rfc7517
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from fhir_server.fhir.outcome import unavailable
from fhir_server.security.authorization.fetching import read_bounded
from fhir_server.security.outgoing import PLAIN, PinnedTransport

Claims = Mapping[str, Any]
REFRESH_SECONDS: Final = 30.0
"""Keys are asked for again at most this often when a token names one that is not known."""
STALE_SECONDS: Final = 3600.0
LONGEST_DOCUMENT: Final = 512_000
OTHERS_SECONDS: Final = 5.0
"""So long each step of a request to an issuer may take; the whole of it twice as long."""


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
    """An OpenID Connect provider, whose keys are fetched and kept for an hour.

    Its own address, and that of its keys where it is given, are the operator's choice and may lie in the own network. Where its
    discovery document names another place for the keys, that one has to be public.
    """

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
                except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, KeyError, TypeError, RecursionError):
                    if not self._keys:
                        self._fetched = float("-inf")
                        raise unavailable("The issuer of the token does not give its keys at the moment; try again.") from None
            return self._keys

    async def _fetch(self) -> list[Mapping[str, Any]]:
        async with asyncio.timeout(2 * OTHERS_SECONDS):
            url, transport = self._jwks_url, self._transport
            if not url:
                url = await self._discovered()
                if urlsplit(url).netloc != urlsplit(self._url).netloc:
                    transport = transport or PinnedTransport()
            found = (await _json(transport, url))["keys"]
        return [key for key in found if isinstance(key, dict) and key.get("kty") != "oct" and key.get("use", "sig") == "sig"]

    async def _discovered(self) -> str:
        document = await _json(self._transport, f"{self._url.rstrip('/')}/.well-known/openid-configuration")
        if document["issuer"] != self._url:
            raise ValueError("The discovery document is that of another issuer.")
        found = str(document["jwks_uri"])
        if self._url.startswith("https:") and not found.startswith("https:"):
            raise ValueError("The keys of the issuer can not be fetched safely.")
        return found


async def _json(transport: httpx.AsyncBaseTransport | None, url: str) -> dict[str, Any]:
    async with (
        httpx.AsyncClient(transport=transport, timeout=OTHERS_SECONDS, follow_redirects=False) as client,
        client.stream("GET", url, headers=PLAIN) as answer,
    ):
        answer.raise_for_status()
        found = json.loads(await read_bounded(answer, LONGEST_DOCUMENT))
    if not isinstance(found, dict):
        raise TypeError("The document is no object.")
    return found
