"""The public keys of clients that authenticate by `private_key_jwt`.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fhir_server.security.authorization.clients import Client
from fhir_server.security.authorization.fetching import FetchError

ALGORITHMS: Final = ("RS384", "ES384")
FRESH: Final = timedelta(minutes=5)
AGAIN: Final = timedelta(seconds=10)
"""How soon a key set is fetched again when it lacks the key that is asked for, or could not be had."""
MOST: Final = 500
_PRIVATE: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

Fetch = Callable[[str], Awaitable[bytes]]


class KeySetError(ValueError):
    """It is no set of public keys that can be used; the message says why."""


def checked_key_set(found: Any) -> Mapping[str, Any]:
    """Return a JWK Set of public RSA and EC keys.

    Raises:
        KeySetError: it is none.
    """
    keys = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, Mapping) for key in keys):
        raise KeySetError("A JWK Set is an object with an array `keys` of objects.")
    if any(_PRIVATE & key.keys() for key in keys):
        raise KeySetError("The key set holds a private or a secret key; register public keys only, and replace that one.")
    if any(key.get("kty") not in ("RSA", "EC") for key in keys) or any(not isinstance(key.get("kid"), str) for key in keys):
        raise KeySetError("Each key has a `kid`, and is of `kty` RSA or EC.")
    try:
        KeySet.import_key_set({"keys": list(keys)})
    except (JoseError, ValueError, TypeError):
        raise KeySetError("The key set holds a key that can not be read.") from None
    return {"keys": [dict(key) for key in keys]}


class ClientKeys:
    """The key sets of all clients, as this process knows them."""

    def __init__(self, fetch: Fetch, now: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._now = now
        self._fetched: dict[str, tuple[datetime, KeySet | None]] = {}

    async def of(self, client: Client, kid: str) -> KeySet:
        """Return the keys of a client, fetched anew when `kid` is not among those that are known.

        Raises:
            KeySetError: there are none to be had.
        """
        if client.jwks:
            return KeySet.import_key_set(dict(client.jwks))  # type: ignore[arg-type]
        if not client.jwks_uri:
            raise KeySetError("The client has registered no keys.")
        known = self._fetched.get(client.jwks_uri)
        age = self._now() - known[0] if known else None
        stale = age is None or age > FRESH
        unknown = known is not None and (known[1] is None or all(key.kid != kid for key in known[1].keys))
        if stale or (unknown and age is not None and age > AGAIN):
            known = (self._now(), await self._fetched_set(client.jwks_uri))
            if len(self._fetched) >= MOST:
                self._fetched.clear()
            self._fetched[client.jwks_uri] = known
        if known is None or known[1] is None:
            raise KeySetError("The key set of the client can not be fetched from its jwks_uri.")
        return known[1]

    async def _fetched_set(self, url: str) -> KeySet | None:
        try:
            found = checked_key_set(json.loads(await self._fetch(url)))
        except (FetchError, ValueError):
            return None
        return KeySet.import_key_set(dict(found))  # type: ignore[arg-type]
