import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from fhir_server.web import protocol
from fhir_server.web.protocol import Protocol


async def hello(_scope, receive, send):
    """Answer any request, once its body is there."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def connected():
    """A connection to a server that speaks the protocol."""
    config = uvicorn.Config(hello, http=Protocol, ws="none", log_config=None)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            for connection in list(state.connections):
                connection.transport.close()


async def refusal(reader):
    """Return status and issue code of the answer after which the connection is closed."""
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/fhir+json" in head
    [issue] = json.loads(body)["issue"]
    return int(head.split()[1]), issue["code"]


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nA: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9000 + b"C: "])
async def test_a_head_without_end_is_refused(start):
    async with connected() as (reader, writer):
        writer.write(start)
        for _ in range(9):
            writer.write(b"x" * 65_536)
        assert await refusal(reader) == (431, "too-long")


async def test_a_slow_head_is_refused(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nA: ")
        assert await refusal(reader) == (408, "timeout")


async def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, _):
        assert await refusal(reader) == (408, "timeout")


async def test_a_slow_second_head_is_refused_too(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HT")
        assert await refusal(reader) == (408, "timeout")


async def test_a_large_or_slow_body_is_the_business_of_the_application(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 1000000\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.write(b"x" * 1_000_000)
        assert (await asyncio.wait_for(reader.readuntil(b"hello"), 5)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nA b\r\n\r\n"])
async def test_what_is_no_http_is_refused(sent):
    async with connected() as (reader, writer):
        writer.write(sent)
        assert await refusal(reader) == (400, "structure")
