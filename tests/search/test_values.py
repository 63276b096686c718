import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.search.values import escape, split_escaped, split_prefix, unescape


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (r"a\,b,c", [r"a\,b", "c"]),
        (r"a\\,b", [r"a\\", "b"]),
        (r"a\|b", [r"a\|b"]),
        (",", ["", ""]),
        ("a,", ["a", ""]),
        ("a\\", ["a\\"]),
        ("a,b\\", ["a", "b\\"]),
    ],
)
def test_splits_where_no_backslash_escapes(value: str, parts: list[str]) -> None:
    """An escaped separator is part of the value."""
    assert split_escaped(value, ",") == parts


def test_resolves_escapes_once() -> None:
    r"""`\,` `\|` `\$` `\\` are the characters, any other backslash stands for itself."""
    assert unescape(r"a\,b\|c\$d\\,e\f") == r"a,b|c$d\,e\f"


@given(st.lists(st.text(), min_size=1), st.sampled_from(",|$"))
def test_what_was_escaped_comes_back(parts: list[str], separator: str) -> None:
    """Splitting and unescaping undo joining and escaping."""
    joined = separator.join(escape(part) for part in parts)
    assert [unescape(part) for part in split_escaped(joined, separator)] == parts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2012", ("eq", "2012")),
        ("ge2012", ("ge", "2012")),
        ("ap-1.5", ("ap", "-1.5")),
        ("yesterday", ("eq", "yesterday")),
        ("", ("eq", "")),
    ],
)
def test_splits_off_the_prefix(value: str, expected: tuple[str, str]) -> None:
    """Without a prefix it is eq."""
    assert split_prefix(value) == expected


def test_refuses_an_unknown_prefix() -> None:
    """Two letters before a number that are no prefix are an error."""
    with pytest.raises(FhirError, match="'xx' in 'xx2012' is no comparison prefix"):
        split_prefix("xx2012")
