"""Key sets of clients are fetched from public addresses only."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.security.authorization.fetching import BYTES, FetchError, fetch_json_bytes, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "no address",
        "",
    ],
)
def test_addresses_that_are_not_of_the_internet(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"])
def test_addresses_of_the_internet(address: str):
    assert is_public(address)


@given(st.ip_addresses())
def test_every_address_is_judged(address):
    assert is_public(str(address)) in (True, False)
    assert not (is_public(str(address)) and (address.is_private or address.is_loopback or address.is_link_local))


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example/jwks.json",
        "file:///etc/passwd",
        "ftp://keys.example/",
        "https://user@keys.example/jwks.json",
        "https:///jwks.json",
        "gopher://keys.example/",
    ],
)
async def test_urls_that_are_not_fetched(url: str):
    async def never(host: str, port: int) -> list[str]:
        pytest.fail(f"{host}:{port} was looked up")

    with pytest.raises(FetchError):
        await fetch_json_bytes(url, resolve=never)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["169.254.169.254"], []])
async def test_a_name_with_one_private_address_is_refused(addresses: list[str]):
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("keys.example", 443)
        return addresses

    with pytest.raises(FetchError, match="not public"):
        await fetch_json_bytes("https://keys.example/jwks.json", resolve=resolve)


class Handler(BaseHTTPRequestHandler):
    """Answers as its path says."""

    def do_GET(self) -> None:
        """Answer."""
        status = {"/moved": 302, "/gone": 404}.get(self.path, 200)
        body = {"/jwks.json": b'{"keys": []}', "/large": b"x" * (BYTES + 1)}.get(self.path, b"")
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("X-Host", self.headers["Host"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.hosts.append(self.headers["Host"])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server on loopback."""
    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        found.hosts = []
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


async def loopback(_host: str, _port: int) -> list[str]:
    await asyncio.sleep(0)
    return ["127.0.0.1"]


async def test_the_connection_goes_to_the_address_that_was_looked_at_under_the_name_of_the_host(server: HTTPServer):
    url = f"http://keys.example:{server.server_port}/jwks.json"
    assert await fetch_json_bytes(url, private=True, resolve=loopback) == b'{"keys": []}'
    assert server.hosts == [f"keys.example:{server.server_port}"]


@pytest.mark.parametrize(
    ("path", "text"), [("moved", "answers 302"), ("gone", "answers 404"), ("large", "more than"), ("packed", "packs")]
)
async def test_answers_that_are_not_used(server: HTTPServer, path: str, text: str):
    with pytest.raises(FetchError, match=text):
        await fetch_json_bytes(f"http://keys.example:{server.server_port}/{path}", private=True, resolve=loopback)


async def test_a_name_that_is_not_known_is_no_failure_of_the_server():
    with pytest.raises(FetchError):
        await fetch_json_bytes("https://nobody.invalid/jwks.json")
