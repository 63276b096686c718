"""From an ASGI request to a Call: https://hl7.org/fhir/R4/http.html."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from fhir_server.config import Settings
from fhir_server.exchange import Call, Params, Prefer, Return
from fhir_server.fhir.codec import decode
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, too_large, unsupported_media_type
from fhir_server.fhir.xml import from_xml
from fhir_server.interactions.request import call_for
from fhir_server.web.negotiate import Body, Format, answer_format, body_format

MOST_FIELDS: Final = 10_000
WITH_BODY = {"POST", "PUT", "PATCH"}
_RETURNS: dict[str, Return] = {
    "minimal": "minimal",
    "representation": "representation",
    "OperationOutcome": "OperationOutcome",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the client wants the answer."""

    format: Format = "json"
    pretty: bool = False
    return_: Return = ""

    @property
    def plain(self) -> bool:
        """Whether JSON may be sent as it was stored."""
        return self.format == "json" and not self.pretty


class Headers:
    """The headers of a request that matter here, by lower-case name."""

    __slots__ = ("_found",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._found: dict[bytes, bytes] = {}
        for name, value in raw:
            self._found[name] = self._found[name] + b"," + value if name in self._found else value

    def find(self, name: bytes) -> str | None:
        """Return a header's value, None where it is missing.

        Clients put names such as Núñez into `If-None-Exist` as they are: what is UTF-8 is read so.
        """
        value = self._found.get(name)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")

    def get(self, name: bytes) -> str:
        """Return a header's value, "" where it is missing."""
        return self.find(name) or ""


def query_params(scope: Scope, settings: Settings) -> Params:
    """Return the query parameters, decoded.

    Raises:
        FhirError: 414 when the request target is too long, 400 when it is not UTF-8.
    """
    query: bytes = scope["query_string"]
    if len(query) + len(scope["raw_path"] or b"") > settings.max_url_bytes:
        text = f"The URL is longer than {settings.max_url_bytes} bytes; send the search by POST to _search."
        raise FhirError(414, (Issue("too-long", text),))
    return _parsed(query) if query else ()


@lru_cache(maxsize=512)
def _parsed(query: bytes) -> Params:
    return parsed_form(query)


def parsed_form(data: bytes) -> Params:
    """Return the parameters of a query or of a form body."""
    if data.count(b"&") >= MOST_FIELDS:
        raise bad_request(f"There are more than {MOST_FIELDS} parameters.", code="too-costly")
    try:
        params = tuple([_field(field) for field in data.decode("ascii").split("&") if field])
    except UnicodeDecodeError:
        raise bad_request("The parameters are not percent-encoded UTF-8.", code="structure") from None
    if any("\x00" in name or "\x00" in value for name, value in params):
        raise bad_request("A parameter holds the character NUL.", code="structure")
    return params


def _field(field: str) -> tuple[str, str]:
    name, _, value = field.replace("+", " ").partition("=")
    return (_decoded(name), _decoded(value)) if "%" in field else (name, value)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode()


def wanted(headers: Headers, params: Params) -> Wanted:
    """Return how the client wants the answer; `_format` and `_pretty` win over the headers.

    Raises:
        FhirError: 406.
    """
    format_, pretty = "", False
    for name, value in params:
        if name == "_format":
            format_ = value
        elif name == "_pretty":
            pretty = value == "true"
    return Wanted(answer_format(format_, headers.get(b"accept")), pretty, prefer(headers.get(b"prefer")).return_)


@lru_cache(maxsize=256)
def prefer(header: str) -> Prefer:
    """Return what a `Prefer` header asks for; unknown preferences are ignored, as RFC 7240 says."""
    found = Prefer()
    for part in header.replace(";", ",").split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        value = value.strip('"')
        if name == "return" and value in _RETURNS:
            found = replace(found, return_=_RETURNS[value])
        elif name == "handling":
            found = replace(found, strict=value == "strict")
        elif name == "respond-async":
            found = replace(found, respond_async=True)
    return found


async def call_of(
    scope: Scope, receive: Receive, path: str, headers: Headers, params: Params, settings: Settings, *, encoded: bool = False
) -> Call:
    """Return the Call that a request asks for.

    Raises:
        FhirError: 400, 404, 405, 413 or 415.
    """
    method = scope["method"]
    asked = tuple(item for item in params if item[0] not in ("_format", "_pretty")) if params else ()
    call = call_for(
        method,
        path,
        asked,
        if_match=headers.get(b"if-match"),
        if_none_match=headers.get(b"if-none-match"),
        if_none_exist=headers.find(b"if-none-exist"),
        if_modified_since=headers.get(b"if-modified-since"),
        prefer=prefer(headers.get(b"prefer")),
        encoded=encoded,
    )
    if method in WITH_BODY:
        body = await read_body(receive, headers, settings)
        if body and not body.isspace():
            resource, form = decoded(body, _kind(call, headers), settings)
            call = replace(call, params=(*asked, *form)) if form else replace(call, resource=resource)
    return call


def _kind(call: Call, headers: Headers) -> Body:
    kind = body_format(headers.get(b"content-type"))
    if kind == "json-patch" and call.interaction != "patch":
        raise unsupported_media_type("application/json-patch+json is for PATCH; send application/fhir+json.")
    if kind == "form" and not (call.interaction.startswith("search") or call.interaction == "operation"):
        raise unsupported_media_type("A form is for POST _search; send application/fhir+json or application/fhir+xml.")
    return kind


def decoded(body: bytes, kind: Body, settings: Settings) -> tuple[Any, Params]:
    """Return the resource or patch that a body holds, or the parameters of a form."""
    if kind == "form":
        return None, parsed_form(body.strip())
    if kind == "xml":
        return from_xml(body, max_depth=settings.max_depth), ()
    value = decode(body, max_depth=settings.max_depth)
    if kind == "json-patch" and not isinstance(value, list):
        raise bad_request("A JSON Patch is an array of operations.", code="structure")
    if kind == "json" and not isinstance(value, dict | list):
        raise bad_request("The body has to be a JSON object.", code="structure")
    return value, ()


async def read_body(receive: Receive, headers: Headers, settings: Settings) -> bytes:
    """Return the body, unpacked where it is gzip.

    Raises:
        FhirError: 413 as soon as it is over the limit, 415 for another encoding.
    """
    limit = settings.max_body_bytes
    stated = headers.get(b"content-length")
    if stated.isdecimal() and int(stated[:20]) > limit:
        raise _over(limit)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _over(limit)
        parts.append(part)
        if not message.get("more_body", False):
            break
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = headers.get(b"content-encoding").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise unsupported_media_type(f"Content-Encoding: {encoding!r} can not be read; send gzip or no encoding.")
    return _unpacked(body, limit)


def _unpacked(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise bad_request("The body is not what Content-Encoding says.", code="structure") from None
    if len(found) > limit:
        raise _over(limit)
    if not unpacker.eof:
        raise bad_request("The compressed body ends too early.", code="structure")
    if unpacker.unused_data:
        raise bad_request("Something follows the end of the compressed body.", code="structure")
    return found


def _over(limit: int) -> FhirError:
    return too_large(f"The body is larger than {limit} bytes, the largest that this server takes.")
