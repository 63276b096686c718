"""boto3, made when it is first needed: it takes long to import."""

from typing import Any, Final

from fhir_server.config import Settings
from fhir_server.fhir.outcome import FhirError, unavailable

READ_BYTES: Final = 2**20
THREADS: Final = 16


def read(body: Any) -> bytes:
    """Return the next piece of an object.

    Raises:
        FhirError: 503, it does not come.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 -- it takes long to import
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 -- it comes with botocore

    try:
        data: bytes = body.read(READ_BYTES)
    except (BotoCoreError, HTTPError, OSError) as error:
        raise away(type(error).__name__) from error
    return data


def client_of(settings: Settings, endpoint: str, *, sign_payload: bool | None = None) -> Any:
    """Return a client for an endpoint ("": AWS); `sign_payload` says whether bodies are hashed to be signed (None: as usual)."""
    import boto3  # noqa: PLC0415 -- it takes long to import
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=settings.s3_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=THREADS,
        s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": sign_payload},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key or None,
        aws_secret_access_key=settings.s3_secret_key or None,
        config=config,
    )


def away(reason: str) -> FhirError:
    """503: the store can not be asked."""
    return unavailable(f"The store of binary data does not answer ({reason}). Send the request again later.")
