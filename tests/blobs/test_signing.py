"""URLs and grants that this server signs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.blobs.service import disposition
from fhir_server.blobs.signing import check_signed, grant, is_granted, signed
from fhir_server.fhir.outcome import FhirError

SECRET = b"s" * 32
VALUES = st.dictionaries(st.sampled_from(["type", "name", "x"]), st.text(max_size=20), max_size=3)


@given(VALUES, st.integers(1000, 2**33))
def test_what_is_signed_is_good_until_it_expires(values: dict[str, str], expires: int) -> None:
    query = signed(SECRET, "/blobs/t/ab", values, expires)
    check_signed(SECRET, "/blobs/t/ab", query, expires)
    with pytest.raises(FhirError) as caught:
        check_signed(SECRET, "/blobs/t/ab", query, expires + 1)
    assert caught.value.status == 403


@given(VALUES, st.sampled_from(["type", "name", "x", "expires", "signature", "more"]), st.text(max_size=5))
def test_nothing_of_it_can_be_changed(values: dict[str, str], name: str, value: str) -> None:
    query = signed(SECRET, "/blobs/t/ab", values, 5000)
    changed = query | {name: value}
    if changed != query:
        with pytest.raises(FhirError):
            check_signed(SECRET, "/blobs/t/ab", changed, 1000)
    for path, secret in (("/blobs/u/ab", SECRET), ("/blobs/t/ab", b"t" * 32)):
        with pytest.raises(FhirError):
            check_signed(secret, path, query, 1000)
    with pytest.raises(FhirError):
        check_signed(SECRET, "/blobs/t/ab", {}, 1000)


def test_a_grant_is_for_one_content_of_one_tenant_and_for_some_hours() -> None:
    made = grant(SECRET, "t", "ab", 1000)
    assert is_granted(SECRET, made, "t", "ab", 1000 + 6 * 3600)
    assert not is_granted(SECRET, made, "t", "ab", 1001 + 6 * 3600)
    assert not is_granted(SECRET, made, "u", "ab", 1000)
    assert not is_granted(SECRET, made, "t", "cd", 1000)
    assert not is_granted(SECRET, "", "t", "ab", 1000)
    assert not is_granted(SECRET, made.replace(made[:2], "99"), "t", "ab", 1000)


@given(st.text(max_size=60))
def test_a_file_name_can_not_leave_its_header(name: str) -> None:
    made = disposition(name)
    assert made.startswith("attachment")
    assert made.isascii()
    assert "\r" not in made
    assert "\n" not in made
    assert made.count('"') in (0, 2)
