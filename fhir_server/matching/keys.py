"""Blocking keys: two patients are compared if they share one.

A key is a letter, which says of what kind it is, and a value. Kinds are ordered from those that few patients share to those
that more do, since MongoDB reads the keys of a query in their order and a search for candidates may be cut short
(docs/matching.md says what each is worth).
"""

from collections.abc import Iterator
from typing import Final

from fhir_server.matching.names import sound
from fhir_server.matching.record import Address, Patient, Record, record_of

FIELD: Final = "_match"
"""The name of the index entry: the keys of a patient."""
EMAIL, PHONE, HOUSE, HOUSE_AND_POSTCODE, BIRTH, NAMES, SOUNDS, STREET = "abcdefgh"
WEAK: Final = STREET
"""The kind of key that finds nothing probable by itself: half of all candidates, and not one duplicate in 24,000."""
MOST_KEYS: Final = 16
_DAY: Final = 8
_PHONE_END: Final = 8
_NAME_START, _STREET_START = 3, 4
_LONGEST: Final = 48


def entries(patient: Patient) -> dict[str, list[str]]:
    """Return the index entries of a valid Patient."""
    keys = match_keys(record_of(patient))
    return {FIELD: keys} if keys else {}


def match_keys(record: Record) -> list[str]:
    """Return the keys of a record, sorted, each once."""
    return sorted(dict.fromkeys(key[:_LONGEST] for key in _keys(record)))[:MOST_KEYS]


def _keys(record: Record) -> Iterator[str]:
    for email in record.emails[:2]:
        yield EMAIL + email
    for phone in record.phones[:2]:
        yield PHONE + phone[-_PHONE_END:]
    if len(record.birth) == _DAY:
        yield BIRTH + any_order(record.birth)
    for name in record.names[:3]:
        if name.given and name.parts:
            given, family = name.given[0], name.parts[0]
            yield f"{NAMES}{_together(given[:_NAME_START], family[:_NAME_START])}"
            yield f"{SOUNDS}{_together(sound(given), sound(family))}"
    for address in record.addresses[:2]:
        yield from _at_home(address)


def _together(given: str, family: str) -> str:
    """Return both in an order that does not tell which is which: people write them into each other's place."""
    return f"{given}.{family}" if given <= family else f"{family}.{given}"


def _at_home(address: Address) -> Iterator[str]:
    street = address.street.replace(" ", "")[:_STREET_START]
    if address.number and street:
        yield f"{HOUSE}{address.number}{street}"
    if address.number and address.postcode:
        yield f"{HOUSE_AND_POSTCODE}{address.number}.{address.postcode}"
    if street and address.postcode:
        yield f"{STREET}{address.postcode}{street}"


def any_order(birth: str) -> str:
    """Return a whole date with day and month in an order that does not tell which is which."""
    year, month, day = birth[:4], birth[4:6], birth[6:]
    return f"{year}{month}{day}" if month <= day else f"{year}{day}{month}"
