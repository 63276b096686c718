"""Fetches the key sets of clients, from where they say, without being led astray.

A URL that a client chose must not make this server talk to its own network (RFC 9700, section 4.15, and OWASP's SSRF
rules): only https, only to public addresses, no redirects, no proxy of the environment, little time and few bytes. The
name is resolved once, and the connection goes to the very address that was looked at.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx

SECONDS: Final = 5.0
BYTES: Final = 256 * 1024

Resolve = Callable[[str, int], Awaitable[list[str]]]


class FetchError(Exception):
    """The URL may not be fetched, or gave nothing of use; the message says why."""


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError(f"The name {host} is not known.") from None
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Tell whether an address is one of the internet; what maps an IPv4 address is judged by that."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
        if found in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast


async def fetch_json_bytes(url: str, *, private: bool = False, resolve: Resolve = resolved) -> bytes:
    """Return what is at the URL; `private` allows plain http and addresses that are not public.

    Raises:
        FetchError: it is refused, or does not answer 200 in time and size.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise FetchError("A key set is fetched by https only.")
    if not parts.hostname or "@" in parts.netloc:
        raise FetchError("The URL of a key set names a host, and no user.")
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    addresses = await resolve(parts.hostname, port)
    if not addresses or not (private or all(map(is_public, addresses))):
        raise FetchError(f"{parts.hostname} has an address that is not public.")
    pinned = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    target = urlunsplit((parts.scheme, f"{pinned}:{port}", parts.path, parts.query, ""))
    try:
        async with asyncio.timeout(SECONDS):
            return await _get(target, parts.netloc, parts.hostname)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise FetchError(f"{parts.hostname} does not answer ({type(error).__name__}).") from None


async def _get(target: str, host: str, name: str) -> bytes:
    async with (
        httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
        client.stream(
            "GET",
            target,
            headers={"Host": host, "Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": name},
        ) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            raise FetchError(f"{name} answers {answer.status_code}.")
        try:
            return await read_bounded(answer, BYTES)
        except ValueError as error:
            raise FetchError(f"The key set of {name} can not be read: {error}") from None


async def read_bounded(answer: httpx.Response, limit: int) -> bytes:
    """Return the body of an answer that is being received.

    Raises:
        ValueError: it has more than `limit` bytes, of which no more are read, or is packed.
    """
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ValueError("The server packs its answer.")
    body = b""
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > limit:
            raise ValueError(f"The answer has more than {limit} bytes.")
    return body
