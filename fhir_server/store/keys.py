"""The keys that protected identifiers are encrypted and indexed with (docs/decisions/0032-protected-identifiers.md).

A tenant has generations of keys, each a document `{_id: "{tenant}/{n}", t, n, k: id, a: state, m: master key, d: wrapped,
x: wrapped, u: time}` with a data key (`d`) and an index key (`x`), both wrapped by a master key that never reaches the
database. All processes look for changes every few seconds, so a new generation is known everywhere before it is used.
"""

import asyncio
import base64
import contextlib
import hmac
import secrets
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from fhir_server.exchange import utc_now
from fhir_server.fhir.outcome import FhirError, unavailable
from fhir_server.fhir.protected import Systems
from fhir_server.store.master import KeyService, MasterKeyError

Document = dict[str, Any]
State = Literal["new", "active", "old", "retired"]
"""`new` is known but not used yet, `old` is no longer used but still found, `retired` encrypts nothing any more."""

KEYS: Final = "_keys"
NO_MASTER_KEY: Final = "there is no master key (FHIR_MASTER_KEY)"
REFRESH_SECONDS: Final = 5.0
KEY_BYTES: Final = 32
ID_BYTES: Final = 8
TOKEN_BYTES: Final = 16
MARK: Final = "~"
"""What the token of a value begins with."""


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return the HMAC of nothing: to copy it takes a third of the time that making it does."""
    return hmac.new(key, digestmod="sha256")


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a tenant's keys."""

    number: int
    id: bytes
    state: State
    cipher: AESGCM
    index_key: bytes

    def token(self, system: str, value: str) -> str:
        """Return what stands for a value (in its normal form) of a system in the search index."""
        keyed = _keyed(self.index_key).copy()
        keyed.update(f"{system}|{value}".encode())
        return MARK + base64.urlsafe_b64encode(keyed.digest()[:TOKEN_BYTES]).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Ring:
    """The keys of a tenant that can be used."""

    generations: tuple[Generation, ...] = ()

    @property
    def active(self) -> Generation:
        """The keys that are written with.

        Raises:
            FhirError: 503, there are none.
        """
        found = next((one for one in reversed(self.generations) if one.state == "active"), None)
        if found is None:
            raise locked()
        return found

    def tokens(self, system: str, value: str) -> list[str]:
        """Return all that may stand for a value in the search index."""
        return [one.token(system, value) for one in self.generations if one.state != "retired"]


NO_KEYS: Final = Ring()
_LOCKED: Final = (
    "Protected identifiers can not be encrypted or decrypted: the server has no master key, or not the one that the tenant's"
    " keys are wrapped with (FHIR_MASTER_KEY). `fhir-server doctor` says more."
)


def locked() -> FhirError:
    """503: there is no key, or none that this server can unwrap."""
    return unavailable(_LOCKED, 60, "security")


def is_locked(error: Exception) -> bool:
    """Tell whether an error of decoding is `locked`, of which PyMongo keeps the text only."""
    return _LOCKED in str(error)


