"""From a stream of bytes to bytes that are kept: known by their hash, judged by their content, scanned, stored once.

Nothing is served before all of it is done. What is cut short leaves a staging that `fhir-server blobs gc` removes.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fhir_server.blobs.blob import Blob, Digests, Received, Scan, Staging, key_of
from fhir_server.blobs.clamd import Session, Verdict
from fhir_server.blobs.inspecting.inspector import KEPT_HEAD, Inspector, Sample
from fhir_server.blobs.kinds import extension_of, is_as_declared, judged, unwanted_kind
from fhir_server.blobs.passing import PIECE_BYTES, Passing, Sending, limited, merged, pieces, spooled_part
from fhir_server.blobs.protocol import PART_BYTES, BlobStore
from fhir_server.blobs.records import Records
from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, unavailable, unprocessable

PARTS: Final = 10
"""The same of all uploads of a process: with what is being filled, memory for uploads is bounded."""
WAIT_SECONDS: Final = 30.0
WAIT_STEP: Final = 0.05


class RejectedError(FhirError):
    """Content that is not taken: it is not what it claims to be, not allowed, or infected."""

    def __init__(self, error: FhirError, reason: str, digests: Digests, detail: str = "", *, kind: str = "") -> None:
        super().__init__(error.status, error.issues, error.headers)
        self.reason = reason
        """`type`, `size` or `virus`."""
        self.digests = digests
        self.detail = detail
        self.kind = kind
        """What kind of content it is, where its kind is all that is wrong."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What whoever sends bytes says of them; what is empty is not said."""

    mime: str = ""
    size: int | None = None
    sha256: str = ""


@dataclass(slots=True)
class _Content:
    """What has been received, and is not yet kept: in memory, in a file, or staged in the store."""

    digests: Digests
    data: bytes = b""
    staging: Staging | None = None
    spooled: Sample | None = None


