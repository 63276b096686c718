"""Reads, and writes that may be repeated, on connections of their own, past the parts of PyMongo that cost the most.

A `find` through PyMongo takes this process four times the work that its two messages do: a connection is checked out
under locks, each answer is awaited by two tasks and a timer, and a cursor is made (docs/decisions/0009-lanes.md has the
figures). A lane is a connection that PyMongo has made, authenticated and handed out, on which one command at a time is
sent and awaited.

A lane answers only what went well. Whatever did not (an error of the server, a lost connection, an answer of several
batches), the caller asks again through PyMongo, which knows how to wait, repeat and explain. So nothing depends on
lanes but speed, and they may rely on PyMongo's inside: where that has changed, there are none.
"""

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import ExecutionTimeout, PyMongoError, ServerSelectionTimeoutError

from fhir_server.store.stored import first_batch, is_cursor

Document = dict[str, Any]

HEADER: Final = struct.Struct("<iiiiIB")
OP_MSG: Final = 2013
BODY_AT: Final = 5
"""Where the document begins in an answer: after the flags and the kind of the section."""
LARGEST_ANSWER: Final = 48_000_000
MAX_TIME_EXPIRED: Final = 50
_MAJORITY: Final = {"level": "majority"}


class LostError(Exception):
    """A connection was lost, or the answers did not come, after commands had been sent: they may have been run."""


class Lanes:
    """Up to `limit` lanes of a client, opened as they are needed."""

    def __init__(self, client: AsyncMongoClient[Document], *, limit: int, seconds: float) -> None:
        self._client = client
        self._limit = 0 if client.options.pool_options.server_api else limit
        self._seconds = seconds
        self._free: list[_Lane] = []
        self._all: set[_Lane] = set()
        self._count = 0
        self._numbers = itertools.cycle(range(1, 2**31))

    async def read(
        self, database: str, command: Mapping[str, Any], codec_options: CodecOptions[Document]
    ) -> list[Document] | None:
        """Return the documents that a `find` or an `aggregate` gives; None: ask PyMongo.

        Raises:
            ExecutionTimeout: MongoDB ended it after the command's `maxTimeMS`, as it would again.
            ServerSelectionTimeoutError: MongoDB is away.
        """
        answer, _ = await self._ask(database, {**command, "readConcern": _MAJORITY}, codec_options)
        return None if answer is None else first_batch(answer, codec_options)

    async def run(self, database: str, command: Mapping[str, Any], codec_options: CodecOptions[Document]) -> Document | None:
        """Return the answer to a command that only reads; None: ask PyMongo.

        Raises:
            ExecutionTimeout: MongoDB ended it after the command's `maxTimeMS`, as it would again.
            ServerSelectionTimeoutError: MongoDB is away.
        """
        answer, reply = await self._ask(database, {**command, "readConcern": _MAJORITY}, codec_options)
        return reply or (None if answer is None else bson.decode(answer, codec_options))

    async def insert(
        self,
        database: str,
        collection: str,
        documents: Sequence[Mapping[str, Any]],
        write_concern: Document,
        codec_options: CodecOptions[Document],
    ) -> bool:
        """Insert documents; False: whether they are there is not known, or not all are, so ask PyMongo.

        Only for documents whose `_id` tells those that are there already.

        Raises:
            ServerSelectionTimeoutError: MongoDB is away.
        """
        command = {"insert": collection, "documents": list(documents), "ordered": False, "writeConcern": write_concern}
        return await self._write(database, command, len(documents), codec_options)

    async def update(
        self,
        database: str,
        collection: str,
        updates: list[Document],
        write_concern: Document,
        codec_options: CodecOptions[Document],
    ) -> bool:
        """Update documents; False: whether all are updated is not known, so ask PyMongo.

        Only for updates that change nothing where they have been made already, and of which that can be seen.

        Raises:
            ServerSelectionTimeoutError: MongoDB is away.
        """
        command = {"update": collection, "updates": updates, "ordered": False, "writeConcern": write_concern}
        return await self._write(database, command, len(updates), codec_options)

    async def answers(
        self, database: str, commands: Sequence[Mapping[str, Any]], codec_options: CodecOptions[Document]
    ) -> list[Document] | None:
        """Return the answers to commands that are sent together and run one after the other, failures among them.

        None: nothing was sent.

        Raises:
            LostError: whether they were run is not known.
            ServerSelectionTimeoutError: MongoDB is away.
        """
        sent = await self._send(database, commands, codec_options)
        if sent is None:
            return None
        lane, found = sent
        replies = [bson.decode(answer, codec_options) for answer in found]
        if all(reply.get("ok") for reply in replies):
            self._free.append(lane)
        else:
            await self._drop(lane)
        return replies

    async def _write(self, database: str, command: Document, count: int, codec_options: CodecOptions[Document]) -> bool:
        _, reply = await self._ask(database, command, codec_options)
        return reply is not None and reply.get("n") == count and "writeConcernError" not in reply

    async def _ask(
        self, database: str, command: Mapping[str, Any], codec_options: CodecOptions[Document]
    ) -> tuple[bytes | None, Document | None]:
        """Return the answer to a command, and what it says unless it is a cursor; None and None: ask PyMongo."""
        try:
            sent = await self._send(database, (command,), codec_options)
        except LostError:
            sent = None
        if sent is None:
            return None, None
        lane, [answer] = sent
        reply = None if is_cursor(answer) else bson.decode(answer, codec_options)
        if reply is None or reply.get("ok"):
            self._free.append(lane)
            return answer, reply
        if reply.get("code") == MAX_TIME_EXPIRED:
            self._free.append(lane)
            raise ExecutionTimeout(str(reply.get("errmsg", "")), MAX_TIME_EXPIRED, reply)
        # A server that is no longer the primary would refuse everything.
        await self._drop(lane)
        return None, None

    async def _send(
        self, database: str, commands: Sequence[Mapping[str, Any]], codec_options: CodecOptions[Document]
    ) -> "tuple[_Lane, list[bytes]] | None":
        """Return a lane that is in nobody's hands, and what came back on it; None: nothing was sent.

        Raises:
            LostError, ServerSelectionTimeoutError: as `answers`.
        """
        bodies = [bson.encode({**command, "$db": database}, codec_options=codec_options) for command in commands]
        lane = self._free.pop() if self._free else await self._open()
        if lane is None:
            return None
        try:
            return lane, await lane.ask([next(self._numbers) for _ in bodies], bodies, self._seconds)
        except BaseException as error:
            await self._drop(lane)
            if isinstance(error, OSError | PyMongoError | AttributeError):
                raise LostError(str(error)) from error
            raise

    def interrupt(self) -> None:
        """Give up all that is under way, since MongoDB does not answer: it is asked again through PyMongo."""
        for lane in self._all:
            lane.interrupt()

    async def close(self) -> None:
        """Give all connections back; there will be no more lanes."""
        self._limit = 0
        while self._free:
            await self._drop(self._free.pop())

    async def _open(self) -> "_Lane | None":
        if self._count >= self._limit:
            return None
        self._count += 1
        try:
            lane = await _Lane.open(self._client)
        except ServerSelectionTimeoutError:
            # PyMongo would wait as long again.
            self._count -= 1
            raise
        except (PyMongoError, OSError):
            self._count -= 1
        except (AttributeError, TypeError):
            # This PyMongo is not the one that this was written for.
            self._limit = self._count = 0
        else:
            self._all.add(lane)
            return lane
        return None

    async def _drop(self, lane: "_Lane") -> None:
        self._count -= 1
        self._all.discard(lane)
        await lane.close()


