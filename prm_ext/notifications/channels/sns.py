"""Messages of Amazon SNS, and whether SNS has signed them.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns what is at a URL; raises an OSError or ValueError where it can not."""

FRESH: Final = timedelta(hours=24)
"""SNS repeats a message for hours at most; what it has signed longer ago is a replay."""
SKEW: Final = timedelta(minutes=5)
KEPT: Final = 8
"""Certificates that are remembered."""
_HOST: Final = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_HASHES: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {"1": hashes.SHA1, "2": hashes.SHA256}


class SnsError(ValueError):
    """It is no message of SNS, or none of the topic, or old; the text says which."""


class Sns:
    """Verifies the messages of one topic."""

    def __init__(self, topic: str, fetch: Fetch) -> None:
        self._topic = topic
        self._fetch = fetch
        self._keys: dict[str, rsa.RSAPublicKey] = {}

    async def verify(self, body: bytes, now: datetime) -> dict[str, str]:
        """Return the members of a message.

        Raises:
            SnsError: it is not believed.
        """
        message = _members(body)
        if not self._topic or message["TopicArn"] != self._topic:
            raise SnsError("The message is of another topic.")
        _check_age(message["Timestamp"], now)
        key = await self._key(message.get("SigningCertURL", ""), now)
        algorithm = _HASHES.get(message.get("SignatureVersion", ""))
        if algorithm is None:
            raise SnsError("The version of the signature is not known.")
        try:
            signature = base64.b64decode(message.get("Signature", ""), validate=True)
            key.verify(signature, _signed(message), padding.PKCS1v15(), algorithm())
        except (InvalidSignature, binascii.Error, ValueError):
            raise SnsError("The signature is not that of the message.") from None
        return message

    async def _key(self, url: str, now: datetime) -> rsa.RSAPublicKey:
        check_url(url)
        if url not in self._keys:
            try:
                certificate = x509.load_pem_x509_certificate(await self._fetch(url))
            except (OSError, ValueError) as error:
                raise SnsError(f"The certificate can not be read: {type(error).__name__}.") from None
            key = certificate.public_key()
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc or not isinstance(
                key, rsa.RSAPublicKey
            ):
                raise SnsError("The certificate is not valid.")
            while len(self._keys) >= KEPT:
                del self._keys[next(iter(self._keys))]
            self._keys[url] = key
        return self._keys[url]


def check_url(url: str) -> None:
    """Check that a URL leads to SNS: that of a certificate, or that by which a subscription is confirmed.

    Raises:
        SnsError: it leads elsewhere.
    """
    try:
        parts = urlsplit(url)
        there = parts.scheme == "https" and bool(_HOST.fullmatch(parts.netloc))
    except ValueError:
        there = False
    if not there:
        raise SnsError("The message names a URL that is not of SNS.")


def _members(body: bytes) -> dict[str, str]:
    try:
        found: Any = json.loads(body)
    except ValueError:
        raise SnsError("The body is no message of SNS.") from None
    if not isinstance(found, dict):
        raise SnsError("The body is no message of SNS.")
    message = {name: value for name, value in found.items() if isinstance(value, str)}
    fields = _FIELDS.get(message.get("Type", ""))
    if fields is None or any(name not in message for name in fields if name != "Subject"):
        raise SnsError("The body is no message of SNS.")
    return message


def _signed(message: Mapping[str, str]) -> bytes:
    return "".join(f"{name}\n{message[name]}\n" for name in _FIELDS[message["Type"]] if name in message).encode(
        "utf-8", "surrogatepass"
    )


def _check_age(timestamp: str, now: datetime) -> None:
    try:
        age = now - datetime.fromisoformat(timestamp)
    except (ValueError, TypeError):
        raise SnsError("The message has no time.") from None
    if not -SKEW <= age <= FRESH:
        raise SnsError("The message is too old, or of the future.")
