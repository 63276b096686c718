"""Events sent to URLs: one POST each, a CloudEvent in JSON, signed.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#32-structured-content-mode
and https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md for the signature.

What is not answered by a 2xx is sent again, after pauses that grow to a minute, and what comes after it waits. Where a URL
stands is kept in the database, so that neither it nor this server loses anything by being away.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Final

import httpx

from fhir_server.config import Settings
from fhir_server.events.consumer import Read
from fhir_server.events.event import Event
from fhir_server.fhir.codec import encode
from fhir_server.security.outgoing import PinnedTransport

TIMEOUT_SECONDS: Final = 10.0
MEDIA_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 -- what stands before a secret


class RefusedError(Exception):
    """The receiver did not take an event."""


class Webhook:
    """Sends to one URL."""

    resource_types: frozenset[str] = frozenset()
    batch = 1

    def __init__(
        self, url: str, secret: str, *, read: Read | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.name = f"webhook:{hashlib.sha256(url.encode()).hexdigest()[:16]}"
        self._url = url
        self._key = signing_key(secret)
        self._read = read
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, transport=transport, follow_redirects=False)

    async def deliver(self, events: Sequence[Event]) -> None:
        """Send events, one after the other."""
        for event in events:
            body = encode(event.to_json(await self._read(event) if self._read else None))
            seconds = str(int(time.time()))
            headers = {
                "Content-Type": MEDIA_TYPE,
                "webhook-id": event.id,
                "webhook-timestamp": seconds,
                "webhook-signature": signature(self._key, event.id, seconds, body),
            }
            answer = await self._client.post(self._url, content=body, headers=headers)
            if not answer.is_success:
                raise RefusedError(answer.status_code)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def webhooks(settings: Settings, read: Read | None) -> list[Webhook]:
    """Return a sink for each URL that the settings name."""
    urls = [url.strip() for url in settings.webhook_urls.split(",") if url.strip()]
    return [
        Webhook(url, settings.webhook_secret, read=read, transport=PinnedTransport(private=settings.webhook_private))
        for url in urls
    ]


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: `whsec_` and base64, or any text."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return secret.encode()


def signature(key: bytes, id_: str, seconds: str, body: bytes) -> str:
    """Return the header `webhook-signature` of a message."""
    signed = hmac.digest(key, f"{id_}.{seconds}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"
