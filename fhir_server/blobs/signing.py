"""What this server signs, so that it knows it again without having kept it.

URLs give bytes to whoever has them, for a time; grants say that whoever sends a resource has sent the bytes it refers to.
https://www.rfc-editor.org/rfc/rfc2104 (HMAC)
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final

from fhir_server.fhir.outcome import forbidden

GRANT_SECONDS: Final = 6 * 3600


def signature(secret: bytes, *parts: str) -> str:
    """Return the signature of some texts, as letters that a URL may hold."""
    message = json.dumps(parts, ensure_ascii=True).encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256)).decode().rstrip("=")


def signed(secret: bytes, path: str, values: Mapping[str, str], expires: int) -> dict[str, str]:
    """Return the query of a URL that is good until `expires`, in seconds since 1970."""
    query = dict(values) | {"expires": str(expires)}
    return query | {"signature": _of_query(secret, path, query)}


def check_signed(secret: bytes, path: str, query: Mapping[str, str], now: float) -> None:
    """Refuse a URL that this server has not signed as it is, or that is no longer good.

    Raises:
        FhirError: 403.
    """
    given = query.get("signature", "")
    rest = {name: value for name, value in query.items() if name != "signature"}
    if not hmac.compare_digest(given.encode(), _of_query(secret, path, rest).encode()):
        raise forbidden("The signature of this URL is not right: it has been altered, or was not made here.")
    if float(rest["expires"]) < now:
        raise forbidden("This URL has expired; ask for a new one.")


def _of_query(secret: bytes, path: str, query: Mapping[str, str]) -> str:
    return signature(secret, path, *(part for name in sorted(query) for part in (name, query[name])))


def grant(secret: bytes, tenant: str, sha256: str, now: float) -> str:
    """Return what says that its owner has sent bytes."""
    expires = str(int(now) + GRANT_SECONDS)
    return f"{expires}.{signature(secret, tenant, sha256, expires)}"


def is_granted(secret: bytes, given: str, tenant: str, sha256: str, now: float) -> bool:
    """Tell whether a grant is one for these bytes, and still good."""
    expires, _, signed_ = given.partition(".")
    expected = signature(secret, tenant, sha256, expires)
    return hmac.compare_digest(signed_.encode(), expected.encode()) and float(expires) >= now
