"""Sending bytes as they are: ranges, conditions, and headers by which nothing of it runs in a browser.

https://www.rfc-editor.org/rfc/rfc9110#range.requests and #conditional.requests
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from starlette.types import Send

from fhir_server.blobs import DamagedError
from fhir_server.blobs.service import disposition
from fhir_server.exchange import Body
from fhir_server.fhir.outcome import FhirError, Issue
from fhir_server.interactions.given_back import damaged
from fhir_server.web.receive import Headers

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;\s*[\w-]+=[\w.+\"-]+)*", re.ASCII)
_QUOTED: Final = re.compile(r'(?:W/)?"([^"]*)"')
SAFE: Final[Mapping[str, str]] = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-site",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-cache",
    "vary": "Accept, Origin",
    "accept-ranges": "bytes",
}
"""An upload can not run as a script in our origin, whatever a browser takes it for."""


async def send_body(
    send: Send, body: Body, headers: Headers, *, head: bool, status: int = 200, extra: Mapping[str, str] | None = None
) -> int:
    """Send a body, or the part of it that was asked for, and return the status.

    Raises:
        FhirError: 416 for a range beyond its end; what the store refuses before anything has been sent.
    """
    found = {**SAFE, "etag": f'"{body.tag}"', "content-type": _content_type(body), "content-disposition": disposition(body.name)}
    found.update(extra or {})
    if is_known(headers.get(b"if-none-match"), body.tag):
        await _start(send, HTTPStatus.NOT_MODIFIED, {name: found[name] for name in ("etag", "cache-control", "vary")})
        await send({"type": "http.response.body"})
        return HTTPStatus.NOT_MODIFIED
    start, stop = 0, body.size
    asked = _range(headers, body)
    if asked is not None:
        start, stop = asked
        status = HTTPStatus.PARTIAL_CONTENT
        found["content-range"] = f"bytes {start}-{stop - 1}/{body.size}"
    found["content-length"] = str(stop - start)
    if head:
        await _start(send, status, found)
        await send({"type": "http.response.body"})
        return status
    async with aclosing(_begun(body, start, stop)) as pieces:
        # The store is asked before the status is sent: that it is away can still be said.
        first = await anext(pieces, b"")
        await _start(send, status, found)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
    return status


async def _begun(body: Body, start: int, stop: int) -> AsyncGenerator[bytes]:
    try:
        async for piece in body.read(start, stop):
            yield piece
    except DamagedError:
        raise damaged() from None


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": raw})


def is_known(header: str, tag: str) -> bool:
    """Tell whether an `If-None-Match` names a tag, or anything."""
    return header.strip() == "*" or tag in _QUOTED.findall(header)


def _range(headers: Headers, body: Body) -> tuple[int, int] | None:
    """Return the range that was asked for; None: all. Several ranges at once are answered with all."""
    found = _RANGE.fullmatch(headers.get(b"range").replace(" ", ""))
    condition = headers.get(b"if-range")
    if found is None or not (found[1] or found[2]) or (condition and not is_known(condition, body.tag)):
        return None
    if found[1]:
        start, stop = int(found[1]), min(int(found[2]) + 1 if found[2] else body.size, body.size)
    else:
        start, stop = max(0, body.size - int(found[2])), body.size
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return None
    if start >= stop:
        text = f"The range {headers.get(b'range')!r} begins beyond the end: there are {body.size} bytes."
        raise FhirError(416, (Issue("value", text),), {"Content-Range": f"bytes */{body.size}"})
    return start, stop


def _content_type(body: Body) -> str:
    return body.content_type if _TYPE.fullmatch(body.content_type) else "application/octet-stream"
