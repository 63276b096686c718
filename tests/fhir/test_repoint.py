"""References to a patient, found and pointed at another one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.repoint import Move, patient_ids, patient_texts, repointed

BASE = "http://test/fhir"
MOVE = Move("s", "t", BASE)
S, T = {"reference": "Patient/s"}, {"reference": "Patient/t"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient/s", "Patient/t"),
        ("Patient/s/_history/3", "Patient/t"),
        (f"{BASE}/Patient/s", f"{BASE}/Patient/t"),
        (f"{BASE}/Patient/s/_history/3", f"{BASE}/Patient/t"),
        ("http://elsewhere.example/fhir/Patient/s", None),
        ("Patient/ss", None),
        ("Patient/t", None),
        ("Practitioner/s", None),
        ("#s", None),
        ("#Patient/s", None),
        ("Patient?identifier=s", None),
        ("urn:uuid:Patient/s", None),
    ],
)
def test_what_a_reference_becomes(text: str, expected: str | None) -> None:
    assert MOVE(text) == expected


def test_what_is_no_literal_reference_stays() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"identifier": {"value": "Patient/s"}, "display": "Patient/s", "type": "Patient"},
        "instantiatesCanonical": "Patient/s",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><a href="Patient/s">s</a></div>'},
        "code": {"text": "Patient/s"},
    }
    assert repointed(resource, MOVE) is resource


def test_references_are_moved_at_any_depth_and_nothing_is_changed_in_place() -> None:
    resource = {
        "resourceType": "Basic",
        "a": [{"b": {"c": [S, T]}}, {"x": 1}],
        "contained": [{"resourceType": "Device", "patient": S}],
    }
    before = repr(resource)
    found = repointed(resource, MOVE)
    assert found == {
        "resourceType": "Basic",
        "a": [{"b": {"c": [T, T]}}, {"x": 1}],
        "contained": [{"resourceType": "Device", "patient": T}],
    }
    assert repr(resource) == before
    assert found["a"][1] is resource["a"][1]  # type: ignore[index]


def test_audit_events_are_never_changed() -> None:
    resource = {"resourceType": "AuditEvent", "entity": [{"what": S}]}
    assert repointed(resource, MOVE) is resource
    assert patient_texts(resource) == []


def test_a_provenance_keeps_versions_and_the_requests_that_it_contains() -> None:
    contained = {"resourceType": "Parameters", "parameter": [{"valueReference": S}]}
    resource = {
        "resourceType": "Provenance",
        "contained": [contained],
        "target": [{"reference": "Patient/s/_history/2"}, S],
        "agent": [{"who": S}],
    }
    assert repointed(resource, MOVE) == {
        "resourceType": "Provenance",
        "contained": [contained],
        "target": [{"reference": "Patient/s/_history/2"}, T],
        "agent": [{"who": T}],
    }
    assert patient_texts(resource) == ["Patient/s/_history/2", "Patient/s", "Patient/s"]


@pytest.mark.parametrize(
    "closed",
    [
        {"type": "document"},
        {"type": "collection", "signature": {"who": {"display": "x"}}},
        {"type": "collection", "entry": [{"resource": {"resourceType": "Patient", "id": "s"}}]},
    ],
)
def test_closed_bundles_stay_as_they_are(closed: dict[str, Any]) -> None:
    entry = {"resource": {"resourceType": "Observation", "subject": S}}
    bundle = {"resourceType": "Bundle", **closed, "entry": [*closed.get("entry", ()), entry]}
    assert repointed(bundle, MOVE) is bundle


def test_other_bundles_lead_outside() -> None:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Basic", "subject": S}}]}
    assert repointed(bundle, MOVE)["entry"][0]["resource"]["subject"] == T


def test_links_tell_the_history_of_merges() -> None:
    links = [{"type": "replaces", "other": S}, {"type": "seealso", "other": S}]
    assert repointed({"resourceType": "Patient", "id": "u", "link": links}, MOVE)["link"] == [
        links[0],
        {"type": "seealso", "other": T},
    ]
    target = {"resourceType": "Patient", "id": "t", "link": links}
    source = {"resourceType": "Patient", "id": "s", "extension": [{"url": "x", "valueReference": S}]}
    assert repointed(target, MOVE) is target
    assert repointed(source, MOVE) is source
    moved = repointed(target | {"extension": [{"url": "x", "valueReference": S}]}, MOVE)
    assert (moved["link"], moved["extension"]) == (links, [{"url": "x", "valueReference": T}])


_LEAVES = st.sampled_from(["Patient/s", "Patient/t", f"{BASE}/Patient/s", "Patient/s/_history/1", "Practitioner/s", "x"])
_NODES = st.recursive(
    st.builds(lambda text: {"reference": text}, _LEAVES) | _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "reference"]), inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from("abc"), _NODES, max_size=3))
def test_afterwards_nothing_refers_to_the_source(members: dict[str, Any]) -> None:
    resource = {"resourceType": "Basic", **members}
    found = repointed(resource, MOVE)
    assert "s" not in set(patient_ids(found, BASE))
    assert ("s" in set(patient_ids(resource, BASE))) == (found is not resource)
    assert repointed(found, MOVE) is found
