"""What of a Patient is compared, in a normal form.

https://hl7.org/fhir/R4/patient.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fhir_server.matching.names import generation, name_words, parts, words

Patient = Mapping[str, Any]

_NO_DIGIT: Final = re.compile(r"\D")
_EXTENSION: Final = re.compile(r"(?i)(?:;\s*ext=|\bext\.?|\bx)\s*\d+\s*$")
_DATE: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?$")
_NO_DATES: Final = frozenset({"19000101", "19010101", "11111111", "99991231"})
_NOBODY: Final = frozenset({"none", "noemail", "no", "na", "unknown", "noreply", "null", "test", "nomail", "declined"})
SHORTEST_PHONE: Final = 7
MOST: Final = 8
"""So many names, numbers or addresses of a Patient are looked at; the rest is noise, or an attack."""
_NUMBER: Final = re.compile(r"\d+[a-z]?")
_STREET_WORDS: Final = {
    "street": "st",
    "avenue": "ave",
    "av": "ave",
    "road": "rd",
    "drive": "dr",
    "lane": "ln",
    "court": "ct",
    "place": "pl",
    "boulevard": "blvd",
    "circle": "cir",
    "crescent": "cres",
    "terrace": "ter",
    "highway": "hwy",
    "parkway": "pkwy",
    "square": "sq",
    "apartment": "apt",
    "suite": "ste",
    "north": "n",
    "south": "s",
    "east": "e",
    "west": "w",
}


@dataclass(frozen=True, slots=True)
class Name:
    """One name: folded words."""

    given: tuple[str, ...] = ()
    family: str = ""
    """Without gaps: `delacruz`."""
    parts: tuple[str, ...] = ()
    """The words of the family name that tell families apart: `cruz`."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address: folded."""

    number: str = ""
    street: str = ""
    city: str = ""
    postcode: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a person; what is not known is empty.

    `birth` has four, six or eight digits. `phones` are digits without a leading zero or `+`. `identifiers` are index
    entries `value|system`, so that those that are encrypted can be compared too.
    """

    names: tuple[Name, ...] = ()
    generation: str = ""
    birth: str = ""
    gender: str = ""
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    identifiers: frozenset[str] = frozenset()


def record_of(patient: Patient, identifiers: Iterable[str] = ()) -> Record:
    """Return the record of a valid Patient; `identifiers` are the entries `s.identifier` of its search index."""
    names, rank = _names(patient.get("name", ()))
    phones, emails = _telecoms(patient.get("telecom", ()))
    gender = patient.get("gender", "")
    return Record(
        names,
        rank,
        birth_date(patient.get("birthDate") or ""),
        gender if gender in ("male", "female") else "",
        phones,
        emails,
        tuple(dict.fromkeys(_addresses(patient.get("address", ())[:MOST]))),
        frozenset(identifiers),
    )


def _names(found: Iterable[Mapping[str, Any]]) -> tuple[tuple[Name, ...], str]:
    names: dict[Name, None] = {}
    rank = ""
    for one in list(found)[:MOST]:
        name, stated = _name(one)
        rank = rank or stated
        if name.given or name.family:
            names[name] = None
    return tuple(names), rank


def _name(one: Mapping[str, Any]) -> tuple[Name, str]:
    rank = _stated(one.get("suffix") or ())
    given_texts = [text for text in one.get("given") or () if text]
    family_text = one.get("family") or ""
    if not given_texts and not family_text and one.get("text"):
        given_texts, family_text = _read(one["text"])
    given: list[str] = []
    for text in given_texts[:MOST]:
        read, stated = name_words(text)
        given += read
        rank = rank or stated
    family, stated = name_words(family_text)
    return Name(tuple(given), "".join(family), parts(family)), rank or stated


def _stated(suffixes: Iterable[str]) -> str:
    return next((found for text in suffixes if text for word in words(text) if (found := generation(word))), "")


def _read(text: str) -> tuple[list[str], str]:
    """Return given names and family name of a name that is written as one text."""
    family, comma, given = text.partition(",")
    if comma and not generation("".join(words(given))):
        return [given], family
    found, rank = name_words(text.replace(",", " "))
    return list(found[:-1]), f"{found[-1]} {'i' * int(rank) if rank in ('2', '3') else ''}" if found else ""


def birth_date(value: str) -> str:
    """Return a date as its digits; "" where it is none, or one that stands for an unknown date."""
    found = _DATE.match(value)
    digits = "".join(part for part in found.groups() if part) if found else ""
    return "" if digits in _NO_DATES else digits


def _telecoms(found: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    phones: dict[str, None] = {}
    emails: dict[str, None] = {}
    for one in list(found)[: 2 * MOST]:
        value, system = one.get("value"), one.get("system")
        if not value:
            continue
        if system == "email" or (not system and "@" in value):
            if email := email_address(value):
                emails[email] = None
        elif system in (None, "phone", "sms", "other") and (phone := phone_digits(value)):
            phones[phone] = None
    return tuple(phones)[:MOST], tuple(emails)[:MOST]


def email_address(value: str) -> str:
    """Return an address as it is compared; "" where it is none, or stands for none."""
    text = value.strip().lower().removeprefix("mailto:")
    local, at, domain = text.partition("@")
    return text if at and local and "." in domain and local not in _NOBODY else ""


@lru_cache(1 << 14)
def phone_digits(value: str) -> str:
    """Return the digits of a number without extension and leading zeros; "" where these are too few, or all the same."""
    digits = _NO_DIGIT.sub("", _EXTENSION.sub("", value)).lstrip("0")
    return digits if len(digits) >= SHORTEST_PHONE and len(set(digits)) > 1 else ""


def _addresses(found: Iterable[Mapping[str, Any]]) -> Iterator[Address]:
    for one in found:
        lines = [text for text in one.get("line") or () if text]
        number, street = _street(tuple(lines) if lines else (one.get("text") or "",))
        city = "".join(words(one.get("city") or ""))
        address = Address(number, street, city, postcode(one.get("postalCode") or ""))
        if address != Address():
            yield address


@lru_cache(1 << 14)
def _street(lines: tuple[str, ...]) -> tuple[str, str]:
    """Return house number and street of the first line that has letters, the other lines' words after it."""
    found = [_STREET_WORDS.get(word, word) for line in lines for word in words(line)]
    number = next((word for word in found if _NUMBER.fullmatch(word)), "")
    return number, " ".join(word for word in found if word != number)


@lru_cache(1 << 14)
def postcode(value: str) -> str:
    """Return a postal code as it is compared: letters and digits, of a US ZIP+4 the first five."""
    text = "".join(words(value))
    return text[:5] if len(text) == len("123456789") and text.isdigit() else text
