"""What providers say, without the addresses and contents that they repeat."""

import re
from typing import Final

from prm_ext.notifications.channels.channel import Message

LENGTH: Final = 300
HIDDEN: Final = "…"
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),;:=&]+@[^\s<>\"'(),;:&]+")
_NUMBER: Final = re.compile(r"(?<![\w.])\+?\d(?:[\s().\-]{0,2}\d){6,}(?!\w)")
_QUERY: Final = re.compile(r"(https?://[^\s?]+)\?\S*")


def mask(text: str, message: Message | None = None) -> str:
    """Return a text of bounded length in which addresses, numbers, queries and what the message says are hidden."""
    if message is not None:
        for secret in sorted(_secrets(message), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    text = _NUMBER.sub(HIDDEN, _ADDRESS.sub(HIDDEN, text))
    text = " ".join(text.split())
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + HIDDEN


def _secrets(message: Message) -> set[str]:
    """Return what the message holds; very short values are left, which would tear any text apart."""
    values = {message.to, message.sender, message.body, message.subject, message.html, *message.content_variables.values()}
    return {value for value in values if len(value) > 3}  # noqa: PLR2004 -- see above
