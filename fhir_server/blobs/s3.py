"""Bytes in an S3-compatible object store, by boto3 in threads.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html

What is received lies under `staging/` until it is known to be harmless; then the store copies it to its key. Objects are
private: nobody reads them but by the credentials of this server, or by a URL that it has signed.
"""

import asyncio
import base64
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from fhir_server.blobs.blob import DamagedError, Staging
from fhir_server.blobs.protocol import PART_BYTES, PartOf
from fhir_server.blobs.s3_client import THREADS, away, client_of, read
from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError

T = TypeVar("T")
READ_RANGE: Final = 64 * 2**20
"""One GET of a long read: a connection that hangs costs no more than this again."""
COPY_BYTES: Final = 512 * 2**20
ONE_COPY: Final = 5 * 2**30
"""The largest object that S3 copies by one request."""
PARALLEL: Final = 3
"""Parts of one upload that are sent at the same time."""
ROOM: Final = 6
"""The same of all uploads of a process: so much memory they take together."""
_OURS: Final = ("staging/", "uploads/", "quarantine/")
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchUpload"})


class S3:
    """A BlobStore on S3. A place is a key."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._clients: dict[tuple[str, bool | None], Any] = {}
        self._making = threading.Lock()
        self._room = asyncio.Semaphore(ROOM)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    async def put(self, tenant: str, key: str, data: bytes, *, sha256: str, mime: str) -> str:
        """Keep bytes by one request; the store checks them against their SHA-256, which is signed instead of them."""
        del tenant
        params = {"Key": key, "Body": data, "ContentType": mime, "ContentLength": len(data), **self._encryption}
        params["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
        await self._run(partial(self._called, "put_object", params, sign_payload=False))
        return key

    @property
    def copies(self) -> bool:
        """Always: an object can not be renamed."""
        return True

    async def put_parts(self, tenant: str, key: str, part_of: PartOf, *, size: int, mime: str) -> str:
        """Upload parts, several at a time; the object is there when the upload is completed."""
        del tenant
        upload = await self._call("create_multipart_upload", Key=key, ContentType=mime, **self._encryption)
        target: dict[str, Any] = {"Key": key, "UploadId": upload["UploadId"]}
        some = asyncio.Semaphore(PARALLEL)

        async def send(number: int) -> dict[str, Any]:
            async with some, self._room:
                data = await part_of(number)
                found = await self._call("upload_part", **target, PartNumber=number, Body=data, ContentLength=len(data))
            return {"PartNumber": number, "ETag": found["ETag"]}

        return await self._joined(target, [send(number) for number in range(1, -(-size // PART_BYTES) + 1)])

    async def _joined(self, target: dict[str, Any], sending: list[Coroutine[Any, Any, dict[str, Any]]]) -> str:
        """Complete a multipart upload when all its parts have been sent, or remove it; return its key."""
        tasks = [asyncio.create_task(one) for one in sending]
        try:
            parts = await asyncio.gather(*tasks)
            await self._call("complete_multipart_upload", **target, MultipartUpload={"Parts": parts})
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(FhirError):
                await self._call_if_there("abort_multipart_upload", **target)
            raise
        return str(target["Key"])

    async def begin(self, tenant: str) -> Staging:
        """Begin a multipart upload."""
        id_ = uuid.uuid4().hex
        found = await self._call("create_multipart_upload", Key=_staging_key(tenant, id_), **self._encryption)
        return Staging(tenant, id_, found["UploadId"])

    async def put_part(self, staging: Staging, number: int, data: bytes) -> None:
        """Upload a part."""
        await self._call("upload_part", **self._upload(staging), PartNumber=number, Body=data, ContentLength=len(data))

    async def parts(self, staging: Staging) -> Mapping[int, int]:
        """List the parts."""
        if await self.is_finished(staging):
            return {}
        return {part["PartNumber"]: part["Size"] for part in await self._parts(staging)}

    async def _parts(self, staging: Staging) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        marker = 0
        while True:
            page = await self._call("list_parts", **self._upload(staging), PartNumberMarker=marker)
            found += page.get("Parts", [])
            if not page.get("IsTruncated"):
                return found
            marker = page["NextPartNumberMarker"]

    async def finish(self, staging: Staging) -> None:
        """Complete the multipart upload; another time it does nothing."""
        if await self.is_finished(staging):
            return
        parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in await self._parts(staging)]
        await self._call("complete_multipart_upload", **self._upload(staging), MultipartUpload={"Parts": parts})

    async def is_finished(self, staging: Staging) -> bool:
        """Tell whether the object of the staging is there."""
        return await self.exists(staging.tenant, _staging_key(staging.tenant, staging.id))

    def staged(self, staging: Staging, size: int) -> AsyncIterator[bytes]:
        """Yield what is staged."""
        return self.read(staging.tenant, _staging_key(staging.tenant, staging.id), 0, size)

    async def keep(self, staging: Staging, key: str, *, size: int, mime: str) -> str:
        """Let the store copy what is staged."""
        source = {"Bucket": self._bucket, "Key": _staging_key(staging.tenant, staging.id)}
        if size > ONE_COPY:
            await self._copy_in_parts(source, key, size, mime)
        else:
            await self._call(
                "copy_object", Key=key, CopySource=source, ContentType=mime, MetadataDirective="REPLACE", **self._encryption
            )
        await self._call("delete_object", Key=source["Key"])
        return key

    async def _copy_in_parts(self, source: dict[str, str], key: str, size: int, mime: str) -> None:
        upload = await self._call("create_multipart_upload", Key=key, ContentType=mime, **self._encryption)
        target = {"Key": key, "UploadId": upload["UploadId"]}

        async def copy(number: int, start: int) -> dict[str, Any]:
            range_ = f"bytes={start}-{min(start + COPY_BYTES, size) - 1}"
            found = await self._call("upload_part_copy", **target, PartNumber=number, CopySource=source, CopySourceRange=range_)
            return {"PartNumber": number, "ETag": found["CopyPartResult"]["ETag"]}

        await self._joined(target, [copy(number, start) for number, start in enumerate(range(0, size, COPY_BYTES), 1)])

    async def discard(self, staging: Staging) -> None:
        """Abort the upload, and remove what it has made."""
        if staging.token:
            await self._call_if_there("abort_multipart_upload", **self._upload(staging))
        if "/" not in staging.id:
            await self._call_if_there("delete_object", Key=_staging_key(staging.tenant, staging.id))

    async def read(self, tenant: str, place: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a range; the next piece is fetched while the last is used."""
        del tenant
        for at in range(start, stop, READ_RANGE):
            end = min(at + READ_RANGE, stop)
            found = await self._call("get_object", Key=place, Range=f"bytes={at}-{end - 1}")
            async for piece in self._pieces(found["Body"], end - at):
                yield piece

    async def _pieces(self, body: Any, size: int) -> AsyncIterator[bytes]:
        following = asyncio.ensure_future(self._run(partial(read, body)))
        got = 0
        try:
            while got < size:
                piece = await following
                if not piece:
                    raise DamagedError(f"The object ends after {got} of {size} bytes.")
                got += len(piece)
                if got < size:
                    following = asyncio.ensure_future(self._run(partial(read, body)))
                yield piece
        finally:
            following.cancel()
            body.close()

    async def exists(self, tenant: str, place: str) -> bool:
        """Tell whether there is such an object."""
        del tenant
        return await self._call_if_there("head_object", Key=place) is not None

    async def delete(self, tenant: str, key: str) -> None:
        """Remove an object."""
        del tenant
        await self._call_if_there("delete_object", Key=key)

    async def stagings(self, before: datetime) -> AsyncIterator[Staging]:
        """Yield open multipart uploads and finished ones that nobody has kept."""
        found = await self._call("list_multipart_uploads")
        for upload in found.get("Uploads", []):
            if upload.get("Initiated", datetime.max.replace(tzinfo=UTC)) < before and upload["Key"].startswith(_OURS):
                yield _staging(upload["Key"], upload["UploadId"])
        token: dict[str, str] = {}
        while True:
            page = await self._call("list_objects_v2", Prefix="staging/", **token)
            for entry in page.get("Contents", []):
                if entry["LastModified"] < before:
                    yield _staging(entry["Key"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def url(self, place: str, *, seconds: int, mime: str, disposition: str) -> str | None:
        """Return a presigned GET."""
        params = {"Key": place, "ResponseContentType": mime, "ResponseContentDisposition": disposition}
        return await self._presigned("get_object", params | {"ResponseCacheControl": "private, no-store"}, seconds)

    async def part_url(self, staging: Staging, number: int, *, size: int, seconds: int) -> str | None:
        """Return a presigned PUT of a part, which takes exactly `size` bytes."""
        return await self._presigned(
            "upload_part", {**self._upload(staging), "PartNumber": number, "ContentLength": size}, seconds
        )

    async def _presigned(self, method: str, params: dict[str, Any], seconds: int) -> str:
        endpoint = self._settings.s3_public_endpoint or self._settings.s3_endpoint
        client: Any = self._clients.get((endpoint, None)) or await self._run(partial(self._client, endpoint))
        made: str = client.generate_presigned_url(method, Params={"Bucket": self._bucket, **params}, ExpiresIn=seconds)
        return made

    async def public_access(self) -> str:
        """Return how the bucket is open to the public; "" where it is not."""
        for grant in (await self._call("get_bucket_acl")).get("Grants", []):
            uri = grant.get("Grantee", {}).get("URI", "")
            if uri.endswith(("/AllUsers", "/AuthenticatedUsers")):
                return f"its access control list grants {grant.get('Permission')} to {uri.rpartition('/')[2]}"
        try:
            status = await self._call("get_bucket_policy_status")
        except (FhirError, DamagedError):
            return ""  # Not every store can say so.
        return "its policy makes it public" if status.get("PolicyStatus", {}).get("IsPublic") else ""

    async def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _encryption(self) -> dict[str, Any]:
        settings = self._settings
        if not settings.s3_encryption:
            return {}
        key = {"SSEKMSKeyId": settings.s3_kms_key} if settings.s3_kms_key else {}
        return {"ServerSideEncryption": settings.s3_encryption, **key}

    def _upload(self, staging: Staging) -> dict[str, Any]:
        return {"Key": _staging_key(staging.tenant, staging.id), "UploadId": staging.token}

    async def _call(self, method: str, **params: Any) -> Any:
        return await self._run(partial(self._called, method, params))

    async def _call_if_there(self, method: str, **params: Any) -> Any:
        """Do the same, and return None where what it is about is not there."""
        return await self._run(partial(self._called, method, params, missing_is_fine=True))

    def _called(
        self, method: str, params: dict[str, Any], *, missing_is_fine: bool = False, sign_payload: bool | None = None
    ) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 -- it takes long to import

        try:
            return getattr(self._client(self._settings.s3_endpoint, sign_payload), method)(Bucket=self._bucket, **params)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING:
                if missing_is_fine:
                    return None
                raise DamagedError(f"The object store has no {params.get('Key', '')!r} ({code}).") from None
            raise away(code) from error
        except BotoCoreError as error:
            raise away(type(error).__name__) from error

    def _client(self, endpoint: str, sign_payload: bool | None = None) -> Any:
        with self._making:
            if (endpoint, sign_payload) not in self._clients:
                self._clients[endpoint, sign_payload] = client_of(self._settings, endpoint, sign_payload=sign_payload)
            return self._clients[endpoint, sign_payload]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _staging_key(tenant: str, id_: str) -> str:
    return id_ if "/" in id_ else f"staging/{tenant}/{id_}"


def _staging(key: str, token: str = "") -> Staging:
    place, tenant, id_ = key.split("/", 2)
    # An upload to the key where it was to stay has that key for its id.
    return Staging(tenant, id_ if place == "staging" else key, token)
