"""What of all that tests write is about people, and whether a text holds some of it."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PATTERNS = {
    "a phone number": re.compile(r"(?<![\w.+-])(?:\+[1-9]\d{8,14}|\(\d{3}\) ?\d{3}-\d{4})(?!\w)"),
    "an SSN": re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    "an email address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b", re.IGNORECASE),
    "a token": re.compile(r"\bbearer\s+[\w.~+/-]{8,}|\beyJ[\w-]{8,}\.[\w-]{8,}", re.IGNORECASE),
}
WORD = re.compile(r"[^\W_](?:[\w@.'+-]*\w)?")
SHORTEST = 6
"""Shorter words are too often something else."""
TOGETHER = 4
"""So many words in a row of a text are that text."""
_NAMES = frozenset({"family", "given", "line", "city", "first_name", "last_name", "middle_name", "preferred_name"})
_TEXTS = frozenset({"contentString", "div", "body", "subject", "message", "valueString"})
_CONTACTS = frozenset({"phone", "fax", "email", "pager", "sms"})
_OF_MESSAGES = "urn:prm:provider:"
_TAG = re.compile(r"<[^>]*>")
_CANONICAL = re.compile(r"https?://(?:\w+\.)?hl7\.org/\S*")
_SECRET = re.compile(r"(?=.*\d)[\w.+@-]{8,}")
_ID = re.compile(r"[0-9a-f-]{16,}|.*t[0-9a-f]{16}.*")


def _sources() -> Iterator[str]:
    """Yield what the server is made of, but for the people of the demonstration."""
    for package in ("fhir_server", "prm_ext"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".html", ".yaml", ".css") and "demo" not in path.parts:
                yield path.read_text(encoding="utf-8").casefold()


@cache
def _sentences() -> str:
    """Return what the server itself says, word by word."""
    return f" {' '.join(word for text in _sources() for word in WORD.findall(text))} "


def vocabulary() -> frozenset[str]:
    """Return the words and examples that the server itself knows, and so may say; the people of the demonstration are none."""
    found: set[str] = set()
    for text in _sources():
        found.update(WORD.findall(text), re.findall(r"[^\W_]{6,}", text))
        found.update(match for one in PATTERNS.values() for match in one.findall(text))
    return frozenset(found)


class Marks:
    """What counts as marked. `known` are words that it never does."""

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self._known = known
        self._words: set[str] = set()
        self._texts: set[tuple[str, ...]] = set()

    def add(self, tree: Any) -> None:
        """Mark what a resource, or another body, says of people."""
        stack = [tree]
        while stack:
            node = stack.pop()
            if isinstance(node, list | tuple):
                stack += node
            elif isinstance(node, Mapping):
                for name, value in node.items():
                    if isinstance(value, str):
                        self._member(node, name, value)
                    elif name in _NAMES and isinstance(value, list | tuple):
                        for one in value:
                            self._name(one)
                    elif value is not None:
                        stack.append(value)

    def _member(self, node: Mapping[str, Any], name: str, value: str) -> None:
        if name in _NAMES:
            self._name(value)
        elif name in _TEXTS:
            self._text(value)
        elif name == "value" and _is_personal(node.get("system"), value):
            self._word(value)

    def _name(self, value: Any) -> None:
        if isinstance(value, str):
            for word in WORD.findall(value):
                self._word(word)

    def _word(self, value: str) -> None:
        word = value.casefold()
        if len(word) >= SHORTEST and word not in self._known and not _ID.fullmatch(word):
            self._words.add(word)

    def _text(self, value: str) -> None:
        self._texts.update(_runs(_CANONICAL.sub(" ", _TAG.sub(" ", value[:5000]))))

    def within(self, text: str, sent: str = "") -> list[str]:
        """Return what of it a text holds that was not sent with the request which it answers."""
        matches = ((name, match) for name, one in PATTERNS.items() for match in one.findall(text))
        found = [f"{name}: {match}" for name, match in matches if match not in sent and match.casefold() not in self._known]
        words = {word.casefold() for word in WORD.findall(text)} & self._words
        runs = set(_runs(text)) & self._texts
        if words or runs:
            folded = sent.casefold()
            theirs = set(_runs(sent)) if runs else set()
            found += [f"what was written of people: {word}" for word in sorted(words) if word not in folded]
            written = (" ".join(run) for run in sorted(runs - theirs))
            found += [f"what was written: {run}" for run in written if f" {run} " not in _sentences()]
        return found


def _is_personal(system: Any, value: str) -> bool:
    """Tell whether a value is a contact, or an identifier that is not one of a message at its provider."""
    if not isinstance(system, str) or system.startswith(_OF_MESSAGES):
        return False
    return system in _CONTACTS or _SECRET.fullmatch(value) is not None


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = [word.casefold() for word in WORD.findall(text)]
    return zip(*(words[start:] for start in range(TOGETHER)), strict=False)
