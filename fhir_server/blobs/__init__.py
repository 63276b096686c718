"""Binary data: kept once, safe, in MongoDB or S3 (docs/media.md)."""

from fhir_server.blobs.blob import Blob, DamagedError, Received, Staging
from fhir_server.blobs.protocol import BlobStore
from fhir_server.blobs.receiving import Claim, RejectedError
from fhir_server.blobs.service import Blobs

__all__ = ["Blob", "BlobStore", "Blobs", "Claim", "DamagedError", "Received", "RejectedError", "Staging"]
