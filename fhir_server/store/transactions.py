"""Transactions of MongoDB: begun, committed, tried again, and given up within a bounded time."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure, PyMongoError

from fhir_server.fhir.outcome import conflict
from fhir_server.store.database import Database
from fhir_server.store.together import COMMIT_PAUSE, TRANSIENT

ABORT_SECONDS: Final = 1.0
UNKNOWN: Final = "UnknownTransactionCommitResult"

T = TypeVar("T")
_ending: set[asyncio.Task[None]] = set()


async def in_transaction(database: Database, work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """Run `work` in a transaction, again when it meets a conflict.

    While MongoDB is away it tries again for `mongodb_timeout_ms`.

    Raises:
        VersionConflictError: `work` raised it.
        FhirError: 409, when other writers won every time.
        PyMongoError: MongoDB is away, or fails.
    """
    until = deadline(database)
    attempts = database.settings.transaction_retries + 1
    for attempt in range(1, attempts + 1):
        try:
            async with transaction(database) as session:
                result = await work(session)
                await commit(session, until)
                return result
        except PyMongoError as error:
            if not error.has_error_label(TRANSIENT):
                raise
            if isinstance(error, ConnectionFailure) and (attempt == attempts or time.monotonic() > until):
                raise
            if attempt == attempts:
                raise conflict("Others kept writing the same resources; nothing was changed. Send the request again.") from error
        await asyncio.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.2)))  # noqa: S311 -- jitter is no secret
    raise AssertionError


def deadline(database: Database) -> float:
    """Return until when MongoDB, if it is away, is waited for."""
    return time.monotonic() + database.settings.mongodb_timeout_ms / 1000


@contextlib.asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[AsyncClientSession]:
    """Yield a session in a transaction, which is aborted unless it has been committed."""
    session = database.client.start_session()
    try:
        await session.start_transaction(write_concern=database.mongodb.write_concern)
        yield session
    finally:
        if session.in_transaction:
            await _abort(session)
        else:
            await session.end_session()


async def _abort(session: AsyncClientSession) -> None:
    """Abort; where MongoDB does not answer, nobody waits for that, but it is not given up: the transaction holds locks."""
    ending = asyncio.create_task(session.end_session())
    _ending.add(ending)
    ending.add_done_callback(_ending.discard)
    await asyncio.wait((ending,), timeout=ABORT_SECONDS)


async def commit(session: AsyncClientSession, until: float) -> None:
    """Commit, asking again until then while the outcome is unknown: a commit may be repeated, it happens once."""
    while True:
        try:
            await session.commit_transaction()
        except PyMongoError as error:
            if not error.has_error_label(UNKNOWN) or time.monotonic() > until:
                raise
        else:
            return
        await asyncio.sleep(COMMIT_PAUSE)
