"""$everything: https://hl7.org/fhir/R4/patient-operation-everything.html."""

from typing import Any

import httpx
import pytest

from tests.interactions.test_search import bundle, ids, issues, put, refused


def _ref(text: str) -> dict[str, str]:
    return {"reference": text}


def _observation(id_: str, patient: str, date: str, **more: Any) -> dict[str, Any]:
    found = {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"text": "x"},
        "subject": _ref(f"Patient/{patient}"),
    }
    return found | ({"effectiveDateTime": date} if date else {}) | more


RECORD: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "org", "name": "North"},
    {"resourceType": "Organization", "id": "unrelated", "name": "South"},
    {"resourceType": "Practitioner", "id": "doc"},
    {"resourceType": "Location", "id": "room", "name": "Room"},
    {"resourceType": "Medication", "id": "pill"},
    {
        "resourceType": "Patient",
        "id": "p1",
        "managingOrganization": _ref("Organization/org"),
        "generalPractitioner": [_ref("Practitioner/doc")],
    },
    {"resourceType": "Patient", "id": "p2"},
    {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": _ref("Patient/p1"),
        "period": {"start": "2020-03-01", "end": "2020-03-02"},
        "location": [{"location": _ref("Location/room")}],
    },
    _observation("o1", "p1", "2020-03-01", encounter=_ref("Encounter/e1"), performer=[_ref("Practitioner/doc")]),
    _observation("o2", "p1", "2022-03-01"),
    _observation("o3", "p2", "2020-03-01"),
    _observation("o4", "p1", ""),
    {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": _ref("Patient/p1"),
        "authoredOn": "2020-03-01",
        "medicationReference": _ref("Medication/pill"),
    },
]
MEMBERS = ["Patient/p1", "Encounter/e1", "MedicationRequest/m1", "Observation/o1", "Observation/o2", "Observation/o4"]
OTHERS = ["Location/room", "Medication/pill", "Organization/org", "Practitioner/doc"]


@pytest.fixture
async def record(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server with the record of a patient, and things of others."""
    for resource in RECORD:
        await put(http, resource)
    return http


async def walked(http: httpx.AsyncClient, url: str) -> list[str]:
    found: list[str] = []
    following: str | None = url
    while following is not None:
        page = await bundle(http, following)
        found += ids(page)
        following = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return found


async def test_the_record_is_the_compartment_and_what_it_refers_to(record: httpx.AsyncClient) -> None:
    found = await bundle(record, "Patient/p1/$everything")
    assert ids(found) == [*MEMBERS, *OTHERS]
    assert found["total"] == len(MEMBERS) + len(OTHERS)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 50])
async def test_pages_tell_each_resource_once(record: httpx.AsyncClient, count: int) -> None:
    assert await walked(record, f"Patient/p1/$everything?_count={count}") == [*MEMBERS, *OTHERS]


async def test_start_and_end_bound_the_time_of_care(record: httpx.AsyncClient) -> None:
    """What has no date of care stays, and so does the patient."""
    found = ids(await bundle(record, "Patient/p1/$everything?start=2020-01-01&end=2020-12-31"))
    assert found == [one for one in [*MEMBERS, *OTHERS] if one != "Observation/o2"]
    late = ids(await bundle(record, "Patient/p1/$everything?start=2021"))
    assert late == ["Patient/p1", "Observation/o2", "Observation/o4", "Organization/org", "Practitioner/doc"]


async def test_type_names_the_types_that_are_wanted(record: httpx.AsyncClient) -> None:
    found = ids(await bundle(record, "Patient/p1/$everything?_type=Observation,Practitioner"))
    assert found == ["Observation/o1", "Observation/o2", "Observation/o4", "Practitioner/doc"]


async def test_since_leaves_out_what_was_written_before(record: httpx.AsyncClient) -> None:
    assert ids(await bundle(record, "Patient/p1/$everything?_since=2100-01-01T00:00:00Z")) == []
    assert len(ids(await bundle(record, "Patient/p1/$everything?_since=2000-01-01T00:00:00%2B01:00"))) == 10


@pytest.mark.parametrize(("count", "candidates"), [(50, 250), (3, 250), (1, 1)])
async def test_all_patients_at_the_type_level(
    record: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, count: int, candidates: int
) -> None:
    """Page by page, with what they refer to and nothing else."""
    monkeypatch.setattr("fhir_server.operations.record.CANDIDATES", candidates)
    found = await walked(record, f"Patient/$everything?_count={count}")
    assert found == [
        "Patient/p1",
        "Patient/p2",
        *MEMBERS[1:4],
        "Observation/o2",
        "Observation/o3",
        "Observation/o4",
        *OTHERS,
    ]


async def test_an_encounter_brings_its_patient_and_places(record: httpx.AsyncClient) -> None:
    found = await walked(record, "Encounter/e1/$everything?_count=2")
    assert found == ["Encounter/e1", "Observation/o1", "Location/room", "Patient/p1", "Practitioner/doc"]


async def test_parameters_may_come_in_a_body(record: httpx.AsyncClient) -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueCode": "Encounter"}, {"name": "_count", "valueInteger": 5}],
    }
    answer = await record.post("Patient/p1/$everything", json=body)
    assert answer.status_code == 200, answer.text
    assert ids(answer.json()) == ["Encounter/e1"]


async def test_a_patient_that_is_not_there_is_404_or_410(record: httpx.AsyncClient) -> None:
    assert (await record.get("Patient/nobody/$everything")).status_code == 404
    await record.delete("Patient/p2")
    assert (await record.get("Patient/p2/$everything")).status_code == 410


@pytest.mark.parametrize("query", ["start=never", "_since=x", "_count=0", "_count=x", "_type=Nothing", "_cursor=x"])
async def test_a_malformed_parameter_is_refused(record: httpx.AsyncClient, query: str) -> None:
    assert await refused(record, f"Patient/p1/$everything?{query}")


async def test_an_unknown_parameter_is_ignored_or_under_strict_handling_refused(record: httpx.AsyncClient) -> None:
    found = await bundle(record, "Encounter/e1/$everything?start=2020")
    assert "'start'" in issues(found)[0]["diagnostics"]
    assert "'foo'" in await refused(record, "Patient/p1/$everything?foo=1", Prefer="handling=strict")


async def test_a_merged_patient_leads_to_the_survivor(record: httpx.AsyncClient) -> None:
    link = [{"other": _ref("Patient/p1"), "type": "replaced-by"}]
    await put(record, {"resourceType": "Patient", "id": "old", "active": False, "link": link})
    found = await bundle(record, "Patient/old/$everything")
    assert ids(found) == ["Patient/old", *MEMBERS, *OTHERS] or ids(found) == [*MEMBERS, *OTHERS]
    assert "Patient/p1" in issues(found)[0]["diagnostics"]
    assert "Patient/p1" in await refused(record, "Patient/old/$everything", Prefer="handling=strict")
