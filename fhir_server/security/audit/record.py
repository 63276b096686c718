"""One event of the audit trail as it is stored: what happened, without any content of resources.

An AuditEvent (`security.audit.event`) is made of it when somebody reads it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

COMMAND: Final = "command"
"""The kind of what an operator does at the command line."""
DISCLOSURE: Final = "disclosure"
"""The kind of what is given to somebody outside, such as a message to the provider that delivers it."""
SYSTEM: Final = "system"
"""As whom the server does what it does by itself."""
PREFIX: Final = "log-"
"""What the ids of AuditEvents of the trail begin with."""
ID: Final = re.compile(r"log-([0-9a-f]{11})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{4})")
_ONE_MS: Final = 0.001


class Record(msgspec.Struct, array_like=True, frozen=True):
    """What happened. New members go to the end, with a default: records of before have fewer."""

    at: int
    """When it began, in milliseconds since 1970."""
    kind: str
    """`rest`, `login`, `logout`, `refused` (by the door), `download`, `account` (changed by its
    user), `command` (of an operator), `disclosure`."""
    code: str
    """The interaction, the name of the operation after a `$`, the command, or the channel of a disclosure."""
    status: int
    """The HTTP status of the answer."""
    type: str = ""
    id: str = ""
    version: str = ""
    principal: str = ""
    issuer: str = ""
    client: str = ""
    user: str = ""
    """The reference of the resource that is the person, or of the patient who is in the context of the launch; of a
    disclosure, on whose behalf it was."""
    address: str = ""
    request_id: str = ""
    patients: tuple[str, ...] = ()
    """Ids of the patients that were seen or changed."""
    parameters: tuple[str, ...] = ()
    """Names of the search parameters; their values can tell as much as content does."""
    count: int = -1
    """How many resources a search or a history answered; -1: it is none."""
    reason: str = ""
    """Why the glass was broken."""
    detail: str = ""
    """The issue code of a refusal, or what else is to be said; no content."""
    missed: int = 0
    """So many more of its kind were left out before it."""
    about: str = ""
    """What a command was about, where that is no resource; of a disclosure, the reference of what it was done for."""

    @property
    def keys(self) -> list[str]:
        """What it is found by: `parameter:entry`, as the search index writes entries."""
        found = ["patient:Patient/" + one for one in self.patients]
        if self.type and self.id:
            found.append(f"patient:Patient/{self.id}" if self.type == "Patient" else f"entity:{self.type}/{self.id}")
        if self.kind == DISCLOSURE:
            found.append(f"entity:{self.about}")
        if self.user:
            found.append(("patient:" if self.user.startswith("Patient/") else "agent:") + self.user)
        if self.principal:
            found.append(f"altid:{self.principal}|")
        if self.client:
            found.append(f"altid:{self.client}|")
        return found


def is_own(record: Record) -> bool:
    """Tell whether the server did it by itself: whatever is asked for by others has the id of a request."""
    return record.kind == "rest" and record.principal == SYSTEM and not record.request_id


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Record])


def packed(records: Sequence[Record]) -> bytes:
    """Return records as they are stored."""
    return _ENCODER.encode(records)


def unpacked(data: bytes) -> list[Record]:
    """Return the records of what is stored."""
    return _DECODER.decode(data)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch of records stands."""

    ms: int
    """When it was written, in milliseconds since 1970."""
    chain: str
    """One process and tenant, whose batches are chained."""
    number: int

    def __str__(self) -> str:
        """Return what comes after the tenant in the key of its document; the order is that of time."""
        return f"{self.ms:011x}-{self.chain}-{self.number:08x}"

    @property
    def moment(self) -> datetime:
        """When it was written."""
        return datetime.fromtimestamp(self.ms * _ONE_MS, UTC)

    def id(self, index: int) -> str:
        """Return the id of the AuditEvent of one of its records."""
        return f"{PREFIX}{self}-{index:04x}"

    @staticmethod
    def parse(text: str) -> "Place":
        """Return the place of a document's key, or of an AuditEvent's id."""
        ms, chain, number = text.removeprefix(PREFIX).split("-")[:3]
        return Place(int(ms, 16), chain, int(number, 16))
