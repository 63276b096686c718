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


async def bodiless(scope, _receive, send):
    """Answer without a body."""
    headers = [(b"content-length", b"5")] if scope["path"] == "/length" else []
    await send({"type": "http.response.start", "status": 304 if scope["method"] == "GET" else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello" if scope["method"] == "HEAD" and headers else b""})


async def streamed(_scope, _receive, send):
    """Answer in pieces, the last of which is empty."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"hel", b"lo"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def failing(_scope, _receive, send):
    """Fail after the head."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    raise RuntimeError("on purpose")


class Recorder:
    """A transport that keeps what is written, each call apart."""

    def __init__(self, transport, written):
        self._transport = transport
        self._written = written

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        """Keep it and write it."""
        self._written.append(data)
        self._transport.write(data)


@asynccontextmanager
async def connected(app=hello, written=None):
    """A connection to a server that speaks the protocol."""
    config = uvicorn.Config(app, http=Protocol, ws="none", log_config=None)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()

    class Speaking(Protocol):
        def connection_made(self, transport):
            super().connection_made(transport if written is None else Recorder(transport, written))

    server = await loop.create_server(lambda: Speaking(config=config, server_state=state, app_state={}), "127.0.0.1", 0)
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


async def test_the_heads_of_pipelined_requests_are_answered_in_their_order():
    async with connected() as (reader, writer):
        writer.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(2):
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("HEAD", "/"), ("HEAD", "/length")])
async def test_a_head_without_a_body_is_sent_at_once(method, path):
    async with connected(bodiless) as (reader, writer):
        for _ in range(2):
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 304" if method == "GET" else b"HTTP/1.1 200")


async def test_a_streamed_answer_comes_whole():
    async with connected(streamed) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert body == b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


async def test_of_an_answer_that_fails_after_its_head_the_head_is_all():
    async with connected(failing) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b""


async def test_who_waits_to_be_told_to_go_on_is_told_so_before_the_answer():
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert (await asyncio.wait_for(reader.readuntil(b"hello"), 5)).startswith(b"HTTP/1.1 200 OK")


async def test_head_and_body_of_an_answer_are_written_at_once():
    written = []
    async with connected(written=written) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.wait_for(reader.readuntil(b"hello"), 5)
    assert [(data.startswith(b"HTTP/1.1 200 OK\r\n"), data.endswith(b"hello")) for data in written] == [(True, True)] * 2
