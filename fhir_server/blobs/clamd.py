"""Scanning for viruses by a ClamAV daemon, over INSTREAM.

https://docs.clamav.net/manual/Usage/Scanning.html#clamd and `man clamd`
"""

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["clean", "infected", "unscannable", "away"]
PIECE_BYTES: Final = 256 * 1024
_OK: Final = "OK"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the daemon says; `detail` names the virus, or says why nothing can be said."""

    outcome: Outcome
    detail: str = ""


class Session:
    """One stream that is being scanned while it is received.

    It never raises: what goes wrong is part of the verdict, and whatever is no clear answer is not clean.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self._address = address
        self._deadline = seconds
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._verdict: Verdict | None = None

    async def open(self) -> "Session":
        """Connect."""
        try:
            async with asyncio.timeout(self._deadline):
                self._reader, self._writer = await _connected(self._address)
                self._writer.write(b"zINSTREAM\0")
                await self._writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            self._settle(Verdict("away", type(error).__name__))
        return self

    async def feed(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        writer = self._writer
        if self._verdict is not None or writer is None:
            return
        view = memoryview(data)
        try:
            async with asyncio.timeout(self._deadline):
                for at in range(0, len(view), PIECE_BYTES):
                    piece = view[at : at + PIECE_BYTES]
                    writer.write(struct.pack("!L", len(piece)))
                    writer.write(piece)
                    await writer.drain()
        except TimeoutError:
            self._settle(Verdict("away", "it takes no more bytes"))
        except OSError:
            # It closes the connection when it has heard enough, and has said why.
            await self._answer()

    async def verdict(self) -> Verdict:
        """End the stream and return what the daemon says."""
        if self._verdict is None and self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.write(struct.pack("!L", 0))
            await self._answer()
        return self._verdict or Verdict("away", "it is not connected")

    def close(self) -> None:
        """Give up the connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _answer(self) -> None:
        if self._reader is None:
            return
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._reader.readuntil(b"\0")
        except asyncio.IncompleteReadError as error:
            answer = error.partial
        except (OSError, TimeoutError, asyncio.LimitOverrunError) as error:
            self._settle(Verdict("away", type(error).__name__))
            return
        self._settle(_read(answer.rstrip(b"\0\n").decode("utf-8", "replace")))

    def _settle(self, verdict: Verdict) -> None:
        if self._verdict is None:
            self._verdict = verdict
        self.close()


async def _connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("/"):
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


def _read(answer: str) -> Verdict:
    """Read `stream: OK`, `stream: Eicar-Test-Signature FOUND` or `INSTREAM size limit exceeded. ERROR`."""
    text = answer.partition(": ")[2] or answer
    if text == _OK:
        return Verdict("clean")
    if text.endswith(" FOUND"):
        name = text.removesuffix(" FOUND")
        # With AlertExceedsMax the daemon says so of what it has not looked through to the end.
        return Verdict("unscannable" if name.startswith("Heuristics.Limits.Exceeded") else "infected", name)
    if "size limit exceeded" in text:
        return Verdict("unscannable", "it is larger than StreamMaxLength of the daemon")
    return Verdict("away", text or "it closed the connection")


async def ping(address: str, seconds: float = 5) -> str:
    """Return what keeps the daemon from answering; "" when it does."""
    writer = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await _connected(address)
            writer.write(b"zPING\0")
            answer = await reader.readuntil(b"\0")
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        return type(error).__name__
    finally:
        if writer is not None:
            writer.close()
    return "" if answer == b"PONG\0" else answer.decode("utf-8", "replace")
