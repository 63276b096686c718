"""Units of work as MongoDB will store them.

A unit is encoded before it shares a round trip with others, so that one which can not be stored is refused alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from fhir_server.exchange import Resource
from fhir_server.fhir.outcome import duplicate, too_large, unprocessable
from fhir_server.store.cipher import guard_key, sealed
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.keys import Keyring
from fhir_server.store.versions import StoredVersion, Version, document, history_document, stored_history_document
from fhir_server.store.writes import Claim, Unit, Write, claim_key

LARGEST: Final = 16 * 1024 * 1024
"""What one document may have, in bytes: https://www.mongodb.com/docs/manual/reference/limits/."""
RESERVED: Final = 1024
"""Kept free in a current version, so that it fits into history too, where it has a longer key."""


@dataclass(frozen=True, slots=True)
class Item:
    """One write of a job."""

    tenant: str
    write: Write
    current: RawBSONDocument
    """What the current collection will hold."""
    superseded: RawBSONDocument | None
    """What the history collection will hold; None for what has never existed before."""
    index: Mapping[str, Any] | None = None
    """The search entries; None for a deletion."""

    @property
    def type(self) -> str:
        """The resource type."""
        return self.write.version.type


@dataclass(frozen=True, slots=True)
class Job:
    """What one tenant wants written together."""

    items: tuple[Item, ...]
    guards: tuple[str, ...]
    """The keys of guard documents."""
    claims: tuple[Claim, ...] = ()


def job(tenant: str, unit: Unit, keyring: Keyring) -> Job:
    """Return the unit, encoded.

    Raises:
        FhirError: 413 or 422, for a resource that MongoDB can not hold; 409 where two of the resources claim the same key;
            503 where there is no key for the protected identifiers of one.
    """
    claims = tuple(
        Claim(claim_key(tenant, key), write.version.type, write.version.id) for write in unit.writes for key in write.claims
    )
    if len({claim.key for claim in claims}) < len(claims):
        raise duplicate("Two resources of the request claim the same identifier, which only one can have.")
    items = tuple(_item(tenant, write, keyring) for write in unit.writes)
    guards = sorted(guard_key(keyring, tenant, key) for key in unit.guards)
    return Job(items, tuple(f"{tenant}/{key}" for key in guards), claims)


def _item(tenant: str, write: Write, keyring: Keyring) -> Item:
    found = document(tenant, write.version, write.index)
    if write.looked is not None:
        found = sealed(keyring, tenant, found, None, write.looked)
    current = _encoded(found, LARGEST - RESERVED)
    if write.looked is None and keyring.systems.mentioned(bytes(current.raw)):
        found = sealed(keyring, tenant, found, write.indexer or _unindexed)
        current = _encoded(found, LARGEST - RESERVED)
    if write.previous is None:
        return Item(tenant, write, current, None, found.get("s"))
    return Item(tenant, write, current, _superseded(tenant, write.previous, write.version.last_updated, keyring), found.get("s"))


def _superseded(tenant: str, previous: Version, ended: datetime, keyring: Keyring) -> RawBSONDocument:
    if isinstance(previous, StoredVersion) and _is_kept_as_now(tenant, previous, keyring):
        return _encoded(stored_history_document(tenant, previous, ended), LARGEST)
    before = history_document(tenant, previous, ended)
    superseded = _encoded(before, LARGEST)
    if keyring.systems.mentioned(bytes(superseded.raw)):
        superseded = _encoded(sealed(keyring, tenant, before, None), LARGEST)
    return superseded


def _is_kept_as_now(tenant: str, version: StoredVersion, keyring: Keyring) -> bool:
    """Tell whether a stored resource is encrypted as it would be now, or has nothing to encrypt.

    `fhir-server keys` goes through the current versions before those in history, so what is copied between is seen.
    """
    if version.generation is None:
        return not keyring.systems.mentioned(version.raw)
    return version.generation == keyring.ring(tenant).active.number


def _unindexed(_: Resource) -> Mapping[str, Any]:
    raise AssertionError("a write of a resource with protected identifiers has to say how it is indexed")


def _encoded(found: Mapping[str, Any], limit: int) -> RawBSONDocument:
    try:
        data = bson.encode(found, codec_options=CODEC_OPTIONS)
    except (BSONError, ValueError, ArithmeticError, RecursionError):
        raise unprocessable("The resource holds a name, text or number that the database can not hold.", code="value") from None
    if len(data) > limit:
        raise too_large(
            "The resource is larger than the 16 MB that one resource may have in the database, search index included."
        )
    return RawBSONDocument(data)
