"""What happens to bytes while they pass: they are cut into parts, hashed, scanned, sampled, and sent to the store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from fhir_server.blobs.blob import Digests
from fhir_server.blobs.clamd import Session, Verdict
from fhir_server.blobs.inspecting.inspector import Sample
from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.fhir.outcome import too_large

IN_FLIGHT: Final = 2
"""Parts of one upload that are on their way to the store at the same time."""
PIECE_BYTES: Final = 2**20
"""So many bytes are looked at while as many come."""
HELD_THREAD: Final = 256 * 1024
"""Larger pieces are hashed and written in a thread."""


class Passing:
    """Bytes that pass: they are hashed, scanned, and a sample is taken, while the next ones come."""

    def __init__(self, session: Session | None, head: int) -> None:
        self._session = session
        self._sha256 = hashlib.sha256()
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._size = 0
        self._under_way: asyncio.Task[None] | None = None
        self.sample = Sample(head)

    async def add(self, data: bytes) -> None:
        """Take the next bytes; they are looked at when those before have been, which this waits for, and not longer."""
        await self.settle()
        self._under_way = asyncio.create_task(self._look(data))

    async def settle(self) -> None:
        """Wait until all so far has been looked at."""
        if self._under_way is not None:
            task, self._under_way = self._under_way, None
            await task

    async def _look(self, data: bytes) -> None:
        self._size += len(data)
        if len(data) < HELD_THREAD:
            self._take(data)
        else:
            await asyncio.to_thread(self._take, data)
        if self._session is not None:
            await self._session.feed(data)

    def _take(self, data: bytes) -> None:
        self._sha256.update(data)
        self._sha1.update(data)
        self.sample.add(data)

    async def part(self, number: int) -> bytes:
        """Return a part that has passed, of those that are in the file."""
        await self.settle()
        return await spooled_part(self.sample, number)

    async def digests(self) -> Digests:
        """Return the digests of all so far."""
        await self.settle()
        return Digests(self._sha256.hexdigest(), self._sha1.hexdigest(), self._size)

    async def verdict(self) -> Verdict | None:
        """Return what the scan says; None where nothing is scanned."""
        return await self._session.verdict() if self._session is not None else None

    async def close(self) -> None:
        """Give free what is held."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)
        self.sample.close()
        if self._session is not None:
            self._session.close()


class Sending:
    """Parts on their way to the store."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Send a part as soon as there is room; raise what an earlier one has failed with."""
        while len(self._tasks) >= IN_FLIGHT:
            await self._wait(asyncio.FIRST_COMPLETED)
        self._tasks.add(asyncio.create_task(self._send(work)))

    async def _send(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with self._room:
            await work()

    async def end(self) -> None:
        """Wait for all."""
        while self._tasks:
            await self._wait(asyncio.ALL_COMPLETED)

    async def _wait(self, when: str) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=when)
        for task in done:
            task.result()

    async def cancel(self) -> None:
        """Give up all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def spooled_part(sample: Sample, number: int) -> bytes:
    """Return a part of what is whole in a sample."""
    return await asyncio.to_thread(sample.part, (number - 1) * PART_BYTES, PART_BYTES)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Yield bytes as a stream of one piece."""
    yield data


async def merged(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield pieces of exactly `size` bytes, and the rest."""
    held: list[bytes] = []
    missing = size
    async for chunk in chunks:
        at = 0
        while len(chunk) - at >= missing:
            held.append(chunk[at : at + missing])
            yield held[0] if len(held) == 1 else b"".join(held)
            at += missing
            held, missing = [], size
        if at < len(chunk):
            held.append(chunk[at:])
            missing -= len(chunk) - at
    if held:
        yield b"".join(held)


async def limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield a stream as it is.

    Raises:
        FhirError: 413, as soon as it is over the limit.
    """
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise too_large(f"The upload is larger than {limit} bytes, the largest that this server takes.")
        yield chunk
