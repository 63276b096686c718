"""Patient/$merge: https://build.fhir.org/patient-operation-merge.html."""

import httpx
import pytest

from fhir_server.fhir.validate import check_invariants, validate
from tests.operations.merge.merge_referring import REFERRING, count, moved
from tests.operations.merge.merge_samples import (
    DELETE,
    found_ids,
    get,
    merge,
    observation,
    parameters,
    part,
    patient,
    put,
    ref,
    undo,
)

LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"


async def test_merging_repoints_links_and_deactivates(http: httpx.AsyncClient) -> None:
    await put(
        http,
        patient("s", identifier=[{"system": "urn:mrn", "value": "1"}], name=[{"family": "Old"}], gender="male"),
        patient("t", identifier=[{"system": "urn:mrn", "value": "2"}], name=[{"family": "New"}]),
        observation("o"),
        observation("other", "t"),
    )
    answer = await merge(http)
    assert answer.status_code == 200, answer.text
    result = part(answer, "result")
    assert result == await get(http, "Patient/t")
    assert result["identifier"] == [
        {"system": "urn:mrn", "value": "2"},
        {"system": "urn:mrn", "value": "1", "use": "old"},
    ]
    assert (result["name"], "gender" in result) == ([{"family": "New"}], False)
    assert result["link"] == [{"other": ref("Patient/s"), "type": "replaces"}]
    source = await get(http, "Patient/s")
    assert (source["active"], source["link"]) == (False, [{"other": ref("Patient/t"), "type": "replaced-by"}])
    assert (source["gender"], source["meta"]["versionId"]) == ("male", "2")
    moved = await get(http, "Observation/o")
    assert (moved["subject"], moved["meta"]["versionId"]) == (ref("Patient/t"), "2")
    assert (await get(http, "Observation/other"))["meta"]["versionId"] == "1"
    assert part(answer, "input") == parameters()
    assert "1 resources that refer to it changed" in part(answer, "outcome")["issue"][0]["diagnostics"]
    assert part(answer, "task") is None


async def test_identifiers_that_both_have_are_not_doubled(http: httpx.AsyncClient) -> None:
    same = {"system": "urn:x", "value": "1"}
    await put(http, patient("s", identifier=[same | {"use": "official"}, {"value": "9"}]), patient("t", identifier=[same]))
    result = part(await merge(http), "result")
    assert result["identifier"] == [same, {"value": "9", "use": "old"}]


async def test_references_are_found_wherever_they_stand_in_every_type(http: httpx.AsyncClient) -> None:
    for resource in REFERRING:
        assert not validate(resource), resource
        assert count(resource, "Patient/s"), resource
    await put(http, patient("s"), patient("t"), patient("u", link=[{"other": ref("Patient/s"), "type": "seealso"}]), *REFERRING)
    answer = await merge(http)
    assert f"{len(REFERRING) + 1} resources" in part(answer, "outcome")["issue"][0]["diagnostics"]
    for resource in REFERRING:
        found = await get(http, f"{resource['resourceType']}/x")
        assert found.pop("meta")["versionId"] == "2"
        assert found == moved(resource)
    assert (await get(http, "Patient/u"))["link"] == [{"other": ref("Patient/t"), "type": "seealso"}]
    assert (await undo(http)).status_code == 200
    for resource in REFERRING:
        found = await get(http, f"{resource['resourceType']}/x")
        del found["meta"]
        assert found == resource


async def test_versioned_and_absolute_references_become_references_to_the_survivor(http: httpx.AsyncClient) -> None:
    await put(
        http,
        patient("s"),
        patient("t"),
        observation("v", "s/_history/1"),
        observation("a", "t", performer=[ref("http://test/fhir/Patient/s"), ref("http://other.example/fhir/Patient/s")]),
        observation(
            "i", "t", performer=[{"reference": "Patient/s", "display": "S", "identifier": {"value": "1"}, "type": "Patient"}]
        ),
    )
    assert (await merge(http)).status_code == 200
    assert (await get(http, "Observation/v"))["subject"] == ref("Patient/t")
    assert (await get(http, "Observation/a"))["performer"] == [
        ref("http://test/fhir/Patient/t"),
        ref("http://other.example/fhir/Patient/s"),
    ]
    assert (await get(http, "Observation/i"))["performer"] == [
        {"reference": "Patient/t", "display": "S", "identifier": {"value": "1"}, "type": "Patient"}
    ]


async def test_records_of_what_was_so_at_the_time_stay(http: httpx.AsyncClient) -> None:
    audit = {
        "resourceType": "AuditEvent",
        "id": "e",
        "type": {"code": "rest"},
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"requestor": True}],
        "source": {"observer": {"display": "x"}},
        "entity": [{"what": ref("Patient/s")}],
    }
    provenance = {
        "resourceType": "Provenance",
        "id": "e",
        "target": [ref("Patient/s/_history/1")],
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }
    document = {
        "resourceType": "Bundle",
        "id": "e",
        "type": "document",
        "timestamp": "2020-01-01T00:00:00Z",
        "identifier": {"system": "urn:x", "value": "1"},
        "entry": [{"fullUrl": "urn:uuid:6a3a8a0c-6f2b-4e5a-9c1e-0d4b8f1a2b3c", "resource": observation("in")}],
    }
    collection = {
        "resourceType": "Bundle",
        "id": "c",
        "type": "collection",
        "entry": [{"fullUrl": "urn:uuid:6a3a8a0c-6f2b-4e5a-9c1e-0d4b8f1a2b3d", "resource": observation("in")}],
    }
    await put(http, patient("s"), patient("t"), audit, provenance, collection, document)
    assert (await merge(http)).status_code == 200
    for resource in (audit, provenance, document):
        assert (await get(http, f"{resource['resourceType']}/e"))["meta"]["versionId"] == "1"
    assert (await get(http, "Bundle/c"))["entry"][0]["resource"]["subject"] == ref("Patient/t")
    assert await found_ids(http, "AuditEvent?patient=s&_id=e") == ["e"]


