"""Lossless JSON.

https://hl7.org/fhir/R4/json.html

A number with a fraction or an exponent is a `Decimal` that keeps its digits (`1.00` stays `1.00`), the order of
members is kept, and what JSON forbids or leaves open (duplicate members, lone surrogates, NUL, numbers that no store
can hold) is refused with its line and column.

The fast path is one call of msgspec. It can not see duplicate members, so what it decoded is encoded again and the
colons on both sides are counted: a member that got lost takes its colon with it. Wherever the counts differ, or
anything else looks unusual, the slow path (the standard library's decoder with hooks) judges.
"""

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

import msgspec
from bson.decimal128 import Decimal128

from fhir_server.fhir.outcome import FhirError, bad_request

_BOM = b"\xef\xbb\xbf"
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|003[aA]|[dD][89a-fA-F])")
_DIGITS_ALIKE = bytes(0x30 if byte in b"0123456789" else byte for byte in range(256))
_LONG_INTEGER = b"0" * 19
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_INT64 = 1 << 63
_MAX_DIGITS = 34
_MAX_NUMBER_LENGTH = 6200


class _RefusedError(ValueError):
    """A number or member that JSON allows and this server does not."""

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self.token = token


def _decimal(text: str) -> Decimal:
    """Return a number with a fraction or an exponent; Decimal128 must be able to hold it."""
    if len(text) <= _MAX_DIGITS and "e" not in text and "E" not in text:
        return Decimal(text)
    if len(text) <= _MAX_NUMBER_LENGTH:
        number = Decimal(text)
        digits, exponent = number.as_tuple()[1:]
        if len(digits) <= _MAX_DIGITS and isinstance(exponent, int) and -6143 <= exponent <= 6111:  # noqa: PLR2004  # Decimal128.
            return number
    raise _RefusedError(f"the number {text[:40]} has more than {_MAX_DIGITS} digits or an exponent beyond ±6111", text)


def _encode_hook(value: object) -> object:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_decoder = msgspec.json.Decoder(float_hook=_decimal)
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=_encode_hook)


def encode(value: Any, *, pretty: bool = False) -> bytes:
    """Return UTF-8 JSON; decimals with the digits that they came with."""
    encoded = _encoder.encode(value)
    return msgspec.json.format(encoded, indent=2) if pretty else encoded


def decode(data: bytes, *, max_depth: int = 64) -> Any:
    """Return the JSON value that `data` (UTF-8, a byte order mark is allowed) holds.

    Raises:
        FhirError: 400 `structure`, with line and column, when it is no such thing or is nested deeper than `max_depth`.
    """
    if data.startswith(_BOM):
        data = data[3:]
    if (b"\\" in data and _SUSPECT_ESCAPE.search(data)) or _LONG_INTEGER in data.translate(_DIGITS_ALIKE):
        return _decode_strictly(data, max_depth)
    try:
        value = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_strictly(data, max_depth)
    if data.count(b":") != _encoder.encode(value).count(b":") or _may_be_deep(data, max_depth):
        return _decode_strictly(data, max_depth)
    return value


def parse_number(text: str) -> int | Decimal:
    """Return the number that a JSON number token stands for, as `decode` does.

    Raises:
        ValueError: it has more digits than can be stored.
    """
    return _decimal(text) if "." in text or "e" in text or "E" in text else _integer(text)


def _may_be_deep(data: bytes, max_depth: int) -> bool:
    """Peel innermost brackets off, a level at a time; brackets inside strings can only make it look deeper."""
    brackets = data.translate(_ONE_KIND_OF_BRACKET, _NO_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"")
    return bool(brackets)


def _decode_strictly(data: bytes, max_depth: int) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, column = _place(data.decode("utf-8", "replace"), len(data[: error.start].decode("utf-8", "replace")))
        raise _malformed("the text is not UTF-8", line, column) from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_members_once,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_no_constant,
            strict=True,
        )
    except json.JSONDecodeError as error:
        raise _malformed(error.msg[0].lower() + error.msg[1:], error.lineno, error.colno) from None
    except _RefusedError as error:
        raise _malformed(str(error), *_place(text, _position(text, error.token))) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    _check_values(value, max_depth)
    return value


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _RefusedError(f"the member {name!r} stands more than once in one object", json.dumps(name))
    return members


def _position(text: str, refused: str) -> int:
    """Return where the refused number stands, or the first repetition of the refused member."""
    objects: list[set[str]] = []
    before, start = "", 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == refused and not token.startswith('"'):
            return match.start()
        if token == "{":  # noqa: S105  # A bracket is no password.
            objects.append(set())
        elif token == "}":  # noqa: S105  # The same.
            objects.pop()
        elif token == ":":  # noqa: S105  # The same.
            name = json.dumps(json.loads(before))
            if name in objects[-1] and name == refused:
                break
            objects[-1].add(name)
        before, start = token, match.start()
    return start


def _integer(text: str) -> int | Decimal:
    if len(text) < len(_LONG_INTEGER):
        return int(text)
    number = _decimal(text)
    return int(number) if -_INT64 <= number < _INT64 else number


def _no_constant(text: str) -> NoReturn:
    raise _RefusedError(f"{text} is not a JSON number", text)


def _check_values(value: Any, max_depth: int) -> None:
    """Refuse NUL, lone surrogates and too deep nesting, without recursion."""
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_text(item)
        if not below:
            return
        level = below
    raise _too_deep(max_depth)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise bad_request(
            "Malformed JSON: a string holds the character NUL (\\u0000), which FHIR does not allow.", code="structure"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise bad_request(
            "Malformed JSON: a string holds half of a surrogate pair (\\ud800 to \\udfff).", code="structure"
        ) from None


def _place(text: str, position: int) -> tuple[int, int]:
    line = text.count("\n", 0, position) + 1
    return line, position - (text.rfind("\n", 0, position) + 1) + 1


def _malformed(what: str, line: int, column: int) -> FhirError:
    return bad_request(f"Malformed JSON: {what} (line {line}, column {column}).", code="structure")


def _too_deep(max_depth: int) -> FhirError:
    return bad_request(f"The body is nested deeper than {max_depth} levels.", code="structure")
