import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.reference import Reference, parse

BASE = "https://ehr.example.org/fhir"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient/1", Reference("relative", "Patient/1", "Patient", "1")),
        ("Patient/1/_history/3", Reference("relative", "Patient/1", "Patient", "1", "3")),
        (f"{BASE}/Patient/1", Reference("relative", "Patient/1", "Patient", "1")),
        (f"{BASE}/Patient/1/_history/3", Reference("relative", "Patient/1", "Patient", "1", "3")),
        ("http://o/r4/Patient/1", Reference("absolute", "http://o/r4/Patient/1", "Patient", "1")),
        ("http://o/r4/Patient/1/_history/2", Reference("absolute", "http://o/r4/Patient/1", "Patient", "1", "2")),
        ("#p1", Reference("fragment", "#p1", id="p1")),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", Reference("urn", "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a")),
        ("http://o/Questionnaire/phq|1.0", Reference("canonical", "http://o/Questionnaire/phq", version="1.0")),
        ("http://o/unknown", Reference("canonical", "http://o/unknown")),
        ("Unknown/1", Reference("canonical", "Unknown/1")),
        ("Patient/no id", Reference("canonical", "Patient/no id")),
        ("Patient?identifier=x", Reference("canonical", "Patient?identifier=x")),
        ("", Reference("canonical", "")),
    ],
)
def test_takes_references_apart(text: str, expected: Reference) -> None:
    """Each kind of reference has these parts; those to this server are relative."""
    assert parse(text, BASE) == expected


@pytest.mark.parametrize(
    ("text", "versioned"),
    [
        ("Patient/1/_history/3", "Patient/1/_history/3"),
        ("http://o/q|1", "http://o/q|1"),
        ("Patient/1", ""),
        (f"{BASE}/Patient/1", ""),
    ],
)
def test_gives_the_reference_with_its_version(text: str, versioned: str) -> None:
    """A version is put back as its kind of reference writes it."""
    assert parse(text, BASE).versioned == versioned


def test_only_local_references_have_a_target_here() -> None:
    """An absolute reference to another server is no target of this one."""
    assert parse(f"{BASE}/Patient/1", BASE).target == ("Patient", "1")
    assert parse("http://o/Patient/1", BASE).target is None


@given(st.text(max_size=60))
def test_any_text_is_some_reference(text: str) -> None:
    """No text makes it fail."""
    reference = parse(text, BASE)
    assert parse(reference.versioned or reference.text, BASE) == reference
