"""What a store of bytes can do."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

from fhir_server.blobs.blob import Staging

PART_BYTES: Final = 8 * 2**20
"""Size of every part of a staging but its last."""
MOST_PARTS: Final = 10_000


PartOf = Callable[[int], Awaitable[bytes]]
"""Returns a part, by its number from 1 on."""


class BlobStore(Protocol):
    """Keeps bytes under keys. It knows nothing of what they are and who refers to them.

    Every method raises a FhirError (503) when the store does not answer, and a DamagedError when it has lost what it kept.
    """

    async def put(self, tenant: str, key: str, data: bytes, *, sha256: str, mime: str) -> str:
        """Keep a few bytes under a key, and return their place."""
        ...

    @property
    def copies(self) -> bool:
        """Whether `keep` has to copy what is staged, so that it is better to send bytes when their key is known."""
        ...

    async def put_parts(self, tenant: str, key: str, part_of: PartOf, *, size: int, mime: str) -> str:
        """Keep bytes under a key that are read part by part, and return their place; nothing is there before all are."""
        ...

    async def begin(self, tenant: str) -> Staging:
        """Make a place for bytes that come in parts."""
        ...

    async def put_part(self, staging: Staging, number: int, data: bytes) -> None:
        """Take part `number`, from 1 on; it replaces what has been sent as this part before."""
        ...

    async def parts(self, staging: Staging) -> Mapping[int, int]:
        """Return the sizes of the parts that are there whole or in part, by number."""
        ...

    async def finish(self, staging: Staging) -> None:
        """Join the parts: what is staged can be read from now on, and no part can be added."""
        ...

    async def is_finished(self, staging: Staging) -> bool:
        """Tell whether the parts have been joined."""
        ...

    def staged(self, staging: Staging, size: int) -> AsyncIterator[bytes]:
        """Yield what is staged, of `size` bytes."""
        ...

    async def keep(self, staging: Staging, key: str, *, size: int, mime: str) -> str:
        """Move what is staged to a key and return its place; another time it does nothing more."""
        ...

    async def discard(self, staging: Staging) -> None:
        """Remove a staging, in whatever state it is."""
        ...

    def read(self, tenant: str, place: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop`."""
        ...

    async def exists(self, tenant: str, place: str) -> bool:
        """Tell whether there is something at a place."""
        ...

    async def delete(self, tenant: str, key: str) -> None:
        """Remove what is kept under a key, if anything is."""
        ...

    def stagings(self, before: datetime) -> AsyncIterator[Staging]:
        """Yield the stagings that were begun before a time."""
        ...

    async def url(self, place: str, *, seconds: int, mime: str, disposition: str) -> str | None:
        """Return a URL that gives the bytes to whoever has it, for a time; None where the store has none of its own."""
        ...

    async def part_url(self, staging: Staging, number: int, *, size: int, seconds: int) -> str | None:
        """Return a URL that takes a part of `size` bytes, likewise."""
        ...

    async def close(self) -> None:
        """Give free what is held."""
        ...
