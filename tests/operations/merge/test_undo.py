"""Patient/$undo-merge, also when other data has changed since."""

from typing import Any

import httpx
import pytest

from fhir_server.fhir.validate import check_invariants, validate
from tests.operations.merge.merge_samples import (
    get,
    merge,
    observation,
    parameters,
    part,
    patient,
    put,
    ref,
    refusal,
    undo,
)

Resource = dict[str, Any]


@pytest.fixture
async def merged(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server where s has been merged into t."""
    await put(
        http,
        patient("s", identifier=[{"value": "1"}]),
        patient("t", identifier=[{"value": "2"}]),
        *(observation(f"o{number}") for number in range(4)),
        observation("p", "t"),
    )
    assert (await merge(http)).status_code == 200
    return http


def content(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "meta"}


async def test_what_nobody_touched_is_as_it_was_in_a_new_version(merged: httpx.AsyncClient) -> None:
    answer = await undo(merged)
    assert answer.status_code == 200, answer.text
    assert part(answer, "task") is None
    assert part(answer, "input") == parameters()
    assert part(answer, "result") == await get(merged, "Patient/t")
    for path in ("Patient/s", "Patient/t", "Observation/o0"):
        now = await get(merged, path)
        assert now["meta"]["versionId"] == "3"
        assert content(now) == content(await get(merged, f"{path}/_history/1"))
    assert (await get(merged, "Observation/p"))["meta"]["versionId"] == "1"


async def test_of_what_was_changed_only_the_reference_moves_back(merged: httpx.AsyncClient) -> None:
    await put(merged, observation("o0", "t", valueString="since"))
    assert (await undo(merged)).status_code == 200
    found = await get(merged, "Observation/o0")
    assert (found["subject"], found["valueString"]) == (ref("Patient/s"), "since")


async def test_what_is_new_stays_with_the_survivor(merged: httpx.AsyncClient) -> None:
    await put(merged, observation("new", "t"))
    assert (await undo(merged)).status_code == 200
    assert (await get(merged, "Observation/new"))["subject"] == ref("Patient/t")


async def test_conflicts_are_left_and_listed_for_a_person(merged: httpx.AsyncClient) -> None:
    await put(merged, patient("u"), observation("o0", "u"))
    await merged.delete("Observation/o1")
    answer = await undo(merged)
    assert answer.status_code == 200, answer.text
    assert (await get(merged, "Observation/o0"))["subject"] == ref("Patient/u")
    assert (await merged.get("Observation/o1")).status_code == 410
    assert (await get(merged, "Observation/o2"))["subject"] == ref("Patient/s")
    task = part(answer, "task")
    assert task == await get(merged, f"Task/{task['id']}")
    assert (task["status"], task["code"]["coding"][0]["code"]) == ("requested", "unmerge")
    listed = {(one["valueReference"]["reference"], one["valueReference"].get("display")) for one in task["output"][2:]}
    assert listed == {("Observation/o0", "Observation.subject.reference"), ("Observation/o1", None)}
    assert not [issue for issue in (*validate(task), *check_invariants(task)) if issue.severity == "error"]
    issues = [issue for issue in part(answer, "outcome")["issue"] if issue["code"] == "conflict"]
    assert [(issue["severity"], issue.get("expression")) for issue in issues] == [
        ("warning", ["Observation.subject.reference"]),
        ("warning", None),
    ]


async def test_what_others_did_to_the_patients_since_stays(merged: httpx.AsyncClient) -> None:
    target, source = await get(merged, "Patient/t"), await get(merged, "Patient/s")
    target["identifier"].append({"value": "3"})
    target["gender"] = "female"
    source["birthDate"] = "1980-01-01"
    await put(merged, target, source)
    answer = await undo(merged)
    assert content(part(answer, "result")) == patient("t", identifier=[{"value": "2"}, {"value": "3"}], gender="female")
    assert content(await get(merged, "Patient/s")) == patient("s", identifier=[{"value": "1"}], birthDate="1980-01-01")
    assert part(answer, "task") is None


async def test_a_member_that_others_moved_is_found_again(http: httpx.AsyncClient) -> None:
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True}
    await put(http, patient("s"), patient("t"), patient("u"))
    await put(http, group | {"member": [{"entity": ref("Patient/s")}, {"entity": ref("Patient/u")}]})
    assert (await merge(http)).status_code == 200
    since = [{"entity": ref("Patient/u")}, {"entity": ref("Patient/new")}, {"entity": ref("Patient/t")}]
    await put(http, group | {"member": since})
    assert (await undo(http)).status_code == 200
    members = [one["entity"]["reference"] for one in (await get(http, "Group/g"))["member"]]
    assert members == ["Patient/u", "Patient/new", "Patient/s"]


async def test_undoing_leaves_a_provenance_and_an_audit_event(merged: httpx.AsyncClient) -> None:
    assert (await undo(merged)).status_code == 200
    records = [one["resource"] for one in (await get(merged, "Provenance?target=Patient/s"))["entry"]]
    record = next(one for one in records if one["activity"]["coding"][0]["code"] == "unmerge")
    assert [one["reference"] for one in record["target"][:2]] == ["Patient/t/_history/3", "Patient/s/_history/3"]
    assert {one["reference"] for one in record["target"][2:]} == {f"Observation/o{number}/_history/3" for number in range(4)}
    assert {name: value for name, value in record["contained"][0].items() if name != "id"} == parameters()
    events = [one["resource"] for one in (await get(merged, "AuditEvent?entity=Patient/s"))["entry"]]
    assert {one["outcomeDesc"] for one in events} == {"Patient/$merge", "Patient/$undo-merge"}


async def test_it_may_be_merged_and_undone_again(merged: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await undo(merged)).status_code == 200
        assert (await get(merged, "Observation/o0"))["subject"] == ref("Patient/s")
        assert (await merge(merged)).status_code == 200
        assert (await get(merged, "Observation/o0"))["subject"] == ref("Patient/t")


async def test_merges_are_taken_back_in_the_opposite_order(merged: httpx.AsyncClient) -> None:
    await put(merged, patient("u"))
    assert (await merge(merged, parameters("t", "u"))).status_code == 200
    answer = await undo(merged)
    assert refusal(answer) == (422, "invalid")
    assert "Patient/t has been merged into Patient/u since" in answer.json()["issue"][0]["diagnostics"]
    assert (await undo(merged, parameters("t", "u"))).status_code == 200
    assert (await undo(merged)).status_code == 200
    for path in ("Patient/s", "Patient/t", "Observation/o0", "Observation/p"):
        assert content(await get(merged, path)) == content(await get(merged, f"{path}/_history/1"))


async def test_two_merges_into_one_are_taken_apart_in_any_order(merged: httpx.AsyncClient) -> None:
    await put(merged, patient("r", identifier=[{"value": "r"}]), observation("q", "r"))
    assert (await merge(merged, parameters("r", "t"))).status_code == 200
    assert (await undo(merged)).status_code == 200
    target = await get(merged, "Patient/t")
    assert target["identifier"] == [{"value": "2"}, {"value": "r", "use": "old"}]
    assert target["link"] == [{"other": ref("Patient/r"), "type": "replaces"}]
    assert (await get(merged, "Observation/q"))["subject"] == ref("Patient/t")
    assert (await undo(merged, parameters("r", "t"))).status_code == 200
    assert content(await get(merged, "Patient/t")) == patient("t", identifier=[{"value": "2"}])


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (("t", "s"), (422, "invalid")),
        (("s", "u"), (422, "invalid")),
        (("s", "nobody"), (422, "not-found")),
        (("nobody", "t"), (422, "not-found")),
    ],
)
async def test_what_was_never_merged_can_not_be_undone(
    merged: httpx.AsyncClient, sides: tuple[str, str], expected: tuple[int, str]
) -> None:
    await put(merged, patient("u"))
    assert refusal(await undo(merged, parameters(*sides))) == expected


async def test_the_patients_may_be_named_by_identifiers(merged: httpx.AsyncClient) -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient-identifier", "valueIdentifier": {"value": "1"}},
            {"name": "target-patient-identifier", "valueIdentifier": {"value": "2"}},
        ],
    }
    assert (await undo(merged, body)).status_code == 200
    assert (await get(merged, "Patient/s"))["active"] is True


@pytest.mark.parametrize("id_", ["s", "t"])
async def test_a_patient_who_was_deleted_since_is_410(merged: httpx.AsyncClient, id_: str) -> None:
    assert (await merged.delete(f"Patient/{id_}")).status_code in (200, 204)
    assert refusal(await undo(merged)) == (410, "deleted")
    assert (await get(merged, "Observation/o0"))["subject"] == ref("Patient/t")


async def test_merge_only_parameters_are_not_known_to_it(merged: httpx.AsyncClient) -> None:
    body = parameters("s", "t", {"name": "preview", "valueBoolean": True})
    assert refusal(await undo(merged, body, Prefer="handling=strict")) == (400, "not-supported")


async def test_links_of_third_patients_move_back(http: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"), patient("u", link=[{"other": ref("Patient/s"), "type": "seealso"}]))
    assert (await merge(http)).status_code == 200
    assert (await undo(http)).status_code == 200
    assert (await get(http, "Patient/u"))["link"] == [{"other": ref("Patient/s"), "type": "seealso"}]
