"""Inserts into several collections, all or none, past the parts of PyMongo that cost the most.

docs/decisions/0009-lanes.md

A transaction over a lane: its inserts are sent at once, and it is committed when all have succeeded. What does not succeed is
undone, and done by PyMongo. Only a commit whose answer is lost is repeated here, since nobody else may: it happens once.
https://www.mongodb.com/docs/manual/core/transactions/
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson.binary import Binary
from bson.int64 import Int64
from pymongo.errors import AutoReconnect, PyMongoError

from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.lanes import Lanes, LostError

Document = dict[str, Any]
Inserts = Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
"""Documents by collection."""

NO_SUCH_TRANSACTION: Final = 251
TRANSIENT: Final = "TransientTransactionError"
"""MongoDB's label for what has certainly not been committed and may be tried again."""
COMMIT_PAUSE: Final = 0.02


@dataclass(slots=True)
class _Session:
    """A session of MongoDB, for one transaction at a time: https://www.mongodb.com/docs/manual/reference/server-sessions/."""

    id: Binary = field(default_factory=lambda: Binary.from_uuid(uuid.uuid4()))
    number: int = 0

    def command(self, command: Mapping[str, Any]) -> Document:
        """Return a command within the transaction."""
        return {**command, "lsid": {"id": self.id}, "txnNumber": Int64(self.number), "autocommit": False}


class Together:
    """Transactions that only insert, in one database."""

    def __init__(self, lanes: Lanes, database: str, write_concern: Document) -> None:
        self._lanes = lanes
        self._database = database
        self._write_concern = write_concern
        self._free: list[_Session] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def insert(self, inserts: Inserts, until: float) -> bool:
        """Insert all or nothing; False: nothing was inserted, so do it as usual.

        While the answer to the commit is lost it is asked for until then, a time of `time.monotonic`.

        Raises:
            PyMongoError: MongoDB is away, and whether all was inserted is not known.
        """
        session = self._free.pop() if self._free else _Session()
        session.number += 1
        try:
            done = await self._inserted(session, inserts) and await self._committed(session, until)
        except BaseException:
            # Somebody who no longer waits, or MongoDB is away: what is left open would hold its locks for a minute.
            task = asyncio.create_task(self._abort(session))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            raise
        self._free.append(session)
        return done

    async def _inserted(self, session: _Session, inserts: Inserts) -> bool:
        """Begin a transaction and insert; where that does not succeed, end it."""
        commands = [session.command({"insert": name, "documents": list(documents)}) for name, documents in inserts]
        commands[0]["startTransaction"] = True
        try:
            replies = await self._lanes.answers(self._database, commands, CODEC_OPTIONS)
        except LostError:
            await self._abort(session)
            return False
        if replies is None:
            return False
        if all(
            reply.get("ok") and reply.get("n") == len(documents) for reply, (_, documents) in zip(replies, inserts, strict=True)
        ):
            return True
        await self._abort(session)
        return False

    async def _committed(self, session: _Session, until: float) -> bool:
        command = session.command({"commitTransaction": 1, "writeConcern": self._write_concern})
        while True:
            reply: Document = {}
            with contextlib.suppress(LostError):
                [reply] = await self._lanes.answers("admin", [command], CODEC_OPTIONS) or [{}]
            if reply.get("ok") and "writeConcernError" not in reply:
                return True
            if not reply.get("ok") and (reply.get("code") == NO_SUCH_TRANSACTION or TRANSIENT in reply.get("errorLabels", ())):
                return False
            if time.monotonic() > until:
                raise AutoReconnect("MongoDB does not say whether a transaction has been committed.")
            await asyncio.sleep(COMMIT_PAUSE)

    async def _abort(self, session: _Session) -> None:
        """Let go of what is locked; where MongoDB does not answer, it does so by itself after a minute."""
        with contextlib.suppress(LostError, PyMongoError):
            await self._lanes.answers("admin", [session.command({"abortTransaction": 1})], CODEC_OPTIONS)
