"""Whether a webhook comes from the provider: its signature.

Twilio: https://www.twilio.com/docs/usage/security#validating-requests, SendGrid:
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    get_signature_algorithm,
)

TWILIO_SIGNATURE: Final = SIGNATURE_HEADER.lower()
TWILIO_SETTINGS: Final = SIGNATURE_SETTINGS_HEADER.lower()
SENDGRID_SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
SENDGRID_TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
FRESH: Final = timedelta(hours=25)
"""SendGrid repeats a webhook for a day until it is taken; what is signed longer ago is a replay."""
SKEW: Final = timedelta(minutes=5)
_FORM: Final = "application/x-www-form-urlencoded"


class Form:
    """A form in which names may be repeated and values empty, as the validator of Twilio's SDK wants it."""

    def __init__(self, body: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
            self._values.setdefault(name, []).append(value)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        """Return all values of a name."""
        return self._values.get(name, [])

    def first(self) -> dict[str, str]:
        """Return the first value of each name."""
        return {name: values[0] for name, values in self._values.items()}


def twilio_signed(url: str, body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> bool:
    """Tell whether Twilio has sent a request.

    Args:
        url: the public URL, with its query, as Twilio knows it; not as a proxy has made it.
        body: as it came: a form, or JSON whose hash is in the query as `bodySHA256`.
        headers: by name in lower case.
        secrets: the auth token and, where the account has them, secrets of shared keys.
    """
    signature = headers.get(TWILIO_SIGNATURE, "")
    algorithm = get_signature_algorithm(headers.get(TWILIO_SETTINGS, ""))
    if not signature:
        return False
    if headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        params: Any = Form(body)
    else:
        try:
            params = body.decode()
        except UnicodeDecodeError:
            return False
        if params and "bodySHA256" not in parse_qs(urlsplit(url).query):
            # Nothing of the request says what its body was.
            return False
    return any(RequestValidator(one).validate(url, params, signature, algorithm) for one in secrets if one)


def sendgrid_signed(body: bytes, headers: Mapping[str, str], public_key: str, now: datetime, fresh: timedelta = FRESH) -> bool:
    """Tell whether SendGrid has sent events, or an email that has come in, and not too long ago.

    Args:
        body: as it came, to the last CRLF.
        headers: by name in lower case.
        public_key: as SendGrid shows it, base64.
        now: the time.
        fresh: how long ago it may have been signed.

    Raises:
        ValueError: the key is none.
    """
    webhook: Any = EventWebhook(public_key)
    signature, timestamp = headers.get(SENDGRID_SIGNATURE, ""), headers.get(SENDGRID_TIMESTAMP, "")
    if not signature or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:  # noqa: PLR2004 -- seconds
        return False
    age = now.timestamp() - int(timestamp)
    if not -SKEW.total_seconds() <= age <= fresh.total_seconds():
        return False
    try:
        # Not by the SDK's `verify_signature`, which takes texts: emails that come in are not UTF-8.
        webhook.public_key.verify(base64.b64decode(signature), timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
