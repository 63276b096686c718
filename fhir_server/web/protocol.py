"""uvicorn's HTTP protocol, with bounds on the head of a request, which the application sees only when it is complete."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fhir_server.fhir.codec import encode
from fhir_server.fhir.outcome import Issue, operation_outcome

HEAD_BYTES: Final = 512 * 1024
"""Far above the longest URL that the settings allow, so that those are answered by the application."""
HEAD_SECONDS: Final = 30.0


class _Together:
    """The transport of one response: its head goes with the first of its body, by one system call instead of two."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write what was held, and this, unless it is a head."""
        if data.startswith(b"HTTP/") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        else:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""

    def flush(self) -> None:
        """Write what is held: no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close it when all is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        return self._transport.is_closing()


class Protocol(HttpToolsProtocol):
    """A connection: a head that is too large or comes too slowly ends it; what is no HTTP is told by an OperationOutcome."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse it when it is part of a head without end."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too-long", "The head of the request is too large.")
            elif self._timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop counting; the application bounds the body."""
        self._forget_head()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            together = _Together(self.transport)
            self.cycle.transport = together  # type: ignore[assignment]  # it has all of a transport that a cycle uses
            self.cycle.on_response = partial(self._on_response, together)

    def _on_response(self, together: _Together) -> None:
        together.flush()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "structure", msg)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _forget_head(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "timeout", f"The head of the request did not come within {HEAD_SECONDS:g} s.")

    def _refuse(self, status: HTTPStatus, code: str, text: str) -> None:
        self._forget_head()
        if self.transport.is_closing():
            return
        body = encode(operation_outcome([Issue(code, text)]))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/fhir+json\r\ncontent-length: {len(body)}\r\n"
        )
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()
