import io
import sys
import tarfile
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from fhir_server.fhir.codec import decode
from fhir_server.matching import FIELD
from fhir_server.search.index import entries
from fhir_server.search.referrers import REFS
from fhir_server.search.registry import BUILTIN, Registry

SHARED = Path(__file__).parents[3] / "shared"
EXAMPLES = SHARED / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"


def test_an_empty_resource_has_hardly_an_entry() -> None:
    """A Patient that says nothing is at least not known to be dead."""
    assert entries({"resourceType": "Patient"}) == {"deceased": "false|"}


def test_several_entries_stand_least_and_greatest_first() -> None:
    """So that sorting finds them at a fixed place; a single one stands twice."""
    tags = [{"code": code} for code in "bdac"]
    assert entries({"resourceType": "Basic", "meta": {"tag": tags}})["_tag"] == ["a|", "d|", "b|", "c|"]
    assert entries({"resourceType": "Basic", "meta": {"tag": tags[:1]}})["_tag"] == ["b|", "b|"]


def test_a_value_without_entries_leaves_no_field() -> None:
    """A CodeableConcept with a text only has but that."""
    observation = {
        "resourceType": "Observation",
        "valueCodeableConcept": {"text": "Red"},
        "category": [{}],
        "identifier": [{"use": "old"}],
    }
    assert entries(observation) == {
        "value-concept:text": ["red"],
        "value-string": ["red\x01", "red\x01"],
        "_content": " red old",
    }


def test_null_in_arrays_of_primitives_is_passed_over() -> None:
    """Only an extension stands in its place."""
    patient = {"resourceType": "Patient", "name": [{"given": [None, "Bo"], "_given": [{"extension": []}, None]}]}
    assert entries(patient)["given"] == ["bo\x01", "bo\x01"]


def test_a_registry_without_custom_parameters_shares_the_plans() -> None:
    """Laying an empty registry over the built-in one changes nothing."""
    patient = {"resourceType": "Patient", "gender": "male"}
    assert entries(patient, Registry()) == entries(patient, BUILTIN) == entries(patient)


def test_all_entries_are_bson_and_under_codes_of_parameters() -> None:
    """Keys are parameter codes, with a sub-field after a colon."""
    for resource in official_examples(every=5):
        found = entries(resource)
        bson.encode(found)
        codes = {key.partition(":")[0] for key in found}
        assert codes - {REFS, FIELD} <= BUILTIN.of(resource["resourceType"]).keys()


def test_indexing_a_patient_is_fast() -> None:
    """1.5 kB take far less than the 0.3 ms that a write may spend on it."""
    if not (SHARED / "bench").exists():
        pytest.skip("the load generator is not beside this repository")
    sys.path.insert(0, str(SHARED / "bench"))
    import bench_fhir  # noqa: PLC0415

    patient = bench_fhir.Data(1).patient()
    entries(patient)
    assert min(timeit.repeat(lambda: entries(patient), number=20, repeat=20)) / 20 < 300e-6


def official_examples(every: int = 1) -> Iterator[dict[str, Any]]:
    if not EXAMPLES.exists():
        pytest.skip("the official examples are not beside this repository")
    with tarfile.open(fileobj=io.BytesIO(EXAMPLES.read_bytes())) as archive:
        members = [
            member
            for member in archive
            if (member.name.endswith(".json") and "package/" in member.name) or member.name.endswith(".json")
        ]
        for member in members[::every]:
            file = archive.extractfile(member)
            assert file is not None
            resource = decode(file.read())
            if isinstance(resource, dict) and "resourceType" in resource:
                yield resource