async def test_the_merge_leaves_a_provenance_with_all_targets_and_the_input(http: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"), observation("o"))
    assert (await merge(http)).status_code == 200
    bundle = await get(http, "Provenance?target=Patient/t")
    record = bundle["entry"][0]["resource"]
    assert record["target"] == [ref("Patient/t/_history/2"), ref("Patient/s/_history/2"), ref("Observation/o/_history/2")]
    assert record["activity"]["coding"][0]["code"] == "merge"
    assert record["activity"]["coding"][0]["system"] == LIFECYCLE
    assert record["reason"][0]["coding"][0]["code"] == "PATADMIN"
    assert {name: value for name, value in record["contained"][0].items() if name != "id"} == parameters()
    assert record["entity"] == [{"role": "source", "what": ref("#input")}]
    assert record["recorded"] == record["occurredDateTime"]
    assert not [issue for issue in (*validate(record), *check_invariants(record)) if issue.severity == "error"]


async def test_the_merge_leaves_an_audit_event_about_both_patients(http: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"))
    assert (await merge(http)).status_code == 200
    bundle = await get(http, "AuditEvent?entity=Patient/t")
    record = bundle["entry"][0]["resource"]
    assert [one["what"] for one in record["entity"][:2]] == [ref("Patient/t/_history/2"), ref("Patient/s/_history/2")]
    assert (record["action"], record["outcome"], record["type"]["code"]) == ("E", "0", "rest")
    assert not [issue for issue in (*validate(record), *check_invariants(record)) if issue.severity == "error"]


async def test_the_source_may_be_deleted(http: httpx.AsyncClient) -> None:
    await put(http, patient("s", identifier=[{"value": "1"}]), patient("t"), observation("o"))
    answer = await merge(http, parameters("s", "t", DELETE))
    assert part(answer, "result")["identifier"] == [{"value": "1", "use": "old"}]
    assert "link" not in part(answer, "result")
    assert (await http.get("Patient/s")).status_code == 410
    assert (await get(http, "Observation/o"))["subject"] == ref("Patient/t")
    assert (await undo(http)).status_code == 200
    assert (await get(http, "Patient/s"))["identifier"] == [{"value": "1"}]
    assert (await get(http, "Observation/o"))["subject"] == ref("Patient/s")


async def test_the_client_may_say_what_the_result_is(http: httpx.AsyncClient) -> None:
    await put(http, patient("s", identifier=[{"value": "1"}]), patient("t", gender="male"))
    wanted = patient("t", gender="female", name=[{"family": "Chosen"}], link=[{"other": ref("Patient/s"), "type": "replaces"}])
    answer = await merge(http, parameters("s", "t", {"name": "result-patient", "resource": wanted}))
    assert answer.status_code == 200, answer.text
    assert {name: value for name, value in part(answer, "result").items() if name != "meta"} == wanted


async def test_links_of_earlier_merges_keep_telling_what_happened(http: httpx.AsyncClient) -> None:
    await put(http, patient("r"), patient("s"), patient("t"))
    assert (await merge(http, parameters("r", "s"))).status_code == 200
    assert (await merge(http, parameters("s", "t"))).status_code == 200
    assert (await get(http, "Patient/r"))["link"] == [{"other": ref("Patient/t"), "type": "replaced-by"}]
    assert (await get(http, "Patient/s"))["link"] == [
        {"other": ref("Patient/r"), "type": "replaces"},
        {"other": ref("Patient/t"), "type": "replaced-by"},
    ]
    assert (await get(http, "Patient/t"))["link"] == [{"other": ref("Patient/s"), "type": "replaces"}]


async def test_a_batch_may_hold_merges_and_a_transaction_may_not(http: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"))
    entry = {"resource": parameters(), "request": {"method": "POST", "url": "Patient/$merge"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert (await http.post("", json=bundle)).status_code == 400
    answer = await http.post("", json=bundle | {"type": "batch"})
    assert answer.json()["entry"][0]["response"]["status"].startswith("200")
    assert (await get(http, "Patient/s"))["active"] is False


@pytest.mark.parametrize("number", [1, 2])
async def test_history_tells_each_step(http: httpx.AsyncClient, number: int) -> None:
    await put(http, patient("s"), patient("t"), observation("o"))
    assert (await merge(http)).status_code == 200
    found = await get(http, f"Observation/o/_history/{number}")
    assert found["subject"] == ref("Patient/s" if number == 1 else "Patient/t")
