"""Whether a text that a provider shows is the one that was handed to it."""

import re
import unicodedata
from typing import Final

from prm_ext.notifications.channels.channel import Message

_QUOTES: Final = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u00a0": " "}
)
_SPACE: Final = re.compile(r"\s+")


def resemblance(shown: str, message: Message) -> int:
    """Return how well a text fits a message: 0 not at all, the higher the better.

    Twilio may put something before it (trial accounts), change quotation marks (smart encoding) and cut spaces. What an
    approved template says is known by its variables, which must all be in it; where those are not at hand, it may say
    anything.
    """
    text = _plain(shown)
    if text.endswith(_plain(message.body)) and (message.body or not message.content_sid):
        return 3
    if not message.content_sid:
        return 0
    if message.content_variables:
        return 2 if all(_plain(value) in text for value in message.content_variables.values()) else 0
    return 1


def _plain(text: str) -> str:
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text.translate(_QUOTES))).strip()
