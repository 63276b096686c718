"""Requests as bytes: what no HTTP client would let through still reaches the application."""

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from fhir_server.fhir.codec import decode

RawHeaders = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Request:
    """A request; `target` is relative to the server, with its query."""

    method: str
    target: bytes
    headers: RawHeaders = ()
    body: bytes = b""
    chunks: int = 1


@dataclass
class Answer:
    """A response, with the request for those who report on it."""

    request: Request
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def content(self) -> bytes:
        """The body, unpacked."""
        packed = self.headers.get(b"content-encoding") == b"gzip"
        return zlib.decompress(self.body, wbits=31) if packed else self.body

    @cached_property
    def json(self) -> Any:
        """The body, decoded."""
        return decode(self.content, max_depth=1000)

    def __str__(self) -> str:
        return f"{self.request}\n{self.status} {self.headers}\n{self.body[:3000]!r}"


async def ask(app: ASGIApp, request: Request) -> Answer:
    """Send a request to an application and return its answer."""
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"test"), *request.headers],
        "client": ("127.0.0.1", 50000),
        "server": ("test", 80),
    }
    size = -(-len(request.body) // request.chunks) or 1
    parts = [request.body[at : at + size] for at in range(0, len(request.body), size)] or [b""]
    answer = Answer(request)

    async def receive() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = dict(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
