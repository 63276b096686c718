"""`Idempotency-Key`: a request that is sent again is done once, and answered the same.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

    {_id: hash of tenant, principal and key, t: tenant, print: hash of path and body, nonce, state: "open" or "done", lease,
     status, headers, body, created}

A key is kept for 24 hours. While the request is under way nobody else can begin it; when it, or the process, has failed, the
next one goes on with the same `nonce`, by which what was written already is found.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from weakref import WeakSet

from bson.binary import Binary
from fastapi import Request, Response
from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from fhir_server.engine import translated
from fhir_server.exchange import Context, utc_now
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, unprocessable
from fhir_server.interactions.writing import new_id
from fhir_server.store.database import Database, Document
from prm_ext.common.context import context_of
from prm_ext.common.problems import ProblemRoute, problem_of

COLLECTION: Final = "_idempotency"
HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
KEPT: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=60)
LONGEST: Final = 255
_HEADERS: Final = ("location", "etag", "content-type")
_REFUSED: Final = 400
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that nobody else has begun."""

    id: str
    nonce: str
    """The same for all attempts at the request; it may be an id."""
    first: bool = True
    """Whether nobody has attempted it before."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a request that was done before."""

    status: int
    headers: dict[str, str]
    body: bytes


class Keys:
    """The keys of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._collection = database.collection(COLLECTION)

    async def begin(self, ctx: Context, key: str, fingerprint: str) -> Begun | Done:
        """Begin a request, or return how it was answered before.

        Raises:
            FhirError: 422, the key was used for another request; 409, the request is under way.
        """
        id_ = _hash(ctx.tenant, ctx.principal.issuer, ctx.principal.id, ctx.principal.client, key)
        await self._prepare()
        now, begun = utc_now(), Begun(id_, new_id())
        new: Document = {"_id": id_, "t": ctx.tenant, "print": fingerprint, "nonce": begun.nonce, "state": "open"}
        new |= {"lease": now + LEASE, "created": now}
        if await self._database.insert(COLLECTION, [new]):
            return begun
        # It is there already, or nobody knows.
        try:
            await self._collection.insert_one(new)
        except DuplicateKeyError:
            return await self._again(begun, fingerprint)
        return begun

    async def _again(self, begun: Begun, fingerprint: str) -> Begun | Done:
        now, id_ = utc_now(), begun.id
        found = await self._collection.find_one({"_id": id_})
        if found is not None and found["nonce"] == begun.nonce:
            return begun  # By the shortest way, which had not told.
        if found is not None and found["created"] < now - KEPT:
            # MongoDB takes its time to remove what has expired.
            await self._collection.delete_one({"_id": id_, "nonce": found["nonce"]})
            found = None
        if found is None:
            raise _under_way()
        if found["print"] != fingerprint:
            text = f"The {HEADER} was used for another request in the last 24 hours; take a new one for a new request."
            raise unprocessable(text, HEADER, code="conflict")
        if found["state"] == "done":
            return Done(found["status"], found["headers"], bytes(found["body"]))
        free: Document = {"_id": id_, "state": "open", "nonce": found["nonce"], "lease": {"$lt": now}}
        taken = await self._collection.find_one_and_update(
            free, {"$set": {"lease": now + LEASE}}, return_document=ReturnDocument.AFTER
        )
        if taken is None:
            raise _under_way()
        return Begun(id_, found["nonce"], first=False)

    async def finish(self, begun: Begun, answer: Done) -> None:
        """Keep the answer."""
        change = {"state": "done", "status": answer.status, "headers": answer.headers, "body": Binary(answer.body)}
        update: Document = {"q": {"_id": begun.id, "nonce": begun.nonce}, "u": {"$set": change}}
        if not await self._database.update(COLLECTION, [update]):
            await self._collection.update_one(update["q"], update["u"])

    async def give_up(self, begun: Begun, *, refused: bool) -> None:
        """Let the request be begun again at once; where it was `refused`, nothing of it is left, and the key is free."""
        mine = {"_id": begun.id, "nonce": begun.nonce}
        # Of an earlier attempt something may be left all the same.
        if refused and begun.first:
            await self._collection.delete_one(mine)
        else:
            await self._collection.update_one(mine, {"$set": {"lease": utc_now()}})

    async def _prepare(self) -> None:
        if self._database not in _PREPARED:
            await self._collection.create_index([("created", ASCENDING)], expireAfterSeconds=int(KEPT.total_seconds()))
            _PREPARED.add(self._database)


_PREPARED: Final[WeakSet[Database]] = WeakSet()
"""Those that have the index."""


class IdempotentRoute(ProblemRoute):
    """Answers errors as problem details, and a POST with a key once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        handle = super().get_route_handler()

        async def handle_once(request: Request) -> Response:
            key = request.headers.get(HEADER, "") if request.method == "POST" else ""
            if not key:
                return await handle(request)
            try:
                return await _once(request, key, handle)
            except FhirError as error:
                return problem_of(request, error, str)
            except PyMongoError as error:
                known = translated(error)
                if not isinstance(known, FhirError):
                    raise
                return problem_of(request, known)

        return handle_once


async def _once(request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    if len(key) > LONGEST or not key.isprintable():
        raise bad_request(f"{HEADER} has 1 to {LONGEST} printable characters.", HEADER, code="value")
    ctx = await context_of(request)
    keys = Keys(ctx.repo.database)
    begun = await keys.begin(ctx, key, fingerprint_of(request.url.path, request.url.query, await request.body()))
    if isinstance(begun, Done):
        return Response(begun.body, begun.status, {**begun.headers, REPLAYED: "true"})
    request.state.nonce = begun.nonce
    status = _SERVER_ERROR
    try:
        response = await handle(request)
        status = response.status_code
    finally:
        if status >= _REFUSED:
            await keys.give_up(begun, refused=status < _SERVER_ERROR)
    if status < _REFUSED:
        kept = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        with contextlib.suppress(PyMongoError):  # It is done; who asks again finds it by the nonce.
            await keys.finish(begun, Done(status, kept, bytes(response.body)))
    return response


def nonce_of(request: Request) -> str:
    """Return what all attempts at a request have in common; "" for a request without a key."""
    return str(getattr(request.state, "nonce", ""))


def fingerprint_of(path: str, query: str, body: bytes) -> str:
    """Return a hash of a request that is the same however its JSON is written."""
    try:
        text = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    except ValueError:
        text = body.hex()
    return _hash(path.rstrip("/"), query, text)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _under_way() -> FhirError:
    text = f"A request with this {HEADER} is under way; send it again to learn what came of it."
    return FhirError(409, (Issue("conflict", text, (HEADER,)),), {"Retry-After": "1"})
