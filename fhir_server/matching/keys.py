"""Blocking keys: two patients are compared if they share one.

A key is a letter, which says of what kind it is, and a value. Kinds are ordered from those that few patients share to those
that more do, since MongoDB reads the keys of a query in their order and a search for candidates may be cut short
(docs/matching.md says what each is worth).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from fhir_server.matching.names import sound
from fhir_server.matching.record import Address, Name, Patient, Record, record_of

FIELD: Final = "_match"
"""The name of the index entry: the keys of a patient."""
EMAIL, WORD_AND_BIRTH, PHONE, NAME_AND_POSTCODE, NAME_AND_YEAR, HOME = "abcdef"
MOST_KEYS: Final = 16
_DAY, _YEAR = 8, 4
_PHONE_END: Final = 8
_LONGEST: Final = 48


def entries(patient: Patient) -> dict[str, list[str]]:
    """Return the index entries of a valid Patient."""
    keys = match_keys(record_of(patient))
    return {FIELD: keys} if keys else {}


def match_keys(record: Record) -> list[str]:
    """Return the keys of a record, sorted, each once."""
    return sorted(dict.fromkeys(key[:_LONGEST] for key in _keys(record)))[:MOST_KEYS]


def _keys(record: Record) -> Iterator[str]:
    names = record.names[:3]
    pairs = tuple(dict.fromkeys(pair for name in names if (pair := _pair(name))))
    for email in record.emails[:2]:
        yield EMAIL + email
    if len(record.birth) == _DAY:
        birth = any_order(record.birth)
        for word in dict.fromkeys(word for name in names for word in _told_by(name)):
            yield f"{WORD_AND_BIRTH}{birth}{word}"
    for phone in record.phones[:2]:
        yield PHONE + phone[-_PHONE_END:]
    for address in record.addresses[:2]:
        yield from _at_home(address, pairs)
    if record.birth:
        for pair in pairs:
            yield f"{NAME_AND_YEAR}{record.birth[:_YEAR]}{pair}"


def _at_home(address: Address, pairs: Iterable[str]) -> Iterator[str]:
    if address.postcode:
        for pair in pairs:
            yield f"{NAME_AND_POSTCODE}{address.postcode}{pair}"
    if address.number and address.street and (address.postcode or address.city):
        street = sound(address.street.partition(" ")[0])
        yield f"{HOME}{address.postcode or address.city}.{address.number}{street}"


def any_order(birth: str) -> str:
    """Return a whole date with day and month in an order that does not tell which is which."""
    year, month, day = birth[:4], birth[4:6], birth[6:]
    return f"{year}{month}{day}" if month <= day else f"{year}{day}{month}"


def _told_by(name: Name) -> Iterator[str]:
    """Yield the sounds of the words that someone of this name may be known by."""
    if name.given:
        yield sound(name.given[0])
    for part in name.parts[:2]:
        yield sound(part)


def _pair(name: Name) -> str:
    if not name.given or not name.parts:
        return ""
    return ".".join(sorted((sound(name.given[0]), sound(name.parts[0]))))
