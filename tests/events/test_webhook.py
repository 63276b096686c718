"""Webhooks, received by a real HTTP server."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime

import httpx
import pytest

from fhir_server.config import Settings
from fhir_server.events.event import Event
from fhir_server.events.webhook import RefusedError, Webhook, signature, signing_key, webhooks
from fhir_server.fhir.codec import decode
from fhir_server.main import REFUSED, serve
from fhir_server.store.changes import Change

CHANGE = Change("acme", "Patient", "a", 3, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), deleted=False)
EVENT = Event(CHANGE, "PATIENT_UPDATED", {"id": "a"}, "Patient/a")


class Receiver:
    """Answers with the statuses given, and remembers what it got."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        return httpx.Response(self.statuses.pop(0), headers={"Location": "https://elsewhere.example.org"})


def webhook(receiver, secret="secret", read=None) -> Webhook:
    return Webhook("https://example.org/hook", secret, read=read, transport=httpx.MockTransport(receiver))


async def test_an_event_is_posted_with_a_signature_that_the_receiver_can_check():
    receiver = Receiver(204)
    sink = webhook(receiver, "whsec_" + base64.b64encode(b"key").decode())
    await sink.deliver([EVENT])
    await sink.close()
    (request,) = receiver.requests
    assert request.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["webhook-id"] == "Patient/a/3"
    signed = b".".join((b"Patient/a/3", request.headers["webhook-timestamp"].encode(), request.content))
    expected = base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert decode(request.content) == EVENT.to_json()
    assert EVENT.to_json()["time"] == "2026-01-02T03:04:05.000Z"


@pytest.mark.parametrize("status", [301, 400, 410, 429, 500, 503])
async def test_whatever_is_not_2xx_is_not_taken_and_nothing_behind_it_is_sent(status):
    receiver = Receiver(200, status)
    sink = webhook(receiver)
    with pytest.raises(RefusedError, match=str(status)):
        await sink.deliver([EVENT, EVENT, EVENT])
    assert len(receiver.requests) == 2
    await sink.close()


async def test_the_resource_is_sent_where_that_is_asked_for():
    async def read(event):
        return {"resourceType": "Patient", "id": event.change.id}

    receiver = Receiver(200)
    sink = webhook(receiver, read=read)
    await sink.deliver([EVENT])
    assert decode(receiver.requests[0].content)["data"] == {"id": "a", "resource": {"resourceType": "Patient", "id": "a"}}
    await sink.close()


async def test_each_url_has_a_place_of_its_own():
    settings = Settings.model_construct(webhook_urls="https://a.example.org, https://b.example.org,", webhook_secret="x")
    sinks = webhooks(settings, None)
    assert len({sink.name for sink in sinks}) == 2
    assert all("example" not in sink.name for sink in sinks)
    await asyncio.gather(*(sink.close() for sink in sinks))


def test_a_secret_is_a_text_or_base64():
    assert signing_key("plain") == b"plain"
    assert signing_key("whsec_cGxhaW4=") == b"plain"
    assert signature(b"plain", "a", "1", b"{}") == signature(signing_key("plain"), "a", "1", b"{}")


def test_without_a_secret_the_server_does_not_start(settings, capsys):
    assert serve(settings.model_copy(update={"webhook_urls": "https://a.example.org"})) == REFUSED
    assert "FHIR_WEBHOOK_SECRET" in capsys.readouterr().err
