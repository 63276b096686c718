"""The text of a template: `{variable}` is replaced, `{{` and `}}` are braces, and nothing else has a meaning.

In FHIR it is a concatenation in FHIRPath, http://hl7.org/fhirpath/N1/index.html#string-concatenation: `Hi {patient_name}!`
is `'Hi ' & %patient_name & '!'`, which any server with FHIRPath can evaluate when it is given the variables.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_LENGTH: Final = 10_000
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
"""Line feeds and tabs are not among them."""


class TextError(ValueError):
    """A text is no template; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the value of a variable goes."""

    name: str


Part = str | Slot


@dataclass(frozen=True, slots=True)
class Compiled:
    """A text, taken apart."""

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    """Of its variables, each once, in the order of their first appearance."""


@lru_cache(maxsize=4096)
def compiled(text: str) -> Compiled:
    """Take a text apart.

    Raises:
        TextError: it is too long, has characters that do not belong into a message, or a brace that stands for nothing.
    """
    if len(text) > MAX_LENGTH:
        raise TextError(f"It is longer than {MAX_LENGTH} characters.")
    found = _CONTROL.search(text)
    if found is not None:
        raise TextError(f"Character {found.start() + 1}, U+{ord(found[0]):04X}, controls how text is shown; leave it out.")
    return _of_parts(_parts(text))


def _of_parts(parts: Iterator[Part]) -> Compiled:
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part:
            merged.append(part)
    return Compiled(tuple(merged), tuple(dict.fromkeys(part.name for part in merged if isinstance(part, Slot))))


def _parts(text: str) -> Iterator[Part]:
    end = 0
    for match in _TOKEN.finditer(text):
        yield text[end : match.start()]
        end = match.end()
        token, name = match[0], match[1]
        if token in ("{{", "}}"):
            yield token[0]
        elif name is None:
            raise TextError(f"The brace {token!r} at character {match.start() + 1} has no partner; write it twice to show it.")
        elif not NAME.fullmatch(name):
            raise TextError(
                f"{token!r} at character {match.start() + 1} is no variable: letters, digits and '_' are its name, and no more."
            )
        else:
            yield Slot(name)
    yield text[end:]


def written(parts: tuple[Part, ...]) -> str:
    """Return the text of parts, the inverse of `compiled`."""
    return "".join(f"{{{part.name}}}" if isinstance(part, Slot) else part.replace("{", "{{").replace("}", "}}") for part in parts)


# By its number, since many readers of FHIRPath take the end of a literal that ends in a backslash for a quote within it.
_ESCAPES: Final = {"\\": "\\u005c", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_UNESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_TERM: Final = re.compile(r"\s*(?:'((?:\\.|[^'\\])*)'|%(?:`([^`]+)`|([A-Za-z_][A-Za-z0-9_]*)))\s*(&|\+|$)", re.DOTALL)


def to_fhirpath(text: str) -> str:
    """Return a text as an expression in FHIRPath."""
    parts = compiled(text).parts
    terms = ["%" + part.name if isinstance(part, Slot) else f"'{_escaped(part)}'" for part in parts]
    if len(terms) == 1 and isinstance(parts[0], Slot):
        terms.append("''")  # Alone a number would stay a number.
    return " & ".join(terms) or "''"


@lru_cache(maxsize=4096)
def from_fhirpath(expression: str) -> str | None:
    """Return the text that an expression stands for, None where it is anything but literals and variables in a row."""
    parts: list[Part] = []
    place = 0
    while True:
        match = _TERM.match(expression, place)
        if match is None:
            return None
        literal, delimited, name = match[1], match[2], match[3]
        if literal is not None:
            parts.append(_ESCAPED.sub(_unescaped, literal))
        else:
            parts.append(Slot(delimited or name))
        place = match.end()
        if not match[4]:
            return written(tuple(parts)) if all(_is_fit(part) for part in parts) else None


def _is_fit(part: Part) -> bool:
    return not isinstance(part, Slot) or NAME.fullmatch(part.name) is not None


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _UNESCAPED.get(code, code)
