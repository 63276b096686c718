"""Binary as bytes: https://hl7.org/fhir/R4/binary.html#rest.

A client that does not ask for FHIR gets the bytes of a Binary, and what is sent as no FHIR format becomes one. Neither passes
through memory as a whole.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from fhir_server.blobs import Claim, RejectedError
from fhir_server.blobs.elements import reference
from fhir_server.exchange import Call, Context, Params
from fhir_server.fhir.outcome import bad_request, unsupported_media_type
from fhir_server.interactions.request import call_for
from fhir_server.resources.rejections import record_rejection
from fhir_server.security.enforce import check
from fhir_server.web.negotiate import answer_format, is_fhir_body, prefers_fhir
from fhir_server.web.observe import observation
from fhir_server.web.receive import Headers, Wanted, call_of, prefer, wanted

PATH: Final = "/Binary"
_INSTANCE: Final = re.compile(r"/Binary/[^/$]+(/_history/[^/]+)?/?")
_COLLECTION: Final = re.compile(r"/Binary(/[^/$_][^/]*)?/?")
_BYTES: Final = ("/$attachment", "/$thumbnail")
_HEX: Final = re.compile("[0-9a-fA-F]{64}")


def wanted_bytes(method: str, path: str, headers: Headers, params: Params) -> bool:
    """Tell whether a read asks for the bytes of a Binary."""
    if method not in ("GET", "HEAD") or not _INSTANCE.fullmatch(path):
        return False
    return not any(name == "_format" for name, _ in params) and not prefers_fhir(headers.get(b"accept"))


def asked_of(path: str, headers: Headers, params: Params) -> Wanted:
    """Return how the client wants the answer; where that may be bytes, any `Accept` is right.

    Raises:
        FhirError: 406.
    """
    if (path.startswith(PATH) and _INSTANCE.fullmatch(path)) or path.endswith(_BYTES):
        return _plain_wanted(headers, params)
    return wanted(headers, params)


async def binary_call(
    scope: Scope, receive: Receive, path: str, headers: Headers, params: Params, ctx: Context, *, encoded: bool
) -> Call:
    """Return the Call that a request about Binaries asks for, after keeping the bytes that it sends.

    Raises:
        FhirError: as `receive.call_of`; 403, 413, 415, 422 or 503 for bytes, of which nothing is kept then.
    """
    method = scope["method"]
    if sent_bytes(method, path, headers):
        observation(scope).interaction = "create" if method == "POST" else "update"
        observation(scope).type = "Binary"
        return await _receive_binary(ctx, scope, receive, path, headers)
    call = await call_of(scope, receive, path, headers, params, ctx.settings, encoded=encoded)
    if wanted_bytes(method, path, headers, params):
        return replace(call, raw=True, if_none_match="", if_modified_since="")
    return call


def sent_bytes(method: str, path: str, headers: Headers) -> bool:
    """Tell whether a request sends the bytes of a Binary."""
    sends = (method == "POST" and path.rstrip("/") == PATH) or (method == "PUT" and _COLLECTION.fullmatch(path) is not None)
    return sends and not is_fhir_body(headers.get(b"content-type"))


def _plain_wanted(headers: Headers, params: Params) -> Wanted:
    """Return how to answer what may be bytes: errors and resources in JSON, unless a format is asked for."""
    format_ = next((value for name, value in params if name == "_format"), "")
    asked = headers.get(b"accept") if prefers_fhir(headers.get(b"accept")) else ""
    return Wanted(answer_format(format_, asked), return_=prefer(headers.get(b"prefer")).return_)


async def _receive_binary(ctx: Context, scope: Scope, receive: Receive, path: str, headers: Headers) -> Call:
    """Keep the body and return the Call that makes a Binary of it.

    Raises:
        FhirError: 403, 413, 415, 422 or 503; nothing is kept.
    """
    mime = headers.get(b"content-type").strip()
    call = call_for(
        scope["method"],
        path,
        (),
        if_match=headers.get(b"if-match"),
        if_none_match=headers.get(b"if-none-match"),
        if_none_exist=headers.find(b"if-none-exist"),
        prefer=prefer(headers.get(b"prefer")),
    )
    if headers.get(b"content-encoding").strip().lower() not in ("", "identity"):
        raise unsupported_media_type("Binary content is taken as it is, without a Content-Encoding.")
    if ctx.access is not None:
        check(ctx.access, call)
    if ctx.blobs is None:
        raise unsupported_media_type(f"Content-Type: {mime!r} can not be read; send a Binary in a format of FHIR.")
    claim = Claim(mime, _stated_size(headers), stated_digest(headers))
    try:
        found = await ctx.blobs.receive(ctx.tenant, body_chunks(receive), claim)
    except RejectedError as error:
        await record_rejection(ctx, error, mime)
        raise
    granted = await ctx.blobs.grant(ctx.tenant, found.blob.sha256)
    resource = _binary(call, mime, found.blob.mime, headers, reference(found.blob.sha256, granted))
    return replace(call, resource=resource, headers={"X-Deduplicated": "true" if found.deduplicated else "false"})


def _binary(call: Call, declared: str, found: str, headers: Headers, data: dict[str, Any]) -> dict[str, Any]:
    vague = declared.partition(";")[0].strip().lower() in ("", "application/octet-stream")
    resource: dict[str, Any] = {"resourceType": "Binary", "contentType": found if vague else declared}
    if call.id:
        resource["id"] = call.id
    context = headers.get(b"x-security-context").strip()
    if context:
        resource["securityContext"] = {"reference": context}
    return resource | {"_data": data}


async def body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body of a request as it comes.

    Raises:
        ClientDisconnect: the connection was closed before its end.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if body := message.get("body", b""):
            yield body


def _stated_size(headers: Headers) -> int | None:
    stated = headers.get(b"content-length")
    return int(stated[:20]) if stated.isdecimal() else None


def stated_digest(headers: Headers) -> str:
    """Return the SHA-256 that the client expects the content to have: `X-Content-SHA256`, hexadecimal.

    Raises:
        FhirError: 400, it is none.
    """
    given = headers.get(b"x-content-sha256").strip()
    if given and not _HEX.fullmatch(given):
        raise bad_request(f"X-Content-SHA256: {given!r} is not the hexadecimal SHA-256 of something.", code="value")
    return given.lower()
