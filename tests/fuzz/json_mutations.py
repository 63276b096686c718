"""Breaks resources in the ways that JSON allows, and in some that it does not."""
# ruff: noqa: E501 - long tables of odd values read best as they are.

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Raw:
    """Text that is written as it is."""

    text: str


@dataclass(frozen=True)
class Twice:
    """An object that repeats one of its members."""

    members: dict[str, Any]


ODD_TEXTS = (
    "", " ", "\n\t ", "\u0000", "a\u0000b", "\ud800", "\udfff x", "\ufffe", "\ufeff", "\u202e", "e\u0301", "\U0001f9d1\u200d\u2695\ufe0f", "\x1f",
    "x" * 70, "ß" * 3000, "$where", "a.b", "$gt", "__proto__", "%00", "../../etc/passwd", "<b>&amp;", "]]>", "#", "#p1", "Patient/", "urn:uuid:",
    "Patient?identifier=a|b", "Patient?", "2020-02-30", "2020", "24:00:00", "9999-12-31T23:59:60Z", "0000", "-0001-01-01", "+1", "1e400",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2016-12-31T23:59:60Z", "true", "null", "http://", "http://[", "urn:oid:1", "Patient/1|2|3",
    "http://x/Patient/1/_history/2#a", 'W/"1"', "\r\nSet-Cookie: a=b",
)  # fmt: skip
ODD_NUMBERS = (
    "0", "-0", "-0.0", "1.00", "1e400", "-1E6111", "1e6112", "1E-6176", "1E-6177", "0e9999", "9" * 34, "9" * 35, "9" * 5000, "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "0." + "0" * 6200 + "1", "1." + "0" * 33, "1." + "0" * 40, "2147483648", "NaN", "-Infinity", "Infinity",
    "01", "1.", ".5", "+1", "0x10", "1e", "--1", "1_000",
)  # fmt: skip
ODD_TOKENS = (
    "",
    "undefined",
    "nul",
    "tru",
    "'x'",
    '"\\x"',
    '"\\u12"',
    '"\\ud800\\u0041"',
    '"unfinished',
    "\x00",
    "//",
    "/**/",
    ",",
    "]",
    "}",
    ":",
)
ODD_NAMES = (
    "", "$where", "$gt", "a.b", "_id", "__proto__", "constructor", "resourceType", "_resourceType", "fhir_comments", "id", "_id", "meta", "extension",
    "\u0000", "\ud800", "é", "name.family", "value", "valueString", "valueFoo", "_value", "x" * 5000, "contained",
)  # fmt: skip

odd_values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"a": {}}, 0, -1, Decimal("1.0"), "x"]),
    st.sampled_from(ODD_TEXTS),
    st.sampled_from(ODD_NUMBERS).map(Raw),
    st.sampled_from(ODD_TOKENS).map(Raw),
    st.integers(1, 5000).map(lambda depth: Raw("[" * depth + "]" * depth)),
    st.integers(1, 3000).map(lambda depth: Raw('{"extension":[' * depth + '{"url":"u"}' + "]}" * depth)),
    st.text(max_size=20),
)
Place = tuple[Any, Any]
_LARGE = 500
"""What is longer than this is repeated once, since repetitions of repetitions grow fast."""
Edit = Callable[[Place], None]


