"""One change stream for all of a process that follow the changes.

Each stream costs MongoDB a look at every entry of its log, and wakes it at every write. So whoever has caught up with the
present goes on with the changes that the shared stream has read, a bounded number of which are kept. Who is too slow for that
reads a stream of its own again, and holds nobody up.

Where somebody stands is told by tokens, whose `_data` are in the order of the changes:
https://www.mongodb.com/docs/manual/changeStreams/#resume-tokens
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from fhir_server.store.database import Database, Document
from fhir_server.store.positions import Position
from fhir_server.store.stream import LostError, Token, opened
from fhir_server.store.tasks import end

KEPT: Final = 2000
"""So many changes are kept for those who have not taken them yet."""
_TOKEN_START: Final = "82"  # noqa: S105 -- no secret
"""What the data of a token begins with that has its time, and so its order, first."""


class LeftBehindError(Exception):
    """The shared stream can not give what comes next: it has ended, or is too far ahead."""


class SharedStream:
    """A change stream that is open while somebody reads it; `pipeline` is asked for when it is opened."""

    def __init__(self, database: Database, pipeline: Callable[[], Sequence[Document]], await_ms: Callable[[], int]) -> None:
        self._database = database
        self._pipeline = pipeline
        self._await_ms = await_ms
        self._kept: deque[Document] = deque()
        self._dropped = 0
        """How many changes are no longer kept."""
        self._floor = ""
        """What was before the first that is kept."""
        self._readers = 0
        self._reading: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self.token: Token = {}

    @contextlib.asynccontextmanager
    async def joined(self, position: Position) -> AsyncIterator["Reader | None"]:
        """Yield a reader of what comes after a position; None where the shared stream is ahead of it."""
        reader = self._reader(position)
        if reader is None:
            yield None
            return
        self._readers += 1
        try:
            yield reader
        finally:
            self._readers -= 1
            if not self._readers and self._reading is not None:
                reading, self._reading = self._reading, None
                await end(reading)

    def _reader(self, position: Position) -> "Reader | None":
        if not position.token or not data_of(position.token).startswith(_TOKEN_START):
            return None
        after = data_of(position.token)
        if self._reading is None or self._reading.done():
            self._kept, self._dropped, self._floor, self.token = deque(), 0, after, position.token
            self._reading = asyncio.create_task(self._read(position))
        if after < self._floor:
            return None
        return Reader(self, self._reading, after, self._dropped + bisect_right(self._kept, after, key=_place))

    async def _read(self, position: Position) -> None:
        try:
            async with opened(self._database, position, self._pipeline(), await_ms=self._await_ms()) as stream:
                while stream.alive:
                    found = await stream.read()
                    self._keep(found, stream.token or self.token)
        except (PyMongoError, LostError, TimeoutError) as error:
            structlog.get_logger().info("the shared change stream has ended", reason=type(error).__name__)
        finally:
            self._tell()

    def _keep(self, found: Sequence[Document], token: Token) -> None:
        self._kept.extend(found)
        self.token = token
        while len(self._kept) > KEPT:
            self._floor = _place(self._kept.popleft())
            self._dropped += 1
        self._tell()

    def _tell(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def next(self, reading: "asyncio.Task[None]", at: int, token: Token | None) -> tuple[list[Document], Token]:
        """Return the changes from a place on, when there are some or the stream has moved on from a token.

        Raises:
            LeftBehindError: it can not.
        """
        while reading is self._reading and at >= self._dropped:
            if at < self._dropped + len(self._kept) or (token is not None and token != self.token):
                return [self._kept[place] for place in range(at - self._dropped, len(self._kept))], self.token
            if reading.done():
                break
            token = self.token if token is None else token
            await self._arrived.wait()
        raise LeftBehindError


class Reader:
    """Reads the shared stream from a place on."""

    def __init__(self, stream: SharedStream, reading: "asyncio.Task[None]", after: str, at: int) -> None:
        self._stream = stream
        self._reading = reading
        self._after = after
        self._at = at
        self._token: Token | None = None

    async def read(self) -> tuple[list[Document], Token | None]:
        """Return the next changes, and where the stream stands behind them; None: before where the reader stands.

        Raises:
            LeftBehindError: read a stream of one's own.
        """
        found, self._token = await self._stream.next(self._reading, self._at, self._token)
        self._at += len(found)
        # It may have begun behind the reader.
        new = [event for event in found if _place(event) > self._after]
        return new, self._token if data_of(self._token) >= self._after else None


def data_of(token: Token) -> str:
    """Return what tokens are in the order of."""
    data = token.get("_data")
    return data if isinstance(data, str) else ""


def _place(event: Document) -> str:
    return data_of(event["_id"])
