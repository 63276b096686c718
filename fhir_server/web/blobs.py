"""This server's own signed URLs: they give content, or take parts of uploads, without a token.

docs/media.md. Resuming an upload follows https://tus.io/protocols/resumable-upload (core protocol), from the URL on that
`$initiate-upload` gives.
"""

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from fhir_server.blobs import Blobs
from fhir_server.blobs.service import PREFIX
from fhir_server.blobs.uploads import Upload
from fhir_server.contexts import Contexts
from fhir_server.engine import translated
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, method_not_allowed, unsupported_media_type
from fhir_server.interactions.given_back import body_of
from fhir_server.web.addresses import Addresses
from fhir_server.web.binary import body_chunks
from fhir_server.web.bytes import SAFE, send_body
from fhir_server.web.observe import observation
from fhir_server.web.receive import Headers, Wanted
from fhir_server.web.render import send_error

TUS = {"tus-resumable": "1.0.0", "cache-control": "no-store"}
_CHUNK_TYPE = "application/offset+octet-stream"


class BlobApp:
    """Answers everything below `/blobs`."""

    def __init__(self, contexts: Contexts) -> None:
        self._blobs: Blobs = contexts.blobs
        self._recorder = contexts.recorder
        self._addresses = Addresses(contexts.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope["headers"])
        head = scope["method"] == "HEAD"
        observation(scope).interaction = "blob"
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            path = scope["path"].removeprefix(scope.get("root_path", "").removesuffix(PREFIX))
            await self._blobs.check_url(path, query)
            await self._answer(path.removeprefix(PREFIX + "/").split("/"), query, scope, receive, send)
        except FhirError as error:
            await send_error(send, error, Wanted(), headers, head=head)
        except PyMongoError as error:
            known = translated(error)
            if not isinstance(known, FhirError):
                raise
            await send_error(send, known, Wanted(), headers, head=head)
        except ClientDisconnect:
            gone = bad_request("The connection was closed before the whole body had arrived.", code="incomplete")
            await send_error(send, gone, Wanted(), headers, head=head)

    async def _answer(self, parts: list[str], query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        method, headers = scope["method"], Headers(scope["headers"])
        match parts:
            case [tenant, "uploads", id_, "parts", number]:
                _check_method(method, ("PUT",), scope["path"])
                upload = await self._blobs.uploads.find(tenant, id_)
                await self._blobs.uploads.put_part(upload, int(number), body_chunks(receive))
                await _send(send, 200, {"etag": f'"{number}"', "content-length": "0"})
            case [tenant, "uploads", id_]:
                _check_method(method, ("HEAD", "PATCH"), scope["path"])
                upload = await self._blobs.uploads.find(tenant, id_)
                await (self._offset if method == "HEAD" else self._append)(upload, headers, receive, send)
            case [tenant, sha256]:
                _check_method(method, ("GET", "HEAD"), scope["path"])
                blob = await self._blobs.served(tenant, sha256)
                await self._record(tenant, sha256, scope, headers)
                body = body_of(self._blobs, blob, query.get("type", ""), query.get("name", ""))
                await send_body(send, body, headers, head=method == "HEAD", extra={"cache-control": "private, no-store"})
            case _:
                raise FhirError(404, (Issue("not-found", f"There is nothing at {scope['path']!r}."),))

    async def _record(self, tenant: str, sha256: str, scope: Scope, headers: Headers) -> None:
        """Record a download by who has the URL; who was given it is recorded with `$presign`."""
        if self._recorder is not None and self._recorder.trail.everything:
            seen, address = observation(scope).request_id, self._addresses.of(scope, headers)
            await self._recorder.event(tenant, "download", "read", address=address, request_id=seen, detail=sha256)

    async def _offset(self, upload: Upload, headers: Headers, receive: Receive, send: Send) -> None:
        del headers, receive
        offset = await self._blobs.uploads.offset(upload)
        await _send(send, 200, TUS | {"upload-offset": str(offset), "upload-length": str(upload.size)})

    async def _append(self, upload: Upload, headers: Headers, receive: Receive, send: Send) -> None:
        if headers.get(b"content-type").strip() != _CHUNK_TYPE:
            raise unsupported_media_type(f"A PATCH of an upload has the Content-Type {_CHUNK_TYPE}.")
        stated = headers.get(b"upload-offset").strip()
        if not stated.isdecimal():
            raise bad_request(f"Upload-Offset: {stated!r} is not a number of bytes.", code="value")
        offset = await self._blobs.uploads.append(upload, int(stated[:20]), _until_cut(receive))
        await _send(send, 204, TUS | {"upload-offset": str(offset)})


async def _until_cut(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body as far as it comes: what has arrived before the connection was cut counts."""
    more = True
    while more:
        message: Message = await receive()
        more = message["type"] != "http.disconnect" and message.get("more_body", False)
        if body := message.get("body", b""):
            yield body


def _check_method(method: str, allowed: tuple[str, ...], path: str) -> None:
    if method not in allowed:
        raise method_not_allowed(method, path, ", ".join(allowed))


async def _send(send: Send, status: int, headers: dict[str, str]) -> None:
    found = {name: SAFE[name] for name in ("x-content-type-options", "referrer-policy")} | headers
    raw = [(name.encode(), value.encode()) for name, value in found.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body"})
