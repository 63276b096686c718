"""Resources as they came from MongoDB, decoded only when somebody looks into them.

A page of a search needs of most resources nothing but their JSON. A version never changes, so its JSON is made once and
kept as long as there is room; while it is kept, the BSON of the same version is not decoded again. Decoding is two
thirds of what a page of twenty patients takes (docs/decisions/0013-stored-forms.md).
What is beside the resource is decoded once, too, as long as it is remembered.
"""

import struct
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions

from fhir_server.exchange import Resource
from fhir_server.fhir.codec import encode
from fhir_server.store.documents import CODEC_OPTIONS

Document = dict[str, Any]
Key = tuple[str, str, int, int]
"""What tells a version from all others: collection, `_id`, version and the writer's token."""

_LENGTH: Final = struct.Struct("<i")
_FIXED: Final = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16}
"""Bytes of the values of BSON types that have one size: https://bsonspec.org/spec.html."""
_DOCUMENT: Final = 0x03
_EXTRA: Final = {0x02: 4, _DOCUMENT: 0, 0x04: 0, 0x05: 5}
"""Bytes of strings, documents, arrays and binaries beyond what their length says."""
_CURSOR: Final = b"\x03cursor\x00"
_BATCH: Final = b"\x04firstBatch\x00"
_BATCH_AT: Final = 4 + len(_CURSOR) + 4
_RESOURCE: Final = b"\x03r\x00"
"""What an answer that brings resources has in it."""
_SHORT: Final = 40
"""What follows a resource and is shorter is the same for many."""
_LONGEST_HEAD: Final = 400
_PLAIN: Final = (str, int, datetime)
_EXHAUSTED: Final = b"\x12id\x00" + bytes(8)


class Stored:
    """The BSON of a resource."""

    __slots__ = ("_bson", "_codec_options")

    def __init__(self, data: bytes, codec_options: CodecOptions[Document]) -> None:
        self._bson = data
        self._codec_options = codec_options

    @property
    def raw(self) -> bytes:
        """The BSON."""
        return self._bson

    def decoded(self) -> Resource:
        """Return the resource, made anew at each call."""
        return bson.decode(self._bson, self._codec_options)


def resource_of(document: Document) -> Resource:
    """Return the resource of a document that has one."""
    found = document["r"]
    return found.decoded() if isinstance(found, Stored) else found


class EncodedCache:
    """The JSON of resources, by version; at most `limit` bytes of it, the most recently used first."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._size = 0
        self._recent: dict[Key, bytes] = {}
        self._older: dict[Key, bytes] = {}

    def json(self, key: Key, stored: Stored) -> bytes:
        """Return the JSON of a stored resource."""
        found = self._recent.get(key)
        if found is None:
            found = self._older.get(key)
            if found is None:
                found = encode(stored.decoded())
            self._keep(key, found)
        return found

    def _keep(self, key: Key, data: bytes) -> None:
        if len(data) > self._half:
            return
        if self._size + len(data) > self._half:
            self._older, self._recent, self._size = self._recent, {}, 0
        self._recent[key] = data
        self._size += len(data)


def is_cursor(answer: bytes) -> bool:
    """Tell whether the answer to a command is a cursor, hence no failure."""
    return answer.startswith(_CURSOR, 4)


def first_batch(answer: bytes, codec_options: CodecOptions[Document]) -> list[Document] | None:
    """Return the documents of an answer to a `find` or an `aggregate` whose cursor is exhausted; None for any other.

    The member `r` of a document is a `Stored`.
    """
    if not is_cursor(answer):
        return None
    if answer.startswith(_EXHAUSTED, _BATCH_AT):
        # The order in which MongoDB answers about a collection that there is not.
        absent: list[Document] = bson.decode(answer, codec_options)["cursor"]["firstBatch"]
        return absent
    if not answer.startswith(_BATCH, _BATCH_AT):
        return None
    at = _BATCH_AT + len(_BATCH)
    end = at + _size(answer, at) - 1
    if not answer.startswith(_EXHAUSTED, end + 1):
        return None
    if _RESOURCE not in answer:
        plain: list[Document] = bson.decode(answer, codec_options)["cursor"]["firstBatch"]
        return plain
    at += 4
    documents = []
    while at < end:
        at = answer.index(0, at + 1) + 1
        size = _size(answer, at)
        documents.append(_document(answer[at : at + size], codec_options))
        at += size
    return documents


def _size(data: bytes, at: int) -> int:
    size: int = _LENGTH.unpack_from(data, at)[0]
    return size


def _document(data: bytes, codec_options: CodecOptions[Document]) -> Document:
    at = data.find(_RESOURCE, 4)
    head = data[4:at] if at > 0 else b""
    document = _heads.copy(head) if at > 0 else None
    if document is None:
        at = _resource_at(data)
        if at < 0:
            return bson.decode(data, codec_options)
        head = data[4:at]
        document = _decoded(head, codec_options)
        _heads.keep(head, document)
    value = at + len(_RESOURCE)
    end = value + _size(data, value)
    document["r"] = Stored(data[value:end], codec_options)
    if end < len(data) - 1:
        tail = data[end:-1]
        document |= (_short(tail) if len(tail) < _SHORT else None) or _decoded(tail, codec_options)
    return document


def _resource_at(data: bytes) -> int:
    """Return where the element `r` begins; -1 where there is none that is a document, or something else is unexpected."""
    at, end = 4, len(data) - 1
    while at < end:
        if data.startswith(_RESOURCE, at):
            return at
        kind = data[at]
        value = data.index(0, at + 1) + 1
        size = _FIXED.get(kind)
        if size is None:
            if kind not in _EXTRA:
                return -1
            size = _size(data, value) + _EXTRA[kind]
        at = value + size
    return -1


def _decoded(elements: bytes, codec_options: CodecOptions[Document]) -> Document:
    return bson.decode(_LENGTH.pack(len(elements) + 5) + elements + b"\0", codec_options)


@lru_cache(maxsize=1024)
def _short(elements: bytes) -> Document | None:
    found = _decoded(elements, CODEC_OPTIONS)
    return found if _is_plain(found) else None


def _is_plain(document: Document) -> bool:
    """Tell whether no value can be changed or depends on who decodes it."""
    return all(isinstance(value, _PLAIN) for value in document.values())


class _Heads:
    """What stands before the resource in documents of late: all but the resource, decoded.

    A head that has been found to consist of whole elements does so wherever the same bytes are followed by a resource, so
    that a version that is read often is taken apart once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: dict[bytes, Document] = {}
        self._older: dict[bytes, Document] = {}

    def copy(self, head: bytes) -> Document | None:
        """Return the members, to be added to; None where they are not known."""
        found = self._recent.get(head)
        if found is None:
            found = self._older.get(head)
            if found is None:
                return None
            self._put(head, found)
        return found.copy()

    def keep(self, head: bytes, document: Document) -> None:
        """Keep what a head has been found to be, unless it is long, can be changed, or depends on who decodes it."""
        if len(head) < _LONGEST_HEAD and _is_plain(document):
            self._put(head, document.copy())

    def _put(self, head: bytes, document: Document) -> None:
        if len(self._recent) >= self._most:
            self._older, self._recent = self._recent, {}
        self._recent[head] = document


_heads = _Heads(4096)
