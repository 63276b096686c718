"""Files that go with an email: fetched from where they are, since email carries them and not their address."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from prm_ext.notifications.channels.channel import Media, Refused

MOST: Final = 18 * 2**20
"""Bytes in all: in base64 it fits what the strictest provider takes, 25 MB."""
_UNKNOWN_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file."""

    name: str
    mime: str
    data: bytes = field(repr=False)


class Attachments:
    """Fetches files."""

    def __init__(self, timeout: float = 10.0) -> None:
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, media: Sequence[Media]) -> list[Attachment] | Refused:
        """Return files, or why the message can not go as it is."""
        if not media:
            return []
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._timeout)
        found: list[Attachment] = []
        room = MOST
        for place, one in enumerate(media):
            got = await self._get(self._client, one, place, room)
            if isinstance(got, Refused):
                return got
            room -= len(got.data)
            found.append(got)
        return found

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, client: httpx.AsyncClient, media: Media, place: int, room: int) -> Attachment | Refused:
        data = bytearray()
        try:
            async with client.stream("GET", media.url) as answer:
                if not answer.is_success:
                    gone = answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
                    text = f"A file of the message can not be fetched: {answer.status_code}."
                    return Refused("content" if gone else "transient", "attachment", text)
                async for chunk in answer.aiter_bytes():
                    data += chunk
                    if len(data) > room:
                        return Refused("content", "attachment", f"The files of the message are larger than {MOST} bytes.")
                mime = media.mime or answer.headers.get("content-type", "").partition(";")[0].strip() or _UNKNOWN_TYPE
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Refused("transient", "attachment", f"A file of the message can not be fetched: {type(error).__name__}.")
        return Attachment(_name(media, place), mime, bytes(data))


def _name(media: Media, place: int) -> str:
    name = media.name or unquote(urlsplit(media.url).path.rpartition("/")[2])
    return " ".join("".join(one for one in name if one.isprintable()).split()) or f"attachment-{place + 1}"