class Receiver:
    """Receives bytes for all tenants."""

    def __init__(self, store: BlobStore, records: Records, settings: Settings) -> None:
        self._store = store
        self._records = records
        self._settings = settings
        self._inspector = Inspector(settings)
        self._room = asyncio.Semaphore(PARTS)
        self._spool = settings.upload_spool_mb * 2**20 if store.copies else 0

    async def receive(self, tenant: str, chunks: AsyncIterator[bytes], claim: Claim, limit: int) -> Received:
        """Keep what a stream yields.

        Raises:
            FhirError: 413 above the limit, 400 where it is not what was announced, 422 where it is not taken, 503 where the
                store, the scanner or the inspection does not answer.
        """
        await self._records.prepare()
        passing = await self._passing()
        content = None
        try:
            content = await self._collect(tenant, limited(chunks, limit), passing)
            _check(content.digests, claim)
            return await self._judge(tenant, content, passing, claim.mime)
        except BaseException:
            if content is not None and content.staging is not None:
                await _discard(self._store, content.staging)
            raise
        finally:
            await passing.close()

    async def receive_staged(self, staging: Staging, size: int, claim: Claim) -> Received:
        """Keep what has been staged and finished; it is read once, to be hashed, scanned and judged.

        Raises:
            FhirError: as `receive`; only what is refused for good is removed.
        """
        await self._records.prepare()
        passing = await self._passing()
        try:
            async for piece in merged(self._store.staged(staging, size), PIECE_BYTES):
                await passing.add(piece)
            digests = await passing.digests()
            _check(digests, claim)
            return await self._judge(staging.tenant, _Content(digests, staging=staging), passing, claim.mime)
        finally:
            await passing.close()

    async def _passing(self) -> Passing:
        session = Session(self._settings.clamd, self._settings.clamd_seconds) if self._settings.clamd else None
        return Passing(await session.open() if session else None, max(self._spool, KEPT_HEAD))

    async def _collect(self, tenant: str, chunks: AsyncIterator[bytes], passing: Passing) -> _Content:
        staging, number, sending = None, 0, Sending(self._room)
        held, size = b"", 0
        try:
            async for part in merged(_passed(chunks, passing), PART_BYTES):
                size += len(part)
                if staging is None and number and size > self._spool:
                    staging = await self._store.begin(tenant)
                    for earlier in range(1, number):
                        data = await passing.part(earlier)
                        await sending.add(partial(self._store.put_part, staging, earlier, data))
                if staging is not None:
                    await sending.add(partial(self._store.put_part, staging, number, held))
                number, held = number + 1, part
            digests = await passing.digests()
            if staging is None:
                return _Content(digests, data=held) if number == 1 else _Content(digests, spooled=passing.sample)
            await sending.add(partial(self._store.put_part, staging, number, held))
            await sending.end()
            await self._store.finish(staging)
        except BaseException:
            await sending.cancel()
            if staging is not None:
                await _discard(self._store, staging)
            raise
        return _Content(digests, staging=staging)

    async def _judge(self, tenant: str, content: _Content, passing: Passing, declared: str) -> Received:
        digests = content.digests
        verdict = await passing.verdict()
        await self._refuse_infected(tenant, content, verdict)
        known = await self._records.find(tenant, digests.sha256)
        scan = self._scan(verdict, known, digests)
        if known is not None and known.state == "ready" and is_as_declared(known.mime, declared, self._settings.media_kinds):
            return await self._keep(replace(known, scan=scan), content, b"")
        findings = await self._inspector.look(passing.sample, strip=self._settings.media_strip_location)
        settings = self._settings
        try:
            mime = judged(
                findings.seen,
                declared,
                kinds=settings.media_kinds,
                limits=settings.media_limits,
                size=digests.size,
                active=settings.media_active,
            )
        except FhirError as error:
            kind = unwanted_kind(findings.seen, declared, settings.media_kinds)
            raise RejectedError(error, "size" if error.status == 413 else "type", digests, kind=kind) from None  # noqa: PLR2004
        if findings.made is not None:
            return await self._receive_instead(tenant, content, findings.made, mime)
        key = key_of(tenant, digests.sha256, extension_of(mime))
        now = datetime.now(UTC)
        blob = Blob(tenant, digests.sha256, digests.sha1, digests.size, mime, key, "", now, "storing", scan, findings.facts)
        return await self._keep(blob, content, findings.thumbnail)

    async def _receive_instead(self, tenant: str, content: _Content, data: bytes, mime: str) -> Received:
        """Keep what was made of the content instead of it."""
        found = await self.receive(tenant, pieces(data), Claim(mime), self._settings.upload_max_bytes)
        if content.staging is not None:
            await _discard(self._store, content.staging)
        return found

    def _scan(self, verdict: Verdict | None, known: Blob | None, digests: Digests) -> Scan:
        if verdict is None:
            return "off"
        if verdict.outcome == "clean":
            return "clean"
        if verdict.outcome == "unscannable":
            error = unprocessable(f"The content can not be scanned for viruses: {verdict.detail}.", code="security")
            raise RejectedError(error, "virus", digests, verdict.detail)
        if known is not None and known.state == "ready" and known.scan == "clean":
            return "clean"
        if self._settings.clamd_absent == "later":
            return "unscanned"
        raise unavailable("Uploads can not be scanned for viruses now, so none is taken. Send it again later.", retry_after=30)

    async def _refuse_infected(self, tenant: str, content: _Content, verdict: Verdict | None) -> None:
        known = await self._records.document(tenant, content.digests.sha256)
        virus = str(known.get("virus", "")) if known is not None and known["state"] == "quarantined" else ""
        if verdict is not None and verdict.outcome == "infected":
            virus = verdict.detail
            if known is None:
                await self._quarantine(tenant, content, virus)
            else:
                await self._records.quarantine(tenant, content.digests.sha256, virus)
        if virus:
            error = unprocessable(f"The content is infected ({virus}). It is not taken.", code="security")
            raise RejectedError(error, "virus", content.digests, virus)

    async def _quarantine(self, tenant: str, content: _Content, virus: str) -> None:
        """Keep infected bytes apart, where nothing serves them."""
        digests = content.digests
        key, now = f"quarantine/{tenant}/{digests.sha256}", datetime.now(UTC)
        blob = Blob(tenant, digests.sha256, digests.sha1, digests.size, "application/octet-stream", key, "", now)
        owner = await self._records.begin(blob, b"")
        if not owner:
            return
        async with self._records.owned(tenant, digests.sha256, owner):
            place = await self._moved(content, key, blob)
            await self._records.settle(tenant, digests.sha256, owner, {"state": "quarantined", "virus": virus, "place": place})

    async def _keep(self, blob: Blob, content: _Content, thumbnail: bytes) -> Received:
        """Store the bytes, unless they are there or somebody else is storing them."""
        for _ in range(int(WAIT_SECONDS / WAIT_STEP)):
            known = await self._records.touch(blob.tenant, blob.sha256)
            if known is not None:
                if known.scan != "clean" and blob.scan == "clean":
                    await self._records.scanned(blob.tenant, blob.sha256, "clean")
                    known = replace(known, scan="clean")
                if content.staging is not None:
                    await _discard(self._store, content.staging)
                return Received(known, deduplicated=True)
            owner = await self._records.begin(blob, thumbnail)
            if owner:
                return Received(await self._store_as_owner(blob, content, owner))
            left = await self._records.take_over(blob.tenant, blob.sha256)
            if left is not None:
                await self.remove(left)
            else:
                await asyncio.sleep(WAIT_STEP)
        raise unavailable("The same bytes are being stored or removed by another request that does not end. Send them again.")

    async def _store_as_owner(self, blob: Blob, content: _Content, owner: str) -> Blob:
        try:
            async with self._records.owned(blob.tenant, blob.sha256, owner):
                place = await self._moved(content, blob.key, blob)
                ready = await self._records.settle(blob.tenant, blob.sha256, owner, {"state": "ready", "place": place})
        except FhirError:
            await self._records.forget(blob.tenant, blob.sha256, owner)
            raise
        if ready is None:
            raise unavailable("Storing took too long, and others took it over. Send the request again.")
        return ready

    async def _moved(self, content: _Content, key: str, blob: Blob) -> str:
        if content.spooled is not None:
            part_of = partial(spooled_part, content.spooled)
            return await self._store.put_parts(blob.tenant, key, part_of, size=blob.size, mime=blob.mime)
        if content.staging is None:
            return await self._store.put(blob.tenant, key, content.data, sha256=blob.sha256, mime=blob.mime)
        return await self._store.keep(content.staging, key, size=blob.size, mime=blob.mime)

    async def remove(self, document: dict[str, Any]) -> None:
        """Remove bytes whose record is owned, and the record."""
        await self._store.delete(document["t"], document["key"])
        await self._records.forget(document["t"], document["h"], document["owner"])


