"""The floor of what a read can cost here: a bare ASGI route that does the same `find_one` and sends the bytes.

Run by uvicorn with uvloop and httptools, as the server is. It has no routing, no headers to understand, no errors to
tell apart: what the server takes beyond it is the price of FHIR.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pymongo import AsyncMongoClient

from fhir_server.store.documents import CODEC_OPTIONS

_PREFIX = "/fhir/Patient/"
_encode = msgspec.json.Encoder(decimal_format="number").encode
_collections: list[Any] = []

Send = Callable[[dict[str, Any]], Awaitable[None]]


def _patients() -> Any:
    if not _collections:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["BENCH_MONGODB_URI"])
        database = client.get_database(os.environ["BENCH_MONGODB_DATABASE"], codec_options=CODEC_OPTIONS)
        _collections.append(database["Patient"])
    return _collections[0]


async def app(scope: dict[str, Any], _receive: object, send: Send) -> None:
    """Answer every request as a read of a Patient."""
    if scope["type"] != "http":
        return
    tenant = "default"
    document = await _patients().find_one({"_id": f"{tenant}/{scope['path'][len(_PREFIX) :]}"}, {"s": 0})
    body = _encode(document["r"]) if document else b"{}"
    headers = [(b"content-type", b"application/fhir+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if document else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})
