"""What SendGrid posts of an email: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/inbound-email.

A form with fields in charsets of their own, and a part for each file; or, where it is told to send emails as they are, the
whole of it in the field `email`.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from prm_ext.media.multipart import Form

RAW: Final = "email"
_FALLBACK: Final = "utf-8"
_PIECE: Final = 262_144


@dataclass(frozen=True, slots=True)
class Attached:
    """A file of an email."""

    name: str
    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Posted:
    """A form as it came."""

    fields: Mapping[str, bytes] = field(repr=False)
    files: tuple[Attached, ...]

    def text(self, name: str) -> str:
        """Return a field in its charset; empty where there is none."""
        charset = str(self.object("charsets").get(name, _FALLBACK))
        return decoded(self.fields.get(name, b""), charset)

    def object(self, name: str) -> dict[str, Any]:
        """Return a field that holds a JSON object; empty where it holds none."""
        try:
            found = msgspec.json.decode(self.fields.get(name, b"{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


async def posted(content_type: str, body: bytes) -> Posted:
    """Read a form.

    Raises:
        FhirError: 400 or 415, it is none.
    """
    fields: dict[str, bytes] = {}
    files = []
    async for part in Form(content_type, _pieces(body)).parts():
        data = b"".join([piece async for piece in part.data()])
        if part.filename is None or part.name == RAW:
            fields.setdefault(part.name, data)
        else:
            files.append(Attached(part.filename, part.mime, data))
    return Posted(fields, tuple(files))


def decoded(data: bytes, charset: str) -> str:
    """Return bytes as text, whatever is wrong with them or with the name of the charset."""
    try:
        info = codecs.lookup(charset)
        # Some codecs are not of texts, such as `hex`.
        text = info.decode(data, "replace")[0] if info._is_text_encoding else data.decode(_FALLBACK, "replace")  # noqa: SLF001
    except (LookupError, ValueError):
        text = data.decode(_FALLBACK, "replace")
    return text.replace("\x00", "").replace("\r\n", "\n")


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
        # Reading takes time, in which others have their turn.
        await asyncio.sleep(0)