class _Lane:
    """One connection that is checked out of PyMongo's pool for as long as it lives."""

    def __init__(self, connection: Any, stack: contextlib.AsyncExitStack) -> None:
        self._connection = connection
        self._stack = stack
        self._protocol = connection.conn.get_conn

    @classmethod
    async def open(cls, client: AsyncMongoClient[Document]) -> "_Lane":
        async with contextlib.AsyncExitStack() as stack:
            checkout = await client._conn_for_reads(ReadPreference.PRIMARY, None, "find")  # noqa: SLF001 -- see the module
            connection, _ = await stack.enter_async_context(checkout)
            return cls(connection, stack.pop_all())
        raise AssertionError

    async def ask(self, numbers: Sequence[int], bodies: Sequence[bytes], seconds: float) -> list[bytes]:
        """Send commands at once, and return the documents of their answers."""
        parts = zip(numbers, bodies, strict=True)
        message = b"".join([HEADER.pack(HEADER.size + len(body), number, 0, OP_MSG, 0, 0) + body for number, body in parts])
        async with asyncio.timeout(seconds):
            await self._protocol.write(message)
            answers = [await self._protocol.read(number, LARGEST_ANSWER) for number in numbers]
        return [bytes(memoryview(answer)[BODY_AT:]) for answer, _ in answers]

    def interrupt(self) -> None:
        transport = self._protocol.transport
        if transport is not None:
            transport.abort()

    async def close(self) -> None:
        with contextlib.suppress(PyMongoError, OSError):
            await self._connection.close_conn(None)
            await self._stack.aclose()
