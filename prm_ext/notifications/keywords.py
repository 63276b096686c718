"""What a short reply means: to hear no more, to hear again, help, yes to an appointment, or no.

https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out, docs/notifications/consent.md

A reply has a meaning when it says nothing else: `Stop please` ends messages, `Please stop by` is for people to read.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from fhir_server.fhir.folding import fold

Meaning = Literal["stop", "start", "help", "confirm", "cancel"]

_LONGEST: Final = 160
_MOST_WORDS: Final = 10
_SIGNS: Final = str.maketrans(dict.fromkeys("👍👌✅✔☑🆗", " ok ") | dict.fromkeys("❌✖", " x "))
_LETTER: Final = 1
_SPACELESS: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""Writing that puts no spaces between words, or may leave them out."""
_ARABIC: Final = str.maketrans({"\u0629": "\u0647", "\u0649": "\u064a", "\u0640": ""})
"""Letters that are written for each other at the end of words, and the line that makes words longer."""


def _words() -> Mapping[str, frozenset[str]]:
    """Return the meanings of each phrase, as it is compared; one with `=` before it is compared with its accents."""
    lists = msgspec.json.decode((Path(__file__).parent / "texts" / "keywords.json").read_bytes(), type=dict[str, list[str]])
    found: dict[str, set[str]] = {}
    for meaning, phrases in lists.items():
        for phrase in phrases:
            key = f"={_exact(phrase[1:])}" if phrase.startswith("=") else _folded(phrase)
            found.setdefault(key, set()).add(meaning)
    return {key: frozenset(meanings) for key, meanings in found.items()}


def _plain(text: str) -> str:
    """Return the words of a text alone, with single spaces."""
    kept = (char if char.isalnum() or _is_mark(char) else " " for char in text)
    return " ".join("".join(kept).split())


def _is_mark(char: str) -> bool:
    """Tell whether a character belongs to the letter before it, and does not only say how a sign looks."""
    return unicodedata.category(char) in ("Mn", "Mc") and not "\ufe00" <= char <= "\ufe0f"


def _exact(text: str) -> str:
    return _plain(unicodedata.normalize("NFC", text).casefold())


def _folded(text: str) -> str:
    return _plain(fold(text).translate(_ARABIC))


_WORDS: Final = _words()
_LONGEST_PHRASE: Final = max(len(key.split()) for key in _WORDS)


def meaning(text: str, *, awaiting_reply: bool) -> Meaning | None:
    """Return what a reply means, None where it means none of these.

    `awaiting_reply` says that whoever wrote it has been asked about an appointment and has not answered: then CANCEL and
    YES are about that, else CANCEL ends messages and YES begins them, as with Twilio.
    """
    found = _meanings(text)
    if found is None:
        return None
    said = set().union(*found)
    # To cancel an appointment is what CANCEL means where that was asked for, unless it says what is to be cancelled.
    of_appointment = awaiting_reply and "messages" not in said
    if any("stop" in one and not (of_appointment and "cancel" in one) for one in found):
        return "stop"
    letters = len(_plain(text)) == _LETTER
    if "cancel" in said:
        return None if said & {"confirm", "help", "start"} or (letters and not awaiting_reply) else "cancel"
    if "help" in said:
        return "help" if said.isdisjoint({"start", "confirm"}) else None
    if "start" in said:
        return None if "confirm" in said else "start"
    if "confirm" in said:
        return None if letters and not awaiting_reply else "confirm"
    if "yes" in said:
        return "confirm" if awaiting_reply else "start"
    return "confirm" if awaiting_reply and "agree" in said else None


def number_in(text: str) -> int | None:
    """Return the number that a reply names, as `2` or `CONFIRM 2`, in whatever digits; None for none or several."""
    if len(text) > _LONGEST:
        return None
    found = [word for word in _folded(text).split() if word.isdecimal()]
    return int(found[0]) if len(found) == 1 else None


def _meanings(text: str) -> list[frozenset[str]] | None:
    """Return the meanings of each phrase of a text; None where it has words of no meaning here."""
    if not text or len(text) > _LONGEST:
        return None
    text = text.translate(_SIGNS)
    words, exact = _folded(text).split(), _exact(text).split()
    if not words or len(words) > _MOST_WORDS:
        return None
    found: list[frozenset[str]] = []
    place = 0
    while place < len(words):
        length, meanings = _phrase(words, exact, place)
        if not length:
            return None
        found += meanings
        place += length
    return found


def _phrase(words: list[str], exact: list[str], place: int) -> tuple[int, list[frozenset[str]]]:
    """Return the number of words and the meanings of the longest known phrase that begins at a place; 0 for none."""
    for length in range(min(_LONGEST_PHRASE, len(words) - place), 0, -1):
        keys = [" ".join(words[place : place + length])]
        if len(exact) == len(words):
            keys.insert(0, "=" + " ".join(exact[place : place + length]))
        known = next((_WORDS[key] for key in keys if key in _WORDS), None)
        if known is not None:
            return length, [known]
    word = words[place]
    if word.isdecimal():
        return 1, []
    parts = list(_parts(word)) if _SPACELESS.fullmatch(word) else []
    return (1, parts) if parts else (0, [])


def _parts(word: str) -> Iterator[frozenset[str]]:
    """Yield the meanings of a word that is several known ones without spaces; nothing unless it is so from end to end."""
    found, place = [], 0
    while place < len(word):
        end = next((end for end in range(len(word), place, -1) if word[place:end] in _WORDS), 0)
        if not end:
            return
        found.append(_WORDS[word[place:end]])
        place = end
    yield from found
