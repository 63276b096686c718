"""One version of one resource, and the document that holds it.

The current version of a resource is a document of the collection named by its type, a superseded one a document of
`<type>_history` (docs/decisions/0003-versions.md):

    {_id: "{tenant}/{id}", t: tenant, i: id, v: 3, u: lastUpdated, m: "PUT", w: token, r: {…resource…}, s: {…index…}}

A deletion is a version too: `d: true`, without `r` and `s`. History documents have no `s`, but `e`, the time when they
were superseded, and end their `_id` with the version, padded so that the order of the keys is that of the versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.raw_bson import RawBSONDocument

from fhir_server.exchange import Resource
from fhir_server.store.stored import EncodedCache, Stored


@dataclass(frozen=True, slots=True)
class Version:
    """One version; `resource` is None where the version is a deletion."""

    type: str
    id: str
    number: int
    last_updated: datetime
    method: str
    resource: Resource | None
    token: int = 0
    """A random number by which a writer knows its own version again."""

    @property
    def deleted(self) -> bool:
        """Whether this version is a deletion."""
        return self.resource is None

    @property
    def reference(self) -> str:
        """The relative reference to the resource, such as `Patient/123`."""
        return f"{self.type}/{self.id}"

    @property
    def location(self) -> str:
        """The version-specific location, relative to the base."""
        return f"{self.type}/{self.id}/_history/{self.number}"

    @staticmethod
    def from_document(type_: str, document: Mapping[str, Any]) -> "Version":
        """Read a document of a current or a history collection."""
        resource = document.get("r")
        if isinstance(resource, Stored):
            return StoredVersion(type_, document, resource)
        return Version(type_, document["i"], document["v"], document["u"], document["m"], resource, document.get("w", 0))


class StoredVersion(Version):
    """A version whose resource is decoded when it is first asked for."""

    __slots__ = ("_document", "_resource", "_stored", "type")
    type: str
    _document: Mapping[str, Any]
    _resource: Resource | None
    _stored: Stored

    def __init__(self, type_: str, document: Mapping[str, Any], stored: Stored) -> None:
        keep = object.__setattr__
        keep(self, "type", type_)
        keep(self, "_document", document)
        keep(self, "_stored", stored)
        keep(self, "_resource", None)

    @property
    def id(self) -> str:
        """The id."""
        return str(self._document["i"])

    @property
    def number(self) -> int:
        """The number of the version."""
        return int(self._document["v"])

    @property
    def last_updated(self) -> datetime:
        """When it was made."""
        found: datetime = self._document["u"]
        return found

    @property
    def method(self) -> str:
        """How it was made."""
        return str(self._document["m"])

    @property
    def token(self) -> int:
        """The random number of its writer."""
        return int(self._document.get("w", 0))

    @property
    def generation(self) -> int | None:
        """That of the keys which its protected identifiers are encrypted with; None where it has none, or that is not known."""
        return self._document.get("k")

    @property
    def resource(self) -> Resource:
        """The resource."""
        found = self._resource
        if found is None:
            found = self._stored.decoded()
            object.__setattr__(self, "_resource", found)
        return found

    @property
    def deleted(self) -> bool:
        """Never."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and all(getattr(self, one.name) == getattr(other, one.name) for one in fields(Version))

    __hash__ = None  # type: ignore[assignment]  # A resource has no hash.

    @property
    def raw(self) -> bytes:
        """The BSON of the resource as it is stored, protected identifiers encrypted."""
        return self._stored.raw

    def json(self, cache: EncodedCache) -> bytes:
        """Return the resource's JSON."""
        found = self._document
        return cache.json((self.type, found["_id"], found["v"], found.get("w", 0)), self._stored)


def current_key(tenant: str, id_: str) -> str:
    """Return the `_id` of a resource's current version."""
    return f"{tenant}/{id_}"


def history_key(tenant: str, id_: str, number: int) -> str:
    """Return the `_id` of a superseded version."""
    return f"{tenant}/{id_}/{number:010d}"


def document(tenant: str, version: Version, index: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the current collection holds for a version."""
    found = _heading(current_key(tenant, version.id), tenant, version)
    if version.resource is None:
        found["d"] = True
    else:
        found["r"] = version.resource
        found["s"] = index or {}
    return found


def history_document(tenant: str, version: Version, ended: datetime) -> dict[str, Any]:
    """Return what the history collection holds for a version that was superseded at `ended`."""
    found = document(tenant, version, None)
    found["_id"] = history_key(tenant, version.id, version.number)
    found["e"] = ended
    found.pop("s", None)
    return found


def stored_history_document(tenant: str, version: StoredVersion, ended: datetime) -> dict[str, Any]:
    """Return the same for a version whose resource is copied as it is stored."""
    found = _heading(history_key(tenant, version.id, version.number), tenant, version)
    found["r"] = RawBSONDocument(version.raw)
    found["e"] = ended
    if version.generation is not None:
        found["k"] = version.generation
    return found


def _heading(key: str, tenant: str, version: Version) -> dict[str, Any]:
    return {
        "_id": key,
        "t": tenant,
        "i": version.id,
        "v": version.number,
        "u": version.last_updated,
        "m": version.method,
        "w": version.token,
    }


def instant(moment: datetime) -> str:
    """Return a FHIR instant in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def next_moment(now: datetime, previous: Version | None) -> datetime:
    """Return the time of a new version: now, to the millisecond, yet later than the version before it."""
    moment = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
    if previous is not None and moment <= previous.last_updated:
        return previous.last_updated + timedelta(milliseconds=1)
    return moment


def stamped(resource: Resource, id_: str, number: int, moment: datetime) -> Resource:
    """Return the resource with its id, `meta.versionId` and `meta.lastUpdated` set, all else as the client wrote it."""
    meta = {"versionId": str(number), "lastUpdated": instant(moment)}
    meta.update((name, value) for name, value in resource.get("meta", {}).items() if name.lstrip("_") not in meta)
    first = {"resourceType": resource["resourceType"], "id": id_, "meta": meta}
    return first | {name: value for name, value in resource.items() if name not in first}