def places(node: Any) -> Iterator[Place]:
    """Yield owner and key of everything below a node."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(pairs):
        yield node, key
        yield from places(value)


def _replace(value: Any) -> Edit:
    def edit(place: Place) -> None:
        place[0][place[1]] = copy.deepcopy(value)

    return edit


def _remove(place: Place) -> None:
    del place[0][place[1]]


def _wrap(place: Place) -> None:
    place[0][place[1]] = [place[0][place[1]]]


def _unwrap(place: Place) -> None:
    value = place[0][place[1]]
    if isinstance(value, list) and value:
        place[0][place[1]] = value[0]


def _repeat(times: int) -> Edit:
    def edit(place: Place) -> None:
        value = place[0][place[1]]
        count = times if len(str(value)) < _LARGE else 2
        place[0][place[1]] = value * count if isinstance(value, list | str) else [value] * count

    return edit


def _add(name: str, value: Any) -> Edit:
    def edit(place: Place) -> None:
        if isinstance(place[0], dict):
            place[0][name] = copy.deepcopy(value)
        else:
            place[0].append(copy.deepcopy(value))

    return edit


def _shadow(value: Any) -> Edit:
    """Return an edit that puts a value beside a primitive, where its extensions stand."""

    def edit(place: Place) -> None:
        if isinstance(place[0], dict):
            place[0][f"_{place[1]}"] = copy.deepcopy(value)

    return edit


def _twice(place: Place) -> None:
    value = place[0][place[1]]
    if isinstance(value, dict) and value:
        place[0][place[1]] = Twice(value)


edits: st.SearchStrategy[Edit] = st.one_of(
    odd_values.map(_replace),
    st.sampled_from([_remove, _wrap, _unwrap, _twice]),
    st.integers(2, 200).map(_repeat),
    st.builds(_add, st.sampled_from(ODD_NAMES), odd_values),
    odd_values.map(_shadow),
)
GENTLE_TEXTS = (
    "$where", "a.b", "x" * 3000, "\u0130\u0131\u017f\ufb03", "\U0001f9d1\u200d\u2695\ufe0f", "e\u0301", "a\tb", "a|b$c\\d,e", "urn:uuid:x", "Patient/x", "#x",
    "http://[", "http://x/Patient/1/_history/2#a", "Patient?identifier=a|b", "%zz", "\u202e", "-", ".*", "\ud7ff", "\U0010ffff", "\u2028", "1", "true",
)  # fmt: skip
GENTLE_NUMBERS = (
    "0", "-0.0", "0.000", "1e400", "-1E6111", "1E-6143", "9999999999999999999999999999999999", "0.1234567890123456789", "1.00", "-1", "2147483647", "1e15",
)  # fmt: skip
GENTLE_DATES = (
    "0001", "0001-01", "0001-01-01", "9999", "9999-12", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999999Z",
    "2016-12-31T23:59:60Z", "2015-02-07T13:28:17.239+02:00", "0001-01-01T00:00:00Z", "2024-02-29", "1582-10-10",
)  # fmt: skip
_DATE = re.compile(r"\d{4}(-\d\d){0,2}(T.*)?")


def _gentle(pick: int) -> Edit:
    """Return an edit that puts another value of the same kind in the place, which is often a valid one."""

    def edit(place: Place) -> None:
        value = place[0][place[1]]
        if isinstance(value, dict) and value:
            edit((value, list(value)[pick % len(value)]))
        elif isinstance(value, list) and value:
            edit((value, pick % len(value)))
        elif isinstance(value, str):
            choice = GENTLE_DATES if _DATE.fullmatch(value) else GENTLE_TEXTS
            place[0][place[1]] = choice[pick % len(choice)]
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            place[0][place[1]] = Raw(GENTLE_NUMBERS[pick % len(GENTLE_NUMBERS)])

    return edit


gentle_mutations: st.SearchStrategy[list[tuple[int, Edit]]] = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 5000).map(_gentle)), min_size=1, max_size=3
)
Mutation = list[tuple[int, Edit]]
mutations: st.SearchStrategy[Mutation] = st.lists(st.tuples(st.integers(0, 5000), edits), min_size=1, max_size=3)


def mutate(resource: Any, mutation: Mutation) -> Any:
    """Apply the edits, each at the place that its number chooses, to a resource, which is changed."""
    for number, edit in mutation:
        found = list(places(resource))
        if found:
            edit(found[number % len(found)])
    return resource


def dumps(value: Any, *, ascii_only: bool = False) -> str:
    """Return the JSON text, or what comes closest."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Twice):
        name = next(iter(value.members))
        inner = dumps(value.members, ascii_only=ascii_only)[1:-1]
        return f"{{{inner},{json.dumps(name)}:{dumps(value.members[name], ascii_only=ascii_only)}}}"
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(dumps(item, ascii_only=ascii_only) for item in value) + "]"
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}:{dumps(item, ascii_only=ascii_only)}" for name, item in value.items())
        return "{" + ",".join(members) + "}"
    return json.dumps(value, ensure_ascii=ascii_only)
