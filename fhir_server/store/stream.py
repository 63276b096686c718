"""A change stream, read batch by batch: https://www.mongodb.com/docs/manual/changeStreams/.

PyMongo hands out one change after the other, each by a turn of the event loop; here an answer of MongoDB is one list. Where
changes come fast they are waited for in company: each question wakes MongoDB and this process, whatever it brings.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from fhir_server.store.database import Database, Document
from fhir_server.store.positions import Position
from fhir_server.store.tasks import end

BATCH: Final = 500
LINGER: Final = 0.1
"""How long changes are waited for in company, in seconds, where there were others just before."""
FAST: Final = 0.25
"""Changes that follow others within so many seconds come fast."""
CLOSE_SECONDS: Final = 1.0
LOST: Final = {136, 260, 280, 286}
"""MongoDB's codes for positions that are no more: CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError,
ChangeStreamHistoryLost."""
FORBIDDEN: Final = {13, 18}
"""Unauthorized, AuthenticationFailed."""
CURSOR_NOT_FOUND: Final = 43
RESUMABLE: Final = "ResumableChangeStreamError"
Token = Mapping[str, Any]


class LostError(Exception):
    """MongoDB can not go on from a token."""


def is_resumable(error: PyMongoError) -> bool:
    """Tell whether a stream can be opened anew where the last one stood when this ended it."""
    if isinstance(error, OperationFailure):
        return error.code == CURSOR_NOT_FOUND or error.has_error_label(RESUMABLE)
    return isinstance(error, ConnectionFailure)


class ChangeStream:
    """The changes of a database, from a position on."""

    def __init__(self, database: Database, session: AsyncClientSession, await_ms: int) -> None:
        self._database = database
        self._session = session
        self._await_ms = await_ms
        self._cursor = 0
        self._first: Sequence[Document] | None = None
        self._changed_at = 0.0
        self._linger = False
        self.token: Token | None = None
        """Where it stands behind what it has given."""

    @property
    def alive(self) -> bool:
        """Whether there may be more; not after the database has been dropped."""
        return self._cursor != 0 or self._first is not None

    async def open(self, position: Position, pipeline: Sequence[Document]) -> None:
        """Begin.

        Raises:
            LostError: MongoDB can not go on from there.
        """
        where: Document = {}
        if position.token:
            where["resumeAfter"] = position.token
        elif position.start_at is not None:
            where["startAtOperationTime"] = position.start_at
        command = {
            "aggregate": 1,
            "pipeline": [{"$changeStream": where}, *pipeline],
            "cursor": {"batchSize": BATCH},
            "readConcern": {"level": "majority"},
        }
        try:
            self._first = await self._ask(command, "firstBatch")
        except OperationFailure as error:
            # A token that is none, or one of another version of MongoDB, is answered by many codes.
            if error.code in LOST or (position.token and error.code not in FORBIDDEN and not is_resumable(error)):
                raise LostError from error
            raise

    async def read(self) -> Sequence[Document]:
        """Return the next changes; none where none came for a while.

        Raises:
            LostError: the oplog no longer reaches back to where it stands.
        """
        if self._first is not None:
            found, self._first = self._first, None
        else:
            if self._linger:
                await asyncio.sleep(LINGER)
            command = {
                "getMore": self._cursor,
                "collection": "$cmd.aggregate",
                "batchSize": BATCH,
                "maxTimeMS": self._await_ms,
            }
            try:
                found = await self._ask(command, "nextBatch")
            except OperationFailure as error:
                if error.code in LOST:
                    raise LostError from error
                raise
        now = time.monotonic()
        self._linger = 0 < len(found) < BATCH and now - self._changed_at < FAST
        if found:
            self._changed_at = now
        return found

    async def close(self) -> None:
        """Let MongoDB forget it."""
        if self._cursor:
            command = {"killCursors": "$cmd.aggregate", "cursors": [self._cursor]}
            self._cursor = 0
            with contextlib.suppress(PyMongoError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._database.mongodb.command(command, session=self._session)

    async def _ask(self, command: Document, member: str) -> Sequence[Document]:
        mongodb = self._database.mongodb
        asking = asyncio.create_task(mongodb.command(command, session=self._session, codec_options=self._database.codec_options))
        try:
            # Not awaited as such: PyMongo might swallow the cancellation of both.
            await asyncio.wait({asking})
            answer = asking.result()["cursor"]
        finally:
            await end(asking)
        found: list[Document] = answer[member]
        self._cursor = answer["id"]
        token = answer.get("postBatchResumeToken")
        if token is None and found:
            token = found[-1]["_id"]
        self.token = token or self.token
        return found


@contextlib.asynccontextmanager
async def opened(
    database: Database, position: Position, pipeline: Sequence[Document], *, await_ms: int
) -> AsyncIterator[ChangeStream]:
    """Yield a stream from a position on, and close it in the end.

    Raises:
        LostError: MongoDB can not go on from there.
    """
    async with database.client.start_session(causal_consistency=False) as session:
        stream = ChangeStream(database, session, await_ms)
        try:
            await stream.open(position, pipeline)
            yield stream
        finally:
            await stream.close()
