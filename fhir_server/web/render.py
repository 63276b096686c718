"""From a Reply to the bytes and headers of an HTTP response: https://hl7.org/fhir/R4/http.html#ops."""

import asyncio
import zlib
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

from starlette.types import Send

from fhir_server.exchange import Call, Reply, Resource
from fhir_server.fhir.codec import encode
from fhir_server.fhir.outcome import FhirError, operation_outcome
from fhir_server.fhir.xml import to_xml
from fhir_server.web.bytes import send_body
from fhir_server.web.negotiate import MEDIA_TYPES
from fhir_server.web.receive import Headers, Wanted

WRITES = {"create", "update", "patch"}
GZIP_BYTES = 1400
"""Smaller bodies fit into one packet as they are."""
THREAD_BYTES = 262_144
"""Larger bodies are packed in a thread, so that other requests do not wait."""
_CONTENT_TYPES = {kind: f"{media}; charset=utf-8".encode() for kind, media in MEDIA_TYPES.items()}
_COMMON = [
    (b"cache-control", b"private, no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Accept, Accept-Encoding, Origin"),
]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

RawHeaders = list[tuple[bytes, bytes]]


def body_of(call: Call, reply: Reply, wanted: Wanted) -> tuple[int, Resource | None]:
    """Return the status and the resource to send, by what `Prefer: return` asks of a write."""
    if call.interaction in WRITES and reply.status < HTTPStatus.MULTIPLE_CHOICES:
        if wanted.return_ == "minimal":
            return reply.status, None
        if wanted.return_ == "OperationOutcome":
            return reply.status, operation_outcome(reply.issues)
    if call.interaction == "delete" and wanted.return_ == "OperationOutcome":
        return HTTPStatus.OK, operation_outcome(reply.issues)
    return reply.status, reply.resource


def headers_of(reply: Reply, base_url: str) -> RawHeaders:
    """Return the headers that say what the reply is about."""
    found: RawHeaders = []
    if reply.version:
        found.append((b"etag", f'W/"{reply.version}"'.encode()))
    if reply.last_modified is not None:
        found.append((b"last-modified", http_date(reply.last_modified)))
    if reply.location:
        found.append((b"location", f"{base_url}/{reply.location}".encode("utf-8", "replace")))
    found += [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    return found


def http_date(moment: datetime) -> bytes:
    """Return a time in UTC as headers have it: https://www.rfc-editor.org/rfc/rfc9110#http.date."""
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year:04} {moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT".encode()


async def send_reply(send: Send, call: Call, reply: Reply, wanted: Wanted, headers: Headers, *, base_url: str, head: bool) -> int:
    """Send a reply and return its status."""
    if call.headers:
        reply = replace(reply, headers={**call.headers, **reply.headers})
    if reply.body is not None:
        extra = {"last-modified": http_date(reply.last_modified).decode()} if reply.last_modified else {}
        return await send_body(send, reply.body, headers, head=head, status=reply.status, extra=extra)
    status, resource = body_of(call, reply, wanted)
    await _send(send, status, resource, headers_of(reply, base_url), wanted, headers, head=head, encoded=reply.encoded)
    return status


async def send_error(send: Send, error: FhirError, wanted: Wanted, headers: Headers, *, head: bool) -> None:
    """Send a refusal with its OperationOutcome."""
    extra = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    await _send(send, error.status, error.to_fhir(), extra, wanted, headers, head=head)


async def _send(
    send: Send,
    status: int,
    resource: Resource | None,
    extra: RawHeaders,
    wanted: Wanted,
    headers: Headers,
    *,
    head: bool,
    encoded: bytes | None = None,
) -> None:
    raw = [*_COMMON, *extra]
    body = encoded or b""
    if resource is not None:
        body = to_xml(resource, pretty=wanted.pretty) if wanted.format == "xml" else encode(resource, pretty=wanted.pretty)
    if body:
        raw.append((b"content-type", _CONTENT_TYPES[wanted.format]))
        if len(body) > GZIP_BYTES and "gzip" in headers.get(b"accept-encoding"):
            body = await asyncio.to_thread(_packed, body) if len(body) > THREAD_BYTES else _packed(body)
            raw.append((b"content-encoding", b"gzip"))
    if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": int(status), "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head else body})


def _packed(body: bytes) -> bytes:
    return zlib.compress(body, level=2, wbits=zlib.MAX_WBITS | 16)
