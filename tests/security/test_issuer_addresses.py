"""Requests to issuers and to introspection lead where the operator said, and take no more than they need."""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from fhir_server.fhir.outcome import FhirError
from fhir_server.security.issuers import LONGEST_DOCUMENT, RemoteIssuer
from fhir_server.security.tokens import Tokens
from tests.security.authz_server import AUDIENCE, KEY, default_settings

KEYS = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
DISCOVERY = "/.well-known/openid-configuration"
ISSUER = "https://id.example"


class Place:
    """A server on loopback whose answers a test sets: by path a status, headers and a body."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []

    def publishes(self, jwks_uri: str) -> None:
        """Have a discovery document and keys."""
        self.answers[DISCOVERY] = (200, {}, json.dumps({"issuer": self.url, "jwks_uri": jwks_uri}).encode())
        self.answers["/keys"] = (200, {}, KEYS)


@contextmanager
def serving() -> Iterator[Place]:
    """Run such a server."""
    place = Place("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place.asked.append(self.path)
            status, headers, body = place.answers[self.path]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        place.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def place() -> Iterator[Place]:
    """An issuer in the own network."""
    with serving() as found:
        yield found


async def test_an_issuer_may_be_in_the_own_network(place: Place) -> None:
    """Its address is in the settings, so it is where the operator wants it."""
    place.publishes(f"{place.url}/keys")
    assert [key["kid"] for key in await RemoteIssuer(place.url).keys()] == ["k1"]


async def test_an_issuer_can_not_lead_elsewhere_in_the_own_network(place: Place) -> None:
    """Keys at another place than the issuer's are fetched from public addresses only; nothing is asked there."""
    with serving() as inner:
        inner.publishes("")
        place.publishes(f"{inner.url}/keys")
        with pytest.raises(FhirError) as error:
            await RemoteIssuer(place.url).keys()
        assert (error.value.status, place.asked, inner.asked) == (503, [DISCOVERY], [])
        assert [key["kid"] for key in await RemoteIssuer(place.url, f"{inner.url}/keys").keys()] == ["k1"]


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
async def test_an_issuer_that_redirects_is_not_followed(place: Place, path: str) -> None:
    """Neither from its discovery document nor from its keys."""
    with serving() as inner:
        inner.publishes("")
        place.publishes(f"{place.url}/keys")
        place.answers[path] = (302, {"Location": f"{inner.url}/keys"}, b"")
        with pytest.raises(FhirError) as error:
            await RemoteIssuer(place.url).keys()
        assert (error.value.status, inner.asked) == (503, [])


async def test_keys_are_not_fetched_without_tls_where_the_issuer_has_it() -> None:
    """Whoever is between could exchange them."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": "http://id.example/keys"})

    with pytest.raises(FhirError) as error:
        await RemoteIssuer(ISSUER, transport=httpx.MockTransport(answer)).keys()
    assert error.value.status == 503


class Endless(httpx.AsyncByteStream):
    """A body without an end, and how much of it was read."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> Any:
        while True:
            self.sent += 65_536
            yield b" " * 65_536


def introspecting(answer: Callable[[httpx.Request], httpx.Response]) -> Tokens:
    """Return what judges opaque tokens by an endpoint that answers so."""
    settings = default_settings("t", "", base_url=AUDIENCE, auth_introspection_url="https://id.test/introspect")
    return Tokens(settings, transport=httpx.MockTransport(answer))


async def asked(kind: str, answer: Callable[[httpx.Request], httpx.Response]) -> int:
    """Return the status with which a token is refused whose issuer or introspection endpoint answers so."""
    issuer = RemoteIssuer(ISSUER, f"{ISSUER}/keys", transport=httpx.MockTransport(answer))
    with pytest.raises(FhirError) as error:
        await (introspecting(answer).principal("opaque") if kind == "introspection" else issuer.keys())
    return error.value.status


@pytest.mark.parametrize("kind", ["introspection", "issuer"])
async def test_an_answer_without_an_end_is_given_up(kind: str) -> None:
    """Only so many bytes are read."""
    body = Endless()
    assert await asked(kind, lambda _: httpx.Response(200, stream=body)) == 503
    assert LONGEST_DOCUMENT < body.sent <= LONGEST_DOCUMENT + 2 * 65_536


@pytest.mark.parametrize("kind", ["introspection", "issuer"])
async def test_packed_answers_are_neither_asked_for_nor_unpacked(kind: str) -> None:
    """A few packed bytes could become very many."""
    wanted: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        wanted.append(request.headers["accept-encoding"])
        bomb = gzip.compress(b'{"active": true, "sub": "x", "keys": [' + b" " * 10_000_000 + b"]}")
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(bomb))

    assert await asked(kind, answer) == 503
    assert wanted == ["identity"]


@pytest.mark.parametrize("kind", ["introspection", "issuer"])
async def test_redirects_are_not_followed(kind: str) -> None:
    """The secret of the client, and the token, go to the address in the settings only."""
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.example/introspect"})

    assert await asked(kind, answer) == 503
    assert len(paths) == 1


@pytest.mark.parametrize("kind", ["introspection", "issuer"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff", b"null", b'"x"', b'{"keys": 1}'])
async def test_answers_that_make_no_sense_let_nobody_in(kind: str, body: bytes) -> None:
    """Whatever is there instead of JSON of the right form."""
    assert await asked(kind, lambda _: httpx.Response(200, content=body)) in (401, 503)
