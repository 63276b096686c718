"""Looks at what binary data stands on, for `fhir-server doctor`."""

import ctypes.util
from collections.abc import AsyncIterator
from typing import NamedTuple

from fhir_server.blobs.clamd import ping
from fhir_server.blobs.s3 import S3
from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError


class Seen(NamedTuple):
    """One thing that was looked at; `mend` says what to do where it is not `ok`."""

    subject: str
    ok: bool
    found: str
    mend: str


async def examine_media(settings: Settings) -> AsyncIterator[Seen]:
    """Yield what is found of the object store, the scanner and the library that knows types."""
    if settings.blob_store == "s3":
        yield await _bucket(settings)
    if settings.clamd:
        problem = await ping(settings.clamd)
        mend = "Start clamd, or correct FHIR_CLAMD; while it is away, uploads are refused or kept unserved (FHIR_CLAMD_ABSENT)."
        yield Seen("ClamAV", not problem, f"{settings.clamd} " + (f"does not answer ({problem})" if problem else "answers"), mend)
    there = ctypes.util.find_library("magic") is not None
    yield Seen(
        "libmagic",
        there,
        "is installed" if there else "is missing: types are judged by magika alone",
        "apt-get install libmagic1",
    )


async def _bucket(settings: Settings) -> Seen:
    store = S3(settings)
    subject = f"Bucket {settings.s3_bucket or '(none)'}"
    try:
        open_how = await store.public_access()
    except FhirError as error:
        mend = "Correct FHIR_S3_ENDPOINT, FHIR_S3_BUCKET and the keys; the bucket has to exist."
        return Seen(subject, ok=False, found=str(error), mend=mend)
    finally:
        await store.close()
    mend = "Make the bucket private: everyone can read patients' documents. Block public access to it, and remove the grants."
    return Seen(subject, not open_how, f"is open to the public: {open_how}" if open_how else "is private", mend)
