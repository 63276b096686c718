"""Whether a text that a provider shows is the one that was handed to it."""

import re
import unicodedata
from typing import Final

from prm_ext.notifications.channels.channel import Message

_QUOTES: Final = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u00a0": " "}
)
_SPACE: Final = re.compile(r"\s+")


def resembles(shown: str, message: Message) -> bool:
    """Tell whether a text may be that of a message.

    Twilio may put something before it (trial accounts), change quotation marks (smart encoding) and cut spaces. What an
    approved template says is only known by its variables, which must all be in it.
    """
    text = _plain(shown)
    if message.content_sid:
        return all(_plain(value) in text for value in message.content_variables.values())
    return text.endswith(_plain(message.body))


def _plain(text: str) -> str:
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text.translate(_QUOTES))).strip()
