"""Uploads in parts, which outlive connections and processes.

    _uploads {_id, t, by: principal, name, mime, size, sha256, staging, token, resource, created, expires, done: {…}}

Parts are sent to the store directly where it takes them (S3), else to this server. All are of PART_BYTES but the last, so that
the store can join them and a client knows what is missing.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.blobs.blob import Received, Staging
from fhir_server.blobs.protocol import MOST_PARTS, PART_BYTES, BlobStore
from fhir_server.blobs.receiving import Claim, Receiver
from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError, Issue, bad_request, conflict, too_large

Document = dict[str, Any]
COMPLETING: Final = timedelta(minutes=15)
"""How long one who completes an upload is waited for."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts."""

    id: str
    tenant: str
    by: str
    """Who began it: nobody else may go on with it."""
    claim: Claim
    staging: Staging
    expires: datetime
    name: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What whoever began it wants to know at its end."""
    done: Mapping[str, Any] | None = None
    """What came of it."""

    @property
    def size(self) -> int:
        """The announced size."""
        return self.claim.size or 0

    @property
    def count(self) -> int:
        """The number of parts."""
        return max(1, -(-self.size // PART_BYTES))

    def size_of(self, number: int) -> int:
        """Return how many bytes a part has."""
        return min(PART_BYTES, self.size - (number - 1) * PART_BYTES)


def not_known(id_: str) -> FhirError:
    """404: there is no such upload, or it is somebody else's."""
    return FhirError(404, (Issue("not-found", f"There is no upload {id_!r}; it may have expired or been aborted."),))


