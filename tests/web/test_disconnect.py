"""Clients that go away before they have said everything."""

from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.web.app import create_app


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_failure_of_the_server(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    messages = iter(
        [{"type": "http.request", "body": b'{"resourceType"', "more_body": True}, {"type": "http.disconnect"}],
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/fhir/Patient",
        "raw_path": b"/fhir/Patient",
        "query_string": b"",
        "scheme": "http",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", b"test"), (b"content-type", b"application/fhir+json"), (b"content-length", b"1000")],
    }
    await create_app(settings, database)(scope, receive, send)
    assert sent[0]["status"] == 400
    assert b"closed before the whole body" in sent[1]["body"]
