"""Opaque page cursors.

A cursor says where the page before ended, which may be a name or a birth date: it is encrypted, so that a link tells
nothing, and authenticated together with the tenant, the request it belongs to and what its reader may see, so that no
other can be made.
"""

import base64
import binascii
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from fhir_server.fhir.outcome import bad_request
from fhir_server.store.repository import Repository

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_NAME = "cursor"


async def seal(repo: Repository, purpose: str, value: Any) -> str:
    """Return a URL-safe cursor that holds `value` (what MessagePack can hold) for requests of this purpose."""
    cipher = _cipher(await repo.secret(_NAME))
    sealed = cipher.encrypt(_encoder.encode(value), _bound_to(repo, purpose))
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


async def unseal(repo: Repository, purpose: str, cursor: str) -> Any:
    """Return what a cursor holds.

    Raises:
        FhirError: 400, when it was not made here for this tenant and purpose.
    """
    cipher = _cipher(await repo.secret(_NAME))
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return _decoder.decode(cipher.decrypt(sealed, _bound_to(repo, purpose)))
    except (InvalidTag, ValueError, binascii.Error, msgspec.DecodeError):
        raise bad_request(
            "The page cursor is not one that this server gave for this request; start from the first page."
        ) from None


@lru_cache(maxsize=8)
def _cipher(secret: bytes) -> AESSIV:
    return AESSIV(secret)


def _bound_to(repo: Repository, purpose: str) -> list[bytes]:
    return [repo.tenant.encode(), purpose.encode(), *([repo.audience.encode()] if repo.audience else [])]
