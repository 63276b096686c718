"""Cursors: where a page of results begins.

docs/decisions/0010-keyset-paging.md

A cursor holds the sort values of the row that it starts after, so nothing is kept on the server and rows that others
write meanwhile do not shift the pages. It is sealed for the search that it continues.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import bson

from fhir_server.exchange import Params
from fhir_server.fhir.outcome import bad_request
from fhir_server.store import cursor as sealing
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.repository import Repository

MAX_LENGTH = 16_384


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two rows of a sorted result."""

    type: str
    id: str
    values: tuple[Any, ...]
    """The row's values of the sort keys; None where it has none."""
    backward: bool = False
    """Whether the page ends before the row, instead of starting after it."""
    total: int | None = None
    """The total, where the first page knew it."""


def purpose(scope: str, understood: Params) -> str:
    """Return what binds a cursor to its search: the path and the parameters but `_count`."""
    digest = hashlib.sha256()
    for part in (scope, *(part for pair in understood if pair[0] != "_count" for part in pair)):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return "search " + digest.hexdigest()


async def seal(repo: Repository, cursor: Cursor, bound_to: str) -> str:
    """Return the cursor as an opaque text."""
    members = {"y": cursor.type, "i": cursor.id, "k": list(cursor.values), "b": cursor.backward, "n": cursor.total}
    return await sealing.seal(repo, bound_to, bson.encode(members, codec_options=CODEC_OPTIONS))


async def unseal(repo: Repository, text: str, bound_to: str) -> Cursor:
    """Return the cursor that `seal` made for the same search.

    Raises:
        FhirError: 400 for anything else.
    """
    if len(text) > MAX_LENGTH or not text.isascii():
        raise bad_request("The page cursor is not one that this server gave for this request; start from the first page.")
    members = bson.decode(await sealing.unseal(repo, bound_to, text), codec_options=CODEC_OPTIONS)
    return Cursor(members["y"], members["i"], tuple(members["k"]), members["b"], members["n"])
