"""Lossless JSON."""

import json
from decimal import Decimal
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fhir_server.fhir.codec import decode, encode, parse_number
from fhir_server.fhir.outcome import FhirError

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x02\x03"))
_DECIMALS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
    st.sampled_from([0, 1]),
    st.lists(st.integers(0, 9), min_size=1, max_size=34).map(tuple),
    st.integers(-60, -1),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _DECIMALS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=25,
)


def refused(data: bytes, **options: int) -> str:
    """Return why `data` is refused; it must be with a 400 of the code `structure`."""
    with pytest.raises(FhirError) as caught:
        decode(data, **options)
    assert caught.value.status == 400
    assert caught.value.issues[0].code == "structure"
    return caught.value.issues[0].diagnostics


def written(value: Any, spaces: str) -> bytes:
    """Return JSON from a second writer, with its own white space and escapes."""
    text = json.dumps(value, default=lambda number: f"\x02{number}\x03", indent=spaces or None, ensure_ascii=bool(spaces))
    return text.replace('"\\u0002', "").replace('\\u0003"', "").encode()


def same(left: Any, right: Any) -> bool:
    """Tell whether two trees are equal also in type, order and digits."""
    return repr(left) == repr(right)


@given(_VALUES, st.sampled_from(["", " ", "\t"]))
@example({"a": [Decimal("1.00"), Decimal("-0.0"), Decimal("1E-60")]}, "")
def test_what_another_writer_wrote_is_read_with_all_digits_and_in_order(value: Any, spaces: str) -> None:
    assert same(decode(written(value, spaces), max_depth=150), value)


@given(_VALUES)
def test_what_is_encoded_decodes_to_the_same(value: Any) -> None:
    assert same(decode(encode(value), max_depth=150), value)
    assert same(decode(encode(value, pretty=True), max_depth=150), value)


@given(st.binary() | st.binary().map(lambda data: b'{"a":' + data) | _TEXT.map(str.encode))
def test_no_bytes_raise_anything_but_a_fhir_error(data: bytes) -> None:
    try:
        decode(data)
    except FhirError as error:
        assert error.status == 400


@given(st.data(), st.dictionaries(_TEXT, _VALUES, min_size=1, max_size=5), st.sampled_from(["", " ", "\n", " \t"]))
def test_a_member_that_stands_twice_is_refused_wherever_it_stands(
    data: st.DataObject, members: dict[str, Any], space: str
) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    pairs = [*members.items(), (name, data.draw(_VALUES))]
    order = data.draw(st.permutations(pairs))
    inner = b",".join(json.dumps(key).encode() + space.encode() + b":" + written(value, "") for key, value in order)
    outer = data.draw(st.sampled_from([b"%s", b"[%s]", b'{"x":{"y":[1,%s]},"z":"\\\\u003a"}']))
    assert "more than once" in refused(outer.replace(b"%s", b"{" + inner + b"}"), max_depth=150)


@given(st.text('{}[]":,\\u0123 aA', max_size=30))
def test_it_reads_json_like_text_as_the_standard_library_does(text: str) -> None:
    assume("\\u0000" not in text)
    try:
        expected = json.loads(text, object_pairs_hook=_no_duplicates, parse_float=Decimal)
    except ValueError:
        refused(text.encode())
    else:
        assert same(decode(text.encode()), expected)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1.00", Decimal("1.00")),
        (b"0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        (b"1E+2", Decimal("1E+2")),
        (b"9223372036854775807", 9223372036854775807),
        (b"9223372036854775808", Decimal(9223372036854775808)),
        (b"-9223372036854775809", Decimal(-9223372036854775809)),
        (b"1e6111", Decimal("1E+6111")),
    ],
)
def test_a_number_keeps_its_digits(data: bytes, expected: object) -> None:
    assert same(decode(data), expected)
    assert same(decode(encode(decode(data))), expected)


@pytest.mark.parametrize(
    "text", ["1" * 35, "0." + "1" * 35, "1e6112", "1e-6144", "1e99999999999", "1" * 10_000, "0." + "0" * 10_000 + "1"]
)
def test_a_number_that_no_store_can_hold_is_refused_with_its_place(text: str) -> None:
    why = refused(f'{{"b":"{text}",\n "a": {text}}}'.encode())
    assert why == (
        f"Malformed JSON: the number {text[:40]} has more than 34 digits or an exponent beyond ±6111 (line 2, column 7)."
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "expecting value (line 1, column 1)"),
        (b'{"a":1,\n"b":}', "expecting value (line 2, column 5)"),
        (b'{"a":1} x', "extra data (line 1, column 9)"),
        (b'{"a":1,}', "expecting property name enclosed in double quotes (line 1, column 8)"),
        (b"NaN", "NaN is not a JSON number (line 1, column 1)"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number (line 1, column 6)"),
        (b'"a\nb"', "invalid control character at (line 1, column 3)"),
        (b'{"a":"\xff"}', "the text is not UTF-8 (line 1, column 7)"),
        (b'{"a":"\xed\xa0\x80"}', "the text is not UTF-8 (line 1, column 7)"),
        (
            '{"ä":1,\n"x":[{"b":1,"c":{"b":2},"b" :3}]}'.encode(),
            "the member 'b' stands more than once in one object (line 2, column 25)",
        ),
        (b'{"a":1,"\\u0061":2}', "the member 'a' stands more than once in one object (line 1, column 8)"),
    ],
)
def test_malformed_json_is_refused_with_line_and_column(data: bytes, why: str) -> None:
    assert refused(data) == f"Malformed JSON: {why}."


@pytest.mark.parametrize("data", [b'"a\\u0000b"', b'{"a\\u0000":1}', b'[{"a":["\\u0000"]}]'])
def test_nul_is_refused_in_values_and_names(data: bytes) -> None:
    assert "NUL" in refused(data)


@pytest.mark.parametrize("data", [b'"\\ud800"', b'"\\udfff\\ud800"', b'{"\\uDC00x":1}'])
def test_half_a_surrogate_pair_is_refused(data: bytes) -> None:
    assert "surrogate pair" in refused(data)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert decode(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_nesting_is_accepted_up_to_the_limit_and_refused_beyond(shape: tuple[bytes, bytes]) -> None:
    opening, closing = shape
    levels = 64 // (opening.count(b"[") + opening.count(b"{"))
    decode(opening * levels + b"1" + closing * levels)
    for deeper in (levels + 1, 5000, 200_000):
        assert refused(opening * deeper + b"1" + closing * deeper) == "The body is nested deeper than 64 levels."


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    assert decode(b'["' + b"[{" * 500 + b'"]') == ["[{" * 500]


def test_a_byte_order_mark_is_accepted() -> None:
    assert decode(b'\xef\xbb\xbf{"a":1}') == {"a": 1}


def test_decimal128_of_the_database_is_written_as_a_number() -> None:
    assert encode({"a": Decimal128("1.50")}) == b'{"a":1.50}'


def test_what_has_no_json_form_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode(object())


@given(_DECIMALS | st.integers(-(2**63), 2**63 - 1))
def test_parse_number_reads_a_number_as_decode_does(number: Decimal | int) -> None:
    assert same(parse_number(str(number)), decode(str(number).encode()))


def test_parse_number_refuses_what_decode_refuses() -> None:
    with pytest.raises(ValueError, match="more than 34 digits"):
        parse_number("1" * 35)
