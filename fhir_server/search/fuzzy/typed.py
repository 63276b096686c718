"""What somebody typed, in any order: words of a name, dates of birth, and numbers.

docs/search/fuzzy.md
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from fhir_server.fhir.outcome import bad_request
from fhir_server.matching.names import name_words, parts

LONGEST: Final = 200
MOST_ITEMS: Final = 8
LONGEST_WORD: Final = 40
SHORTEST_NUMBER: Final = 7
LEAST_INTERNATIONAL: Final = 10
LONGEST_NUMBER: Final = 15
_NUMERIC: Final = re.compile(r"\+?[\d().\-/]*\d[\d().\-/]*")
_NO_DIGIT: Final = re.compile(r"\D")
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-./](\d{1,2})(?:[-./](\d{1,2}))?")
_YEAR_LAST: Final = re.compile(r"(\d{1,2})[-./](\d{1,2})[-./](\d{4})")
_EIGHT: Final = re.compile(r"\d{8}")
_YEAR: Final = re.compile(r"(?:18[89]|19\d|20\d)\d")
_EARLIEST, _LATEST = 1880, 2100
_LABELS: Final = frozenset({"mrn", "dob", "tel", "phone", "born"})
"""Words that say what comes next, not a name."""


@dataclass(frozen=True, slots=True)
class Number:
    """What may be a phone number, an email address or an identifier."""

    texts: tuple[str, ...]
    """As they were typed; several where a phone number was typed with gaps."""
    dates: tuple[str, ...] = ()
    """The dates that it may be instead: eight digits."""

    @property
    def digits(self) -> str:
        """Return its digits; "" where there are letters among them."""
        text = "".join(self.texts)
        return _NO_DIGIT.sub("", text) if not any(char.isalpha() for char in text) else ""

    @property
    def may_be_phone(self) -> bool:
        """Whether it has as many digits as a phone number, or the end of one."""
        return SHORTEST_NUMBER <= len(self.digits) <= LONGEST_NUMBER


@dataclass(frozen=True, slots=True)
class Typed:
    """The items of a text."""

    words: tuple[str, ...] = ()
    """Folded words of names."""
    dates: tuple[tuple[str, ...], ...] = ()
    """For each date the ways to read it: FHIR dates, which may be a year or a month only."""
    numbers: tuple[Number, ...] = ()
    open: str = ""
    """The word that may go on, since nothing follows it yet; "" where there is none."""

    @property
    def items(self) -> int:
        """Return how many items there are."""
        return len(self.words) + len(self.dates) + len(self.numbers)


def read(text: str) -> Typed:
    """Return the items of a text.

    Raises:
        FhirError: 400, there is none, or there are too many.
    """
    if len(text) > LONGEST:
        raise bad_request(f"q has {len(text)} characters; at most {LONGEST} can be searched for.", code="too-costly")
    reading = _Reading()
    for token in text.replace(",", " ").replace(";", " ").split():
        reading.take(token)
    typed = reading.typed(open_=not text[-1:].isspace())
    if not 0 < typed.items <= MOST_ITEMS:
        what = "has nothing to search for" if not typed.items else f"has {typed.items} words, dates and numbers"
        raise bad_request(f"q={text!r} {what}; type a name, a date of birth, a phone number or an MRN, at most {MOST_ITEMS}.")
    return typed


@dataclass(slots=True)
class _Reading:
    """A text while its tokens are read, one after the other."""

    words: dict[str, None] = field(default_factory=dict)
    dates: list[tuple[str, ...]] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    gathered: list[str] = field(default_factory=list)
    last: str = ""

    def take(self, token: str) -> None:
        self.last = ""
        if _NUMERIC.fullmatch(token):
            self._take_digits(token)
            return
        self._end_number()
        if any(char.isdigit() or char in "@|" for char in token):
            self.numbers.append(Number((token,)))
            return
        for word in name_words(token)[0]:
            if word not in _LABELS:
                self.last = word[:LONGEST_WORD]
                self.words[self.last] = None

    def _take_digits(self, token: str) -> None:
        dates = _dates(token)
        if self._goes_on(token, is_date=bool(dates)):
            self.gathered.append(token)
            return
        self._end_number()
        if _EIGHT.fullmatch(token):
            self.numbers.append(Number((token,), dates))
        elif dates:
            self.dates.append(dates)
        else:
            self.gathered = [token]

    def _goes_on(self, token: str, *, is_date: bool) -> bool:
        """Tell whether a token may continue a number: phone numbers are often typed with gaps."""
        if not self.gathered or token.startswith("+"):
            return False
        digits = len(_NO_DIGIT.sub("", "".join(self.gathered)))
        least = LEAST_INTERNATIONAL if self.gathered[0].startswith("+") else SHORTEST_NUMBER
        if is_date and (digits >= least or not _YEAR.fullmatch(token)):
            return False
        return digits + len(_NO_DIGIT.sub("", token)) <= LONGEST_NUMBER

    def _end_number(self) -> None:
        if self.gathered:
            self.numbers.append(Number(tuple(self.gathered)))
            self.gathered = []

    def typed(self, *, open_: bool) -> Typed:
        self._end_number()
        words = parts(self.words)
        if self.last and self.last not in words:
            words = (*words, self.last)  # What looks like `de` may become `dean`.
        return Typed(words, tuple(self.dates), tuple(self.numbers), self.last if open_ else "")


def _dates(token: str) -> tuple[str, ...]:
    if match := _YEAR_FIRST.fullmatch(token):
        year, month, day = match[1], match[2], match[3] or ""
        return tuple(_possible(year, month, day))
    if match := _YEAR_LAST.fullmatch(token):
        return tuple(dict.fromkeys((*_possible(match[3], match[1], match[2]), *_possible(match[3], match[2], match[1]))))
    if _EIGHT.fullmatch(token):
        ways = ((token[:4], token[4:6], token[6:]), (token[4:], token[:2], token[2:4]), (token[4:], token[2:4], token[:2]))
        return tuple(dict.fromkeys(date for way in ways for date in _possible(*way)))
    return (token,) if _YEAR.fullmatch(token) else ()


def _possible(year: str, month: str, day: str) -> Iterator[str]:
    if not (_EARLIEST <= int(year) < _LATEST and 1 <= int(month) <= 12):  # noqa: PLR2004 -- months
        return
    if not day:
        yield f"{year}-{int(month):02}"
    elif 1 <= int(day) <= monthrange(int(year), int(month))[1]:
        yield f"{year}-{int(month):02}-{int(day):02}"