class Uploads:
    """The uploads of all tenants."""

    def __init__(self, database: AsyncDatabase[Document], store: BlobStore, receiver: Receiver, settings: Settings) -> None:
        self._uploads = database["_uploads"]
        self._store = store
        self._receiver = receiver
        self._settings = settings
        self._prepared = False

    async def begin(
        self, tenant: str, by: str, claim: Claim, *, name: str = "", details: Mapping[str, Any] | None = None
    ) -> Upload:
        """Begin an upload.

        Raises:
            FhirError: 400 without a size, 413 above the limit.
        """
        if not claim.size:
            raise bad_request("An upload needs its size in bytes, 1 or more.", code="required")
        most = min(self._settings.upload_max_bytes, PART_BYTES * MOST_PARTS)
        if claim.size > most:
            raise too_large(f"{claim.size} bytes are more than {most}, the largest upload that this server takes.")
        if not self._prepared:
            await self._uploads.create_index([("expires", ASCENDING)])
            self._prepared = True
        staging = await self._store.begin(tenant)
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=self._settings.upload_hours)
        upload = Upload(secrets.token_urlsafe(18), tenant, by, claim, staging, expires, name, details or {})
        await self._uploads.insert_one(_document(upload))
        return upload

    async def find(self, tenant: str, id_: str, by: str | None = None) -> Upload:
        """Return an upload; with `by` only one that they have begun.

        Raises:
            FhirError: 404.
        """
        found = await self._uploads.find_one({"_id": id_, "t": tenant})
        if found is None or (by is not None and found["by"] != by) or found["expires"] < datetime.now(UTC):
            raise not_known(id_)
        return _upload(found)

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        """Return the sizes of the parts that are there, by number."""
        if upload.done is not None:
            return {number: upload.size_of(number) for number in range(1, upload.count + 1)}
        return await self._store.parts(upload.staging)

    async def part_url(self, upload: Upload, number: int) -> str | None:
        """Return the store's own URL for a part, where it has one."""
        return await self._store.part_url(
            upload.staging, number, size=upload.size_of(number), seconds=self._settings.blob_url_max_seconds
        )

    async def put_part(self, upload: Upload, number: int, chunks: AsyncIterator[bytes]) -> int:
        """Take a part and return its size.

        Raises:
            FhirError: 400 for a part that the upload does not have or that is not of its size, 409 after the end.
        """
        if upload.done is not None:
            raise conflict(f"The upload {upload.id!r} is complete.")
        if not 1 <= number <= upload.count:
            raise bad_request(f"The upload has the parts 1 to {upload.count}, not {number}.", code="value")
        wanted, data = upload.size_of(number), bytearray()
        async for chunk in chunks:
            data += chunk
            if len(data) > wanted:
                raise too_large(f"Part {number} has {wanted} bytes; more were sent.")
        if len(data) != wanted:
            raise bad_request(f"Part {number} has {wanted} bytes, but {len(data)} were sent.", code="incomplete")
        await self._store.put_part(upload.staging, number, bytes(data))
        return wanted

    async def offset(self, upload: Upload) -> int:
        """Return how many bytes from the beginning are there, in whole parts."""
        parts, number = await self.parts(upload), 1
        while number <= upload.count and parts.get(number) == upload.size_of(number):
            number += 1
        return min((number - 1) * PART_BYTES, upload.size)

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Take bytes from an offset on, as long as they come, and return how many are there; what makes no whole part is lost.

        Raises:
            FhirError: 409, the offset is not where the upload stands.
        """
        at = await self.offset(upload)
        if offset != at:
            raise conflict(f"The upload stands at {at} bytes, not at {offset}.")
        number, data = at // PART_BYTES + 1, bytearray()
        async for chunk in chunks:
            data += chunk
            while number <= upload.count and len(data) >= upload.size_of(number):
                wanted = upload.size_of(number)
                await self._store.put_part(upload.staging, number, bytes(data[:wanted]))
                del data[:wanted]
                number += 1
            if number > upload.count and data:
                raise too_large(f"The upload has {upload.size} bytes; more were sent.")
        return min((number - 1) * PART_BYTES, upload.size)

    async def complete(self, upload: Upload) -> Received:
        """Join the parts, and judge and keep what they make.

        Raises:
            FhirError: 409 while parts are missing; else as `Receiver.receive`.
        """
        parts = await self._store.parts(upload.staging)
        wanted = {number: upload.size_of(number) for number in range(1, upload.count + 1)}
        missing = [number for number, size in wanted.items() if parts.get(number) != size]
        if missing and not await self._store.is_finished(upload.staging):
            shown = ", ".join(str(number) for number in missing[:20])
            raise conflict(
                f"{len(missing)} of {upload.count} parts are missing or not of their size: {shown}.", code="incomplete"
            )
        await self._store.finish(upload.staging)
        return await self._receiver.receive_staged(upload.staging, upload.size, upload.claim)

    async def claim(self, upload: Upload) -> bool:
        """Become the one who completes an upload; False while somebody else does, and after it has been done."""
        now = datetime.now(UTC)
        free = {"$or": [{"busy": None}, {"busy": {"$lt": now - COMPLETING}}]}
        changed = await self._uploads.update_one({"_id": upload.id, "done": None, **free}, {"$set": {"busy": now}})
        return changed.modified_count == 1

    async def release(self, upload: Upload) -> None:
        """Let somebody else complete it."""
        await self._uploads.update_one({"_id": upload.id}, {"$unset": {"busy": ""}})

    async def note(self, upload: Upload, done: Mapping[str, Any]) -> None:
        """Keep what came of an upload, for those who ask again."""
        await self._uploads.update_one({"_id": upload.id}, {"$set": {"done": dict(done)}})

    async def abort(self, upload: Upload) -> None:
        """Remove an upload and what has been sent of it."""
        if upload.done is None:
            await self._store.discard(upload.staging)
        await self._uploads.delete_one({"_id": upload.id})

    async def expired(self, now: datetime) -> AsyncIterator[Upload]:
        """Yield the uploads whose time is over."""
        async for found in self._uploads.find({"expires": {"$lt": now}}):
            yield _upload(found)

    async def is_open(self, staging: Staging) -> bool:
        """Tell whether a staging is one of an upload that may go on."""
        found = await self._uploads.find_one({"staging": staging.id, "expires": {"$gte": datetime.now(UTC)}}, {"_id": 1})
        return found is not None


def _document(upload: Upload) -> Document:
    return {
        "_id": upload.id,
        "t": upload.tenant,
        "by": upload.by,
        "name": upload.name,
        "mime": upload.claim.mime,
        "size": upload.claim.size,
        "sha256": upload.claim.sha256,
        "staging": upload.staging.id,
        "token": upload.staging.token,
        "details": dict(upload.details),
        "expires": upload.expires,
    }


def _upload(found: Document) -> Upload:
    return Upload(
        found["_id"],
        found["t"],
        found["by"],
        Claim(found["mime"], found["size"], found["sha256"]),
        Staging(found["t"], found["staging"], found["token"]),
        found["expires"],
        found["name"],
        found["details"],
        found.get("done"),
    )
