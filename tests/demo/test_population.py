"""The demonstration population: what may be relied on."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest

from fhir_server.demo import population, resources_of
from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.validate import check_invariants, validate


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    """The default population."""
    return list(resources_of())


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert [encode(bundle) for bundle in population(30, 5)] == [encode(bundle) for bundle in population(30, 5)]


def test_another_seed_gives_other_ids_and_other_people() -> None:
    one, other = ({(r["resourceType"], r["id"]): r for r in resources_of(20, seed)} for seed in (1, 2))
    assert not one.keys() & other.keys()
    assert one["Patient", "demo-patient-1"]["name"] != other["Patient", "demo2-patient-1"]["name"]


def test_a_patient_is_the_same_in_a_population_of_any_size() -> None:
    small = {(r["resourceType"], r["id"]): r for r in resources_of(10)}
    large = {(r["resourceType"], r["id"]): r for r in resources_of(130)}
    assert small.items() <= large.items()


def test_bundles_are_transactions_of_puts_with_the_id_of_the_resource() -> None:
    for bundle in population():
        assert bundle["type"] == "transaction"
        assert len(bundle["entry"]) <= 300
        for entry in bundle["entry"]:
            resource = entry["resource"]
            assert entry["request"] == {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}


def test_every_reference_leads_to_a_resource_of_the_same_or_an_earlier_bundle() -> None:
    known: set[str] = set()
    for bundle in population(60):
        known |= {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in bundle["entry"]}
        wanted = {node["reference"] for node in nodes(bundle) if isinstance(node.get("reference"), str)}
        assert wanted - known == set()


def test_no_two_resources_share_an_id_or_a_business_identifier(resources: list[dict[str, Any]]) -> None:
    ids = Counter((r["resourceType"], r["id"]) for r in resources)
    identified = (r for r in resources if "identifier" in r)
    identifiers = Counter((r["resourceType"], i["system"], i["value"]) for r in identified for i in r["identifier"])
    assert [key for counts in (ids, identifiers) for key, count in counts.items() if count > 1] == []


def test_it_holds_what_a_practice_holds(resources: list[dict[str, Any]]) -> None:
    counts = Counter(r["resourceType"] for r in resources)
    assert counts["Patient"] == 120
    assert counts.keys() == {
        *("AllergyIntolerance", "Appointment", "Binary", "CarePlan", "Communication", "CommunicationRequest", "Condition"),
        *("Consent", "Coverage", "DiagnosticReport", "DocumentReference", "Encounter", "Goal", "Immunization", "Location"),
        *("MedicationRequest", "Observation", "Organization", "Patient", "Practitioner", "PractitionerRole", "Procedure"),
        *("RelatedPerson", "Schedule", "Slot", "Task"),
    }


def test_messages_go_over_all_four_channels(resources: list[dict[str, Any]]) -> None:
    modes = {r["medium"][0]["coding"][0]["code"] for r in resources if r["resourceType"] == "Communication"}
    assert modes == {"SMSWRIT", "APPWRIT", "EMAILWRIT", "PHONE"}


def test_names_come_in_several_scripts(resources: list[dict[str, Any]]) -> None:
    text = "".join(name.get("text", "") for r in resources if r["resourceType"] == "Patient" for name in r["name"])
    assert any("\u4e00" <= letter <= "\u9fff" for letter in text)
    assert any("\u0600" <= letter <= "\u06ff" for letter in text)


def test_every_date_is_a_date_and_no_record_is_of_the_future(resources: list[dict[str, Any]]) -> None:
    today = date(2026, 11, 24)
    for resource in resources:
        for name in (
            "effectiveDateTime",
            "performedDateTime",
            "occurrenceDateTime",
            "recordedDate",
            "onsetDateTime",
            "issued",
            "sent",
        ):
            if name in resource and resource["resourceType"] != "CommunicationRequest":
                assert datetime.fromisoformat(resource[name]).date() <= today, resource["id"]


def test_nobody_is_seen_before_birth_or_after_death(resources: list[dict[str, Any]]) -> None:
    patients = {r["id"]: r for r in resources if r["resourceType"] == "Patient"}
    for encounter in (r for r in resources if r["resourceType"] == "Encounter"):
        patient = patients[encounter["subject"]["reference"].removeprefix("Patient/")]
        day = encounter["period"]["start"][:10]
        assert patient["birthDate"] <= day <= patient.get("deceasedDateTime", "9999")


def test_no_two_coming_appointments_take_the_same_time_of_the_same_practitioner(resources: list[dict[str, Any]]) -> None:
    taken = Counter((r["schedule"]["reference"], r["start"]) for r in resources if r["resourceType"] == "Slot")
    assert max(taken.values()) == 1


def test_json_keeps_every_digit(resources: list[dict[str, Any]]) -> None:
    for resource in resources[:2000]:
        assert encode(decode(encode(resource))) == encode(resource)


def test_every_resource_and_every_bundle_is_valid(resources: list[dict[str, Any]]) -> None:
    assert [(r["resourceType"], r["id"], issues) for r in resources if (issues := validate(r))] == []
    assert [issues for bundle in population(10) if (issues := validate(bundle))] == []


def test_every_resource_keeps_the_invariants_of_the_specification() -> None:
    found = ((r["id"], [issue for issue in check_invariants(r) if issue.severity == "error"]) for r in resources_of(4))
    assert [(id_, issues) for id_, issues in found if issues] == []
