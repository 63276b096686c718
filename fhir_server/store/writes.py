"""What a unit of work asks of the store, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import getrandbits
from typing import Any

from fhir_server.exchange import Resource
from fhir_server.fhir.outcome import Issue
from fhir_server.fhir.protected import Looked
from fhir_server.store.versions import Version, next_moment, stamped

Index = Mapping[str, Any]


class VersionConflictError(Exception):
    """Somebody else wrote the resource since it was read; whoever wrote may read again and try again."""

    def __init__(self, type_: str, id_: str) -> None:
        super().__init__(f"{type_}/{id_}")
        self.type = type_
        self.id = id_


@dataclass(frozen=True, slots=True)
class Write:
    """A new version that follows `previous` (None where the resource has never existed).

    `version.resource` is what will be stored; `index` its search entries (none for a deletion).
    """

    version: Version
    index: Index | None
    previous: Version | None = None
    issues: tuple[Issue, ...] = ()
    """Warnings for the Reply."""
    claims: tuple[str, ...] = ()
    """Keys that the resource is to hold from now on, for ever (`fhir_server.store.claims`)."""
    indexer: Callable[[Resource], Index] | None = None
    """Gives the search entries of the resource with tokens for protected identifiers (`fhir_server.store.cipher`)."""
    looked: Looked | None = None
    """What a look at the resource has found, where `index` has such tokens already."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that a resource claims."""

    key: str
    """With the tenant (`claim_key`)."""
    type: str = ""
    """Empty: claimed for whoever comes."""
    id: str = ""


def claim_key(tenant: str, key: str) -> str:
    """Return the `_id` of a claim."""
    return f"{tenant}/{key}"


@dataclass(frozen=True, slots=True)
class Unit:
    """Writes that happen together or not at all.

    `guards` are keys of conditions that were looked up before (conditional creates): of two units that hold the same
    guard at the same time one fails and has to look again.
    """

    writes: tuple[Write, ...]
    guards: tuple[str, ...] = field(default=())


def write(
    resource: Resource,
    index: Index,
    *,
    id_: str,
    now: datetime,
    method: str,
    previous: Version | None = None,
    issues: tuple[Issue, ...] = (),
    claims: tuple[str, ...] = (),
    indexer: Callable[[Resource], Index] | None = None,
    looked: Looked | None = None,
) -> Write:
    """Return the write of a resource as the version after `previous`, stamped with its number and time."""
    number = previous.number + 1 if previous else 1
    moment = next_moment(now, previous)
    found = stamped(resource, id_, number, moment)
    version = Version(resource["resourceType"], id_, number, moment, method, found, getrandbits(62))
    return Write(version, index, previous, issues, claims, indexer, looked)


def deletion(previous: Version, *, now: datetime) -> Write:
    """Return the write that deletes a resource."""
    moment = next_moment(now, previous)
    return Write(
        Version(previous.type, previous.id, previous.number + 1, moment, "DELETE", None, getrandbits(62)), None, previous
    )
