"""What is known of bytes that are kept.

docs/media.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

State = Literal["storing", "ready", "deleting", "quarantined"]
"""`storing` and `deleting` pass; bytes are served while they are `ready` only."""
Scan = Literal["off", "clean", "unscanned"]
"""What is known of viruses in bytes that are ready: not looked for, none found, not yet looked for."""


class DamagedError(Exception):
    """Bytes are missing, or are not those that were stored."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What a run over the bytes tells: hexadecimal digests, and the number of bytes."""

    sha256: str
    sha1: str
    size: int


@dataclass(frozen=True, slots=True)
class Staging:
    """A place where bytes are collected before they are known and judged."""

    tenant: str
    id: str
    token: str = ""
    """What the store needs to know of it: the id of a multipart upload, where it is one."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of a tenant, known by their SHA-256."""

    tenant: str
    sha256: str
    sha1: str
    size: int
    mime: str
    """The type by content, without parameters."""
    key: str
    """`uploads/{tenant}/{sha256}.{ext}`."""
    place: str
    """Where the store has them."""
    created: datetime
    state: State = "ready"
    scan: Scan = "off"
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`width` and `height` in pixels, `duration` in milliseconds, `pages`, `flags`; what could be found out."""


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes that have been received; `deduplicated` when they were there already, so that nothing was stored."""

    blob: Blob
    deduplicated: bool = False


def key_of(tenant: str, sha256: str, extension: str) -> str:
    """Return the key of bytes."""
    return f"uploads/{tenant}/{sha256}.{extension}"
