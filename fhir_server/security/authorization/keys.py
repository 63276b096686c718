"""The keys that tokens are signed with: https://www.rfc-editor.org/rfc/rfc7517.

Each key has a number; the one with the highest number whose time to sign has come signs. A new key is published before
it signs, so that those who keep a copy of the key set know it by then, and an old one stays published until the last
token that it signed has expired. Private keys lie in MongoDB encrypted under the master key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc.jwk import KeySet, RSAKey
from pymongo.errors import DuplicateKeyError

from fhir_server.security.authorization.collections import KEYS, collection
from fhir_server.security.authorization.sealing import Sealer
from fhir_server.store.database import Database, Document

ALGORITHM: Final = "RS256"
"""What every OpenID Connect client can verify, as SMART asks for."""
BITS: Final = 2048
FRESH: Final = timedelta(seconds=15)
"""How long a process believes what it has read."""
AGAIN: Final = timedelta(seconds=1)
OVERLAP: Final = timedelta(hours=2)
"""How long a key stays published after its successor has begun to sign: longer than any token lives."""
_PURPOSE: Final = "auth-signing-key"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair. `retires` is when it is taken out of the key set, None while it has no successor."""

    number: int
    kid: str
    public: dict[str, Any]
    sealed: bytes
    signs_from: datetime
    retires: datetime | None

    @classmethod
    def from_document(cls, found: Document) -> "SigningKey":
        """Return the key that MongoDB keeps."""
        return cls(found["_id"], found["kid"], found["public"], bytes(found["sealed"]), found["signs_from"], found["retires"])


class SigningKeys:
    """The keys of the authorization server; a resource server in the same process takes `key_set` from here."""

    def __init__(self, database: Database, sealer: Sealer, now: Callable[[], datetime]) -> None:
        self._keys = collection(database, KEYS)
        self._sealer = sealer
        self._now = now
        self._known: tuple[SigningKey, ...] = ()
        self._read_at: datetime | None = None
        self._set = KeySet([])
        self._opened: dict[str, RSAKey] = {}

    async def all(self, *, fresh: bool = False) -> tuple[SigningKey, ...]:
        """Return the keys that are published, newest first; the first of all is made here.

        `fresh` reads them anew for a key that is not known, though not more than once a second.
        """
        now = self._now()
        age = now - self._read_at if self._read_at else None
        if age is None or age > (AGAIN if fresh else FRESH):
            found = await self._read(now)
            if not found:
                await self._make(1, now)
                found = await self._read(now)
            self._known, self._read_at = found, now
            self._set = KeySet([RSAKey.import_key(key.public) for key in found])
        return tuple(key for key in self._known if key.retires is None or key.retires > now)

    async def key_set(self) -> KeySet:
        """Return the public keys with which tokens of this server can be verified at the moment."""
        await self.all()
        return self._set

    async def published(self) -> dict[str, Any]:
        """Return the JWK Set document."""
        return {"keys": [key.public for key in await self.all()]}

    async def signer(self) -> RSAKey:
        """Return the private key that signs at the moment."""
        now = self._now()
        current = next(key for key in await self.all() if key.signs_from <= now)
        if current.kid not in self._opened:
            private = await self._sealer.unseal(current.sealed, f"{_PURPOSE}:{current.kid}")
            self._opened[current.kid] = RSAKey.import_key(private, {"kid": current.kid, "use": "sig", "alg": ALGORITHM})
        return self._opened[current.kid]

    async def rotate(self, *, after: timedelta = timedelta(0), revoke: bool = False) -> SigningKey:
        """Publish a new key, which signs when `after` is over, and return it.

        With `revoke` the other keys are gone at once, and with them all tokens that they signed: for a key that leaked.
        """
        now = self._now()
        signs_from = now if revoke else now + after
        newest = (await self.all())[0]
        made = await self._make(newest.number + 1, signs_from)
        retires = now if revoke else signs_from + OVERLAP
        older = {"_id": {"$lt": made.number}, "$or": [{"retires": None}, {"retires": {"$gt": retires}}]}
        await self._keys.update_many(older, {"$set": {"retires": retires}})
        await self._keys.delete_many({"retires": {"$lte": now}})
        self._read_at = None
        return made

    async def _read(self, now: datetime) -> tuple[SigningKey, ...]:
        query = {"$or": [{"retires": None}, {"retires": {"$gt": now}}]}
        return tuple([SigningKey.from_document(found) async for found in self._keys.find(query).sort("_id", -1)])

    async def _make(self, number: int, signs_from: datetime) -> SigningKey:
        key = RSAKey.generate_key(BITS, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
        kid = str(key.kid)
        document: Document = {
            "_id": number,
            "kid": kid,
            "public": {name: value for name, value in key.as_dict(private=False).items() if name != "key_ops"},
            "sealed": await self._sealer.seal(key.as_pem(private=True), f"{_PURPOSE}:{kid}"),
            "signs_from": signs_from,
            "retires": None,
        }
        try:
            await self._keys.insert_one(document)
        except DuplicateKeyError:
            # Another process was faster; its key is as good.
            document = await self._keys.find_one({"_id": number}) or document
        return SigningKey.from_document(document)