async def _passed(chunks: AsyncIterator[bytes], passing: Passing) -> AsyncIterator[bytes]:
    """Yield a stream in pieces, each given to what looks at it."""
    async for piece in merged(chunks, PIECE_BYTES):
        await passing.add(piece)
        yield piece


def _check(digests: Digests, claim: Claim) -> None:
    if not digests.size:
        raise bad_request("There is no content: not a single byte was sent.", code="required")
    if claim.size is not None and digests.size != claim.size:
        raise bad_request(f"{digests.size} bytes were sent, but {claim.size} were announced.", code="incomplete")
    if claim.sha256 and digests.sha256 != claim.sha256:
        raise bad_request(f"The SHA-256 of what was sent is {digests.sha256}, but {claim.sha256!r} was announced.", code="value")


async def _discard(store: BlobStore, staging: Staging) -> None:
    """Remove a staging, if the store can; else the garbage collection does it."""
    with suppress(FhirError):
        await asyncio.shield(store.discard(staging))


def fhir_hash(sha1: str) -> str:
    """Return `Attachment.hash`: https://hl7.org/fhir/R4/datatypes-definitions.html#Attachment.hash."""
    return base64.b64encode(bytes.fromhex(sha1)).decode()


def issues_of_flags(facts: Iterable[str]) -> tuple[Issue, ...]:
    """Return warnings about what stands out in content that was taken nevertheless."""
    texts = {
        "javascript": "The PDF holds JavaScript.",
        "launch": "The PDF launches programs or opens other files.",
        "bomb": "The picture is far larger than its file, and would fill a reader's memory.",
    }
    return tuple(Issue("security", texts[flag], severity="warning") for flag in facts if flag in texts)
