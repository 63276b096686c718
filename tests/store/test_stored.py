"""Resources that are decoded only when somebody looks into them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.codec import decode, encode
from fhir_server.store.documents import CODEC_OPTIONS
from fhir_server.store.stored import EncodedCache, Stored, first_batch
from fhir_server.store.versions import StoredVersion, Version

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00.$"), min_size=1, max_size=5)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=9)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3).filter(lambda found: abs(found) < 10**20)
    | st.binary(max_size=5)
    | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=8
)
_DOCUMENTS = st.dictionaries(_NAMES, _VALUES, max_size=6).flatmap(
    lambda rest: st.permutations([*rest.items(), ("r", {"id": "1", "r": {"r": 1}})]).map(dict)
)


def _answer(documents: list[dict[str, Any]], cursor_id: int = 0) -> bytes:
    return bson.encode(
        {"cursor": {"firstBatch": documents, "id": Int64(cursor_id), "ns": "fhir.Patient"}, "ok": 1.0},
        codec_options=CODEC_OPTIONS,
    )


@given(st.lists(_DOCUMENTS | st.dictionaries(_NAMES, _VALUES, max_size=3), max_size=4))
def test_a_batch_is_read_as_a_whole_decoder_reads_it(documents: list[dict[str, Any]]) -> None:
    answer = _answer(documents)

    found = first_batch(answer, CODEC_OPTIONS)

    assert found is not None
    opened = [{name: value.decoded() if isinstance(value, Stored) else value for name, value in one.items()} for one in found]
    assert opened == bson.decode(answer, CODEC_OPTIONS)["cursor"]["firstBatch"]
    assert all(isinstance(one["r"], Stored) for one in found if isinstance(one.get("r"), Stored | dict))


async def test_a_collection_that_there_is_not_is_found_empty(client: Any, tenant: str) -> None:
    options = CodecOptions(document_class=RawBSONDocument)
    answer = await client[f"absent{tenant}"].command({"find": "Patient", "filter": {}}, codec_options=options)
    assert first_batch(bytes(answer.raw), CODEC_OPTIONS) == []


def test_documents_that_begin_or_end_alike_are_documents_of_their_own() -> None:
    """What has been seen before is copied, and nobody's changes are seen by others."""
    first = {"_id": "t/1", "v": 1, "r": {"id": "1"}, "_b": 0}
    others = [{**first, "_b": 1}, {**first, "r": {"id": "2"}}, {"_id": "t/1", "v": 1}, {"_id": "t/1", "v": 1, "x": [1], "r": {}}]
    ends = [{"_id": "t/2", "r": {}, "list": [1]}, {"_id": "t/3", "r": {}, "list": [1]}]
    for _ in range(3):
        found = first_batch(_answer([first, *others, *ends]), CODEC_OPTIONS)
        assert found is not None
        for one, expected in zip(found, [first, *others, *ends], strict=True):
            assert {name: value.decoded() if isinstance(value, Stored) else value for name, value in one.items()} == expected
            one["v"] = "changed"
            for value in one.values():
                if isinstance(value, list):
                    value.append(2)
            one.pop("_b", None)


@pytest.mark.parametrize(
    "answer",
    [
        _answer([{"r": {}}], cursor_id=7),
        bson.encode({"n": 3, "ok": 1.0}),
        bson.encode({"ok": 0.0, "errmsg": "no", "code": 50}),
        bson.encode({"cursor": {"ns": "fhir.Patient", "firstBatch": [], "id": Int64(0)}, "ok": 1.0}),
    ],
    ids=["more batches", "no cursor", "a failure", "another order"],
)
def test_what_is_no_exhausted_cursor_is_left_to_others(answer: bytes) -> None:
    assert first_batch(answer, CODEC_OPTIONS) is None


def _version(number: int = 1, resource: dict[str, Any] | None = None) -> StoredVersion:
    resource = resource or {"resourceType": "Basic", "id": "a", "extension": [{"url": "x", "valueDecimal": Decimal("1.00")}]}
    stored = Stored(bson.encode(resource, codec_options=CODEC_OPTIONS), CODEC_OPTIONS)
    document = {"_id": "t/a", "i": "a", "v": number, "u": datetime(2026, 1, 1, tzinfo=UTC), "m": "PUT", "w": 5, "r": stored}
    version = Version.from_document("Basic", document)
    assert isinstance(version, StoredVersion)
    return version


def test_a_stored_version_has_the_resource_and_the_json_of_it() -> None:
    version = _version()

    assert decode(version.json(EncodedCache(1000))) == version.resource
    assert b"1.00" in version.json(EncodedCache(1000))
    assert not version.deleted


def test_a_stored_version_equals_the_version_that_was_written() -> None:
    version = _version()

    assert version == Version("Basic", "a", 1, version.last_updated, "PUT", version.resource, 5)
    assert version != Version("Basic", "a", 2, version.last_updated, "PUT", version.resource, 5)


def test_the_json_of_a_version_is_made_once_while_it_is_kept() -> None:
    cache = EncodedCache(1000)

    assert _version().json(cache) is _version().json(cache)
    assert _version(2).json(cache) is not _version().json(cache)


def test_a_cache_forgets_what_was_not_used_lately_and_keeps_within_its_bound() -> None:
    one = len(encode(_version().resource))
    cache = EncodedCache(4 * one)
    first, used = _version(1).json(cache), _version(2).json(cache)
    for number in range(3, 9):
        _version(number).json(cache)
        assert _version(2).json(cache) is used

    assert _version(1).json(cache) is not first
    assert sum(len(data) for kept in (cache._recent, cache._older) for data in kept.values()) <= 4 * one


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = EncodedCache(0)

    assert _version().json(cache) is not _version().json(cache)
