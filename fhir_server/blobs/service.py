"""Everything that the server does with binary data, in one place.

docs/media.md
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.blobs import signing
from fhir_server.blobs.blob import Blob, DamagedError, Received
from fhir_server.blobs.clamd import Session
from fhir_server.blobs.gridfs import Ciphers, GridFS
from fhir_server.blobs.passing import pieces
from fhir_server.blobs.protocol import BlobStore
from fhir_server.blobs.receiving import Claim, Receiver
from fhir_server.blobs.records import PLAIN, Records
from fhir_server.blobs.s3 import S3
from fhir_server.blobs.uploads import Uploads
from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, unavailable

PREFIX: Final = "/blobs"
"""Where this server's own signed URLs lead."""
SecretOf = Callable[[str], Awaitable[bytes]]


class Blobs:
    """Receives, keeps, serves and signs binary data of all tenants."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], settings: Settings, secret: SecretOf, ciphers: Ciphers) -> None:
        self.settings = settings
        self.records = Records(database)
        self.store: BlobStore = S3(settings) if settings.blob_store == "s3" else GridFS(database, ciphers)
        self.receiver = Receiver(self.store, self.records, settings)
        self.uploads = Uploads(database.with_options(codec_options=PLAIN), self.store, self.receiver, settings)
        self._secret = secret

    async def receive(self, tenant: str, chunks: AsyncIterator[bytes], claim: Claim) -> Received:
        """Keep what a stream yields; see `Receiver.receive`."""
        return await self.receiver.receive(tenant, chunks, claim, self.settings.upload_max_bytes)

    async def receive_bytes(self, tenant: str, data: bytes, mime: str) -> Received:
        """Keep bytes that are in memory."""
        return await self.receive(tenant, pieces(data), Claim(mime))

    async def served(self, tenant: str, sha256: str) -> Blob:
        """Return bytes that may be given out.

        Raises:
            FhirError: 410 where they have gone, 503 where they have not been scanned yet.
        """
        found = await self.records.find(tenant, sha256)
        if found is None or found.state in ("quarantined", "deleting"):
            raise FhirError(410, (Issue("not-found", "The content is not kept any more."),))
        if found.state != "ready":
            raise unavailable("The content is being stored. Ask again.", retry_after=1)
        if found.scan == "unscanned":
            raise unavailable("The content has not been scanned for viruses yet. Ask again later.", retry_after=30)
        return found

    def read(self, blob: Blob, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop`."""
        return self.store.read(blob.tenant, blob.place, start, blob.size if stop is None else stop)

    async def whole(self, blob: Blob) -> bytes:
        """Return all bytes of a blob that is small enough for memory.

        Raises:
            FhirError: 413, it is not.
        """
        if blob.size > self.settings.inline_max_bytes:
            text = f"{blob.size} bytes are too many to be put into a resource; ask for them by a type other than FHIR's."
            raise FhirError(413, (Issue("too-costly", text),))
        return b"".join([piece async for piece in self.read(blob)])

    async def grant(self, tenant: str, sha256: str) -> str:
        """Return what lets its owner refer to bytes."""
        return signing.grant(await self._secret("blob-grants"), tenant, sha256, time.time())

    async def is_granted(self, given: str, tenant: str, sha256: str) -> bool:
        """Tell whether that is such a grant, and still good."""
        return signing.is_granted(await self._secret("blob-grants"), given, tenant, sha256, time.time())

    async def url(
        self, blob: Blob, origin: str, *, seconds: int | None = None, name: str = "", mime: str = ""
    ) -> tuple[str, datetime]:
        """Return a URL that gives the bytes to whoever has it, and when it ends to do so; `origin` is this server's own.

        Raises:
            FhirError: 400, so long a time is not possible.
        """
        settings = self.settings
        asked = settings.blob_url_seconds if seconds is None else seconds
        if not 1 <= asked <= settings.blob_url_max_seconds:
            raise bad_request(
                f"A URL can be good for 1 to {settings.blob_url_max_seconds} seconds, not for {asked}.", code="value"
            )
        expires = int(time.time()) + asked
        served_as = mime or blob.mime
        found = await self.store.url(blob.place, seconds=asked, mime=served_as, disposition=disposition(name))
        if found is None:
            path = f"{PREFIX}/{blob.tenant}/{blob.sha256}"
            values = {"type": served_as, "name": name}
            found = f"{origin}{path}?{urlencode(await self._signed(path, values, expires))}"
        return found, datetime.fromtimestamp(expires, UTC)

    async def upload_url(self, tenant: str, upload: str, origin: str, expires: datetime, number: int | None = None) -> str:
        """Return a URL of this server that takes an upload, or one part of it."""
        path = f"{PREFIX}/{tenant}/uploads/{upload}" + (f"/parts/{number}" if number is not None else "")
        return f"{origin}{path}?{urlencode(await self._signed(path, {}, int(expires.timestamp())))}"

    async def _signed(self, path: str, values: dict[str, str], expires: int) -> dict[str, str]:
        return signing.signed(await self._secret("blob-urls"), path, values, expires)

    async def check_url(self, path: str, query: dict[str, str]) -> None:
        """Refuse (403) a URL that is not one of ours, or has expired."""
        signing.check_signed(await self._secret("blob-urls"), path, query, time.time())

    async def link(self, tenant: str, digests: Iterable[str], type_: str, id_: str) -> None:
        """Note that a resource is about to refer to bytes.

        Raises:
            FhirError: 409, some of them are not there any more.
        """
        missing = await self.records.link(tenant, digests, type_, id_)
        if missing:
            text = f"The content {missing[0]} is not kept any more; send it again."
            raise FhirError(409, (Issue("not-found", text),))

    async def scan_pending(self) -> tuple[int, int]:
        """Scan what was kept while the scanner was away; return how much was looked at, and how much of it is infected."""
        scanned = infected = 0
        async for document in self.records.pending():
            outcome = await self.scan_late(document["t"], document["h"])
            if outcome == "away":
                break
            scanned += outcome != ""
            infected += outcome not in ("", "clean")
        return scanned, infected

    async def scan_late(self, tenant: str, sha256: str) -> str:
        """Scan one content that was kept without; return what was found, `away` without a scanner, "" where it is gone."""
        blob = await self.records.find(tenant, sha256)
        if blob is None or blob.state != "ready" or blob.scan != "unscanned":
            return ""
        session = await Session(self.settings.clamd, self.settings.clamd_seconds).open()
        try:
            with suppress(DamagedError):
                async for piece in self.read(blob):
                    await session.feed(piece)
            verdict = await session.verdict()
        finally:
            session.close()
        if verdict.outcome == "clean":
            await self.records.scanned(blob.tenant, blob.sha256, "clean")
        elif verdict.outcome != "away":
            await self.records.quarantine(blob.tenant, blob.sha256, verdict.detail)
        return verdict.outcome

    async def close(self) -> None:
        """Give free what is held."""
        await self.store.close()


def disposition(name: str) -> str:
    """Return the `Content-Disposition` by which no browser shows content: https://www.rfc-editor.org/rfc/rfc6266."""
    if not name:
        return "attachment"
    plain = "".join(letter if letter.isascii() and letter.isprintable() and letter not in '"\\;%' else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