class Keyring:
    """The keys of all tenants of a database, in this process.

    `ciphers` are shared with what decodes documents: the ciphers by the id of their generation.
    """

    def __init__(
        self,
        collection: AsyncCollection[Document],
        systems: Systems,
        ciphers: MutableMapping[bytes, AESGCM],
        service: KeyService | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.systems = systems
        self.service = service
        self._collection = collection
        self._ciphers = ciphers
        self._clock = clock
        self._rings: dict[str, tuple[float, Ring]] = {}
        self._known: dict[str, Generation] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def is_ready(self, tenant: str) -> bool:
        """Tell whether the keys of a tenant are known well enough: `ready` would do nothing."""
        found = self._rings.get(tenant)
        return found is not None and self._clock() - found[0] < REFRESH_SECONDS

    def ring(self, tenant: str) -> Ring:
        """Return the keys of a tenant, as they were when they were last read."""
        found = self._rings.get(tenant)
        return found[1] if found else NO_KEYS

    async def ready(self, tenant: str) -> Ring:
        """Return the keys of a tenant, at most a few seconds old; its first ones are made at the first call."""
        if self.is_ready(tenant):
            return self.ring(tenant)
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            if not self.is_ready(tenant):
                documents = await self._read(tenant)
                if not documents and self.service is not None:
                    documents = await self._first(tenant)
                self._rings[tenant] = self._clock(), await self._unwrapped(documents)
        return self.ring(tenant)

    async def tenants(self) -> list[str]:
        """Return the tenants that have keys."""
        return sorted(await self._collection.distinct("t"))

    async def ready_all(self) -> None:
        """Know the keys of all tenants that have any."""
        for tenant in await self.tenants():
            if not self.is_ready(tenant):
                await self.ready(tenant)

    async def generations(self, tenant: str = "") -> list[Document]:
        """Return the documents of the keys of a tenant, or of all of them."""
        return await self._collection.find({"t": tenant} if tenant else {}).sort("_id", ASCENDING).to_list()

    def forget(self, tenant: str) -> None:
        """Read the keys of a tenant anew when they are next asked for."""
        self._rings.pop(tenant, None)

    async def add(self, tenant: str, number: int, state: State) -> None:
        """Make a generation of keys.

        Raises:
            DuplicateKeyError: there is one of this number.
            FhirError: 503, there is no master key.
        """
        if self.service is None:
            raise locked()
        found: Document = {"_id": f"{tenant}/{number:06}", "t": tenant, "n": number, "k": secrets.token_bytes(ID_BYTES)}
        found |= {"a": state, "m": self.service.key_id, "u": utc_now()}
        for name in "dx":
            found[name] = await self.service.wrap(secrets.token_bytes(KEY_BYTES), _context(found, name))
        await self._collection.create_index([("t", ASCENDING), ("n", ASCENDING)])
        await self._collection.insert_one(found)

    async def rewrap_all(self) -> int:
        """Wrap all keys by the master key of today; return how many were wrapped by another one.

        Raises:
            MasterKeyError: a master key that some are wrapped with is not known here.
        """
        if self.service is None:
            raise MasterKeyError(NO_MASTER_KEY)
        wanted = [one for one in await self.generations() if one["m"] != self.service.key_id]
        for document in wanted:
            await self._rewrap(self.service, document)
        return len(wanted)

    async def moved(self, document: Document, id_: str) -> Document:
        """Return a generation of keys under another `_id`, as which its wrapped keys can be opened.

        Raises:
            MasterKeyError: the master key that they are wrapped with is not known here.
        """
        if self.service is None:
            raise MasterKeyError(NO_MASTER_KEY)
        found = document | {"_id": id_, "m": self.service.key_id}
        for name in "dx":
            key = await self.service.unwrap(document["m"], document[name], _context(document, name))
            found[name] = await self.service.wrap(key, _context(found, name))
        return found

    async def _rewrap(self, service: KeyService, document: Document) -> None:
        wrapped: Document = {"m": service.key_id}
        for name in "dx":
            context = _context(document, name)
            key = await service.unwrap(document["m"], document[name], context)
            wrapped[name] = await service.wrap(key, context)
        await self._collection.update_one({"_id": document["_id"], "m": document["m"]}, {"$set": wrapped})

    async def _read(self, tenant: str) -> list[Document]:
        return await self._collection.find({"t": tenant}).sort("n", ASCENDING).to_list()

    async def _first(self, tenant: str) -> list[Document]:
        with contextlib.suppress(DuplicateKeyError):  # Another process was faster.
            await self.add(tenant, 1, "active")
        return await self._read(tenant)

    async def _unwrapped(self, documents: Sequence[Document]) -> Ring:
        """Return the generations that the master key opens; what the others hold can not be read."""
        found = []
        for document in documents:
            try:
                found.append(await self._generation(document))
            except MasterKeyError as error:
                structlog.get_logger().error(
                    "keys can not be unwrapped", tenant=document["t"], keys=document["_id"], reason=str(error)
                )
        for one in found:
            self._ciphers[one.id] = one.cipher
        return Ring(tuple(found))

    async def _generation(self, document: Document) -> Generation:
        known = self._known.get(document["_id"])
        if known is None or known.id != document["k"]:
            if self.service is None:
                raise MasterKeyError(NO_MASTER_KEY)
            keys = [await self.service.unwrap(document["m"], document[name], _context(document, name)) for name in "dx"]
            known = Generation(document["n"], bytes(document["k"]), document["a"], AESGCM(keys[0]), keys[1])
        if known.state != document["a"]:
            known = Generation(known.number, known.id, document["a"], known.cipher, known.index_key)
        self._known[document["_id"]] = known
        return known


def _context(document: Document, name: str) -> str:
    """Return what a wrapped key is bound to, so that it can not be put into the place of another one."""
    return f"{document['_id']}/{bytes(document['k']).hex()}/{name}"
