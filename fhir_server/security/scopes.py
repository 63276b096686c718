"""SMART scopes, version 1 and 2.

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from fhir_server.exchange import Params
from fhir_server.fhir.definitions import RESOURCE_TYPES

LETTERS: Final = "cruds"
"""create, read (with vread and the history of a resource), update and patch, delete, search (with the history of a type)."""
ALL: Final = "*"
_CLINICAL = re.compile(r"(patient|user|system)/([A-Za-z]+|\*)\.([a-z]+|\*)(?:\?(.*))?")
_VERSION_1: Final = {"read": "rs", "write": "cud", "*": LETTERS}


@dataclass(frozen=True, slots=True)
class Scope:
    """What one scope grants."""

    context: str
    """`patient`: the record of the patient in context; `user`: what the person may see; `system`: all of the tenant."""
    type: str
    """A resource type, or `*`."""
    letters: str
    criteria: Params = ()
    """Search parameters that a resource has to match."""


@lru_cache(maxsize=4096)
def parse(text: str) -> Scope | None:
    """Return the scope; None where the text is no scope about resources, or none that R4 gives a meaning to."""
    match = _CLINICAL.fullmatch(text)
    if match is None:
        return None
    context, type_, permissions, query = match.groups()
    letters = _VERSION_1.get(permissions, permissions)
    if not letters or letters != "".join(letter for letter in LETTERS if letter in letters):
        return None
    if type_ not in RESOURCE_TYPES and type_ != ALL:
        return None
    if query is None:
        return Scope(context, type_, letters)
    if permissions in _VERSION_1:
        return None
    criteria = tuple(parse_qsl(query, keep_blank_values=True))
    # What can not be understood must not widen the scope.
    return Scope(context, type_, letters, criteria) if criteria and all(value for _, value in criteria) else None


def parse_all(texts: Iterable[str]) -> list[Scope]:
    """Return those scopes among the texts that are about resources."""
    return [scope for text in sorted(texts) if (scope := parse(text)) is not None]
