"""Phone numbers and email addresses: what they are compared by, and whether they can be right.

https://hl7.org/fhir/R4/datatypes.html#ContactPoint
"""

import re
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

PHONE_SYSTEMS: Final = frozenset({"phone", "fax", "pager", "sms"})
_CHANNEL = re.compile(r"^(?:whatsapp|tel|sms|fax):", re.IGNORECASE)
_NORTH_AMERICAN = re.compile(r"\+1[2-9]\d{9}")
_NORTH_AMERICA: Final = frozenset({"US", "CA"})
_TEN_DIGITS = re.compile(r"\(?([2-9][0-9]{2})\)?[-. ]?([0-9]{3})[-. ]?([0-9]{4})")
"""A number of North America as it is nearly always written; the library takes fifty times as long to say the same."""
_MEXICAN = re.compile(r"\+?521(\d{10})")
_BRAZILIAN_MOBILE = re.compile(r"\+55(\d{2})([6-9]\d{7})")
_PUNCTUATION = re.compile(r"[\s().\-/\u2010-\u2015\u00a0]+")
_ATOM = r"[^@\s<>()\[\]\\,;:\".]"
_EMAIL = re.compile(rf"{_ATOM}+(?:\.{_ATOM}+)*@(?:(?!-){_ATOM}+\.)+{_ATOM}{{2,}}")
LONGEST_EMAIL: Final = 254
LONGEST_PHONE: Final = 60
LEAST_DIGITS: Final = 7
"""Of a text that holds a phone number."""


@lru_cache(maxsize=16384)
def normal_phone(text: str, region: str) -> str:
    """Return a number in E.164, such as `+14155550100`; "" where it is none, or lacks its area code.

    A number without a country code is one of `region`; the channel before it (`whatsapp:`) and an extension after it are
    left out. Mexican numbers lose the 1 that mobile numbers had until 2019, Brazilian mobile numbers get the 9 that they
    lacked until 2016.
    """
    text = _CHANNEL.sub("", text.strip())
    if _NORTH_AMERICAN.fullmatch(text):
        return text
    if region in _NORTH_AMERICA and (match := _TEN_DIGITS.fullmatch(text)):
        return f"+1{match[1]}{match[2]}{match[3]}"
    bare = _PUNCTUATION.sub("", text)
    if match := _MEXICAN.fullmatch(bare):
        return f"+52{match[1]}"
    number = _parsed(text, region)
    if number is None and bare.removeprefix("+").isdigit():
        number = _parsed(f"+{bare.removeprefix('+')}", region)
    return _written(number) if number else ""


@lru_cache(maxsize=1024)
def sought_phone(text: str, region: str) -> str:
    """Return what a search for a number looks for: E.164 where it is complete, else its digits, "" without any.

    A space at the begin is what became of the `+` of a URL.
    """
    text = f"+{text.lstrip()}" if text.startswith(" ") else _CHANNEL.sub("", text.strip())
    if match := _MEXICAN.fullmatch(_PUNCTUATION.sub("", text)):
        return f"+52{match[1]}"
    number = _parsed(text, region)
    return _written(number) if number else digits_of(text)


def _written(number: PhoneNumber) -> str:
    found = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if match := _BRAZILIAN_MOBILE.fullmatch(found):
        return f"+55{match[1]}9{match[2]}"
    return found


def _parsed(text: str, region: str) -> PhoneNumber | None:
    if len(text) > LONGEST_PHONE:
        return None
    number, reason = _judged(text, region)
    return number if reason == ValidationResult.IS_POSSIBLE else None


@lru_cache(maxsize=1024)
def _judged(text: str, region: str) -> tuple[PhoneNumber | None, int]:
    """Return the number that a text is read as, and whether it is a possible one."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None, ValidationResult.INVALID_LENGTH
    return number, phonenumbers.is_possible_number_with_reason(number)


@lru_cache(maxsize=16384)
def may_be_phone(text: str, region: str) -> bool:
    """Tell whether a text can be a phone number of some country, also one that is dialled within an area only."""
    if normal_phone(text, region):
        return True
    _, reason = _judged(_CHANNEL.sub("", text.strip())[:LONGEST_PHONE], region)
    return reason == ValidationResult.IS_POSSIBLE_LOCAL_ONLY


def is_with_more(text: str, region: str) -> bool:
    """Tell whether a text holds more than a phone number: a note, an extension in words, or several numbers."""
    if sum(letter.isdigit() for letter in text) < LEAST_DIGITS:
        return False
    bare = _CHANNEL.sub("", text.strip())
    if any(letter.isalpha() for letter in bare):
        return True
    if bare.removeprefix("+").isdigit():
        return False
    try:
        number = phonenumbers.parse(text[:LONGEST_PHONE], region)
    except NumberParseException as error:
        return error.error_type == NumberParseException.TOO_LONG
    return bool(phonenumbers.is_possible_number_with_reason(number) == ValidationResult.TOO_LONG)


def digits_of(text: str) -> str:
    """Return the digits of a text that is written like a phone number; "" for any other."""
    bare = _PUNCTUATION.sub("", _CHANNEL.sub("", text.strip())).removeprefix("+")
    return bare if bare.isascii() and bare.isdigit() else ""


def normal_email(text: str) -> str:
    """Return an address as it is compared."""
    return text.strip().removeprefix("mailto:").lower()


def may_be_email(text: str) -> bool:
    """Tell whether a text can be an email address."""
    address = text.strip().removeprefix("mailto:")
    return len(address) <= LONGEST_EMAIL and _EMAIL.fullmatch(address) is not None
