"""Reads, searches and writes that name a patient who has been merged into another."""

from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of
from tests.operations.merge.merge_samples import (
    DELETE,
    found_ids,
    get,
    merge,
    observation,
    parameters,
    patient,
    put,
    ref,
    refusal,
    undo,
)


@pytest.fixture
async def merged(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server where s has been merged into t."""
    await put(http, patient("s"), patient("t", name=[{"family": "Kept"}]), patient("u"), observation("o"), observation("p", "t"))
    assert (await merge(http)).status_code == 200
    return http


def outcomes(bundle: dict[str, Any]) -> list[str]:
    found = [one["resource"] for one in bundle["entry"] if one["search"]["mode"] == "outcome"]
    return [issue["diagnostics"] for outcome in found for issue in outcome["issue"]]


TOLD = ["Patient/s has been merged into Patient/t, whose record is searched as well."]


async def test_the_source_is_read_with_its_link(merged: httpx.AsyncClient) -> None:
    source = await get(merged, "Patient/s")
    assert (source["active"], source["link"]) == (False, [{"other": ref("Patient/t"), "type": "replaced-by"}])
    assert (await get(merged, "Patient/s/_history/1"))["active"] is True


@pytest.mark.parametrize(
    "path",
    [
        "Observation?patient=s",
        "Observation?subject=Patient/s",
        "Observation?subject:Patient=s",
        "Observation?subject=http://test/fhir/Patient/s",
        "Observation?patient=nobody,s",
        "Observation?subject._id=s",
        "Observation?patient.family=kept&patient=s",
        "Observation?_filter=patient eq s",
        "Patient/s/Observation",
    ],
)
async def test_a_search_by_the_source_finds_what_is_the_survivors(merged: httpx.AsyncClient, path: str) -> None:
    bundle = await get(merged, path)
    assert await found_ids(merged, path) == ["o", "p"]
    assert outcomes(bundle) == TOLD
    assert bundle["total"] == 2


async def test_the_source_and_the_survivor_are_found_by_the_id_of_the_source(merged: httpx.AsyncClient) -> None:
    assert await found_ids(merged, "Patient?_id=s") == ["s", "t"]
    assert outcomes(await get(merged, "Patient?_id=s")) == TOLD
    assert await found_ids(merged, "Patient?_has:Observation:patient:_id=o&_id=s") == ["t"]


async def test_other_searches_say_nothing_of_it(merged: httpx.AsyncClient) -> None:
    bundle = await get(merged, "Observation?patient=t")
    assert await found_ids(merged, "Observation?patient=t") == ["o", "p"]
    assert outcomes(bundle) == []
    assert await found_ids(merged, "Observation?_id=s") == []
    assert await found_ids(merged, "Observation?performer:Practitioner=s") == []


async def test_a_search_follows_several_merges(merged: httpx.AsyncClient) -> None:
    assert (await merge(merged, parameters("t", "u"))).status_code == 200
    assert await found_ids(merged, "Observation?patient=s") == ["o", "p"]
    assert outcomes(await get(merged, "Observation?patient=s")) == [
        "Patient/s has been merged into Patient/u, whose record is searched as well."
    ]
    assert (await get(merged, "Patient/s"))["link"] == [{"other": ref("Patient/u"), "type": "replaced-by"}]


async def test_the_whole_record_of_the_source_is_the_survivors(merged: httpx.AsyncClient) -> None:
    bundle = await get(merged, "Patient/s/$everything")
    found = {f"{one['resource']['resourceType']}/{one['resource'].get('id')}" for one in bundle["entry"]}
    assert found >= {"Patient/t", "Observation/o", "Observation/p"}
    assert "Patient/t" in outcomes(bundle)[0]
    answer = await merged.get("Patient/s/$everything", headers={"Prefer": "handling=strict"})
    assert refusal(answer) == (400, "not-supported")
    assert "Patient/t" in answer.json()["issue"][0]["diagnostics"]


async def test_writes_that_refer_to_the_source_are_rerouted_and_say_so(merged: httpx.AsyncClient) -> None:
    answer = await merged.post("Observation", json=observation("x"), headers={"Prefer": "return=OperationOutcome"})
    assert answer.status_code == 201
    issue = answer.json()["issue"][0]
    assert (issue["severity"], issue["expression"]) == ("warning", ["Observation.subject.reference"])
    made = await get(merged, answer.headers["Location"].removeprefix("http://test/fhir/"))
    assert made["subject"] == ref("Patient/t")
    await put(merged, observation("y"))
    assert (await get(merged, "Observation/y"))["subject"] == ref("Patient/t")
    patch = [{"op": "replace", "path": "/subject/reference", "value": "Patient/s"}]
    answer = await merged.patch("Observation/y", json=patch, headers={"Content-Type": "application/json-patch+json"})
    assert answer.json()["subject"] == ref("Patient/t")


async def test_conditional_writes_find_what_is_the_survivors(merged: httpx.AsyncClient) -> None:
    answer = await merged.put("Observation?patient=s&_id=o", json=observation("o"))
    assert answer.status_code == 200
    assert answer.json()["subject"] == ref("Patient/t")
    answer = await merged.post("Observation", json=observation("z"), headers={"If-None-Exist": "subject=Patient/s&_id=o"})
    assert answer.status_code == 200


async def test_references_that_are_no_references_to_the_source_stay(merged: httpx.AsyncClient) -> None:
    kept = observation(
        "k", "t", performer=[{"identifier": {"value": "Patient/s"}, "display": "Patient/s"}], derivedFrom=[ref("Observation/s")]
    )
    await put(merged, kept)
    found = await get(merged, "Observation/k")
    assert (found["performer"], found["derivedFrom"]) == (kept["performer"], kept["derivedFrom"])


async def test_writes_that_refer_to_the_source_are_refused_where_the_setting_says_so(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    async with client_of(settings.model_copy(update={"merged_references": "refuse"}), database) as http:
        await put(http, patient("s"), patient("t"))
        assert (await merge(http)).status_code == 200
        answer = await http.post("Observation", json=observation("x"))
        assert refusal(answer) == (422, "business-rule")
        assert answer.json()["issue"][0]["expression"] == ["Observation.subject.reference"]
        assert (await http.post("Observation", json=observation("x", "t"))).status_code == 201


async def test_a_merged_patient_keeps_its_link_and_may_change_else(merged: httpx.AsyncClient) -> None:
    source = await get(merged, "Patient/s")
    for changed in (patient("s"), source | {"active": True}, {**source, "link": []}):
        without = {name: value for name, value in changed.items() if value != []}
        assert refusal(await merged.put("Patient/s", json=without)) == (422, "business-rule")
    assert (await merged.put("Patient/s", json=source | {"gender": "male"})).status_code == 200


async def test_a_source_that_was_deleted_is_still_followed(http: httpx.AsyncClient) -> None:
    await put(http, patient("s"), patient("t"), observation("o"))
    answer = await merge(http, parameters("s", "t", DELETE))
    assert answer.status_code == 200
    assert "link" not in await get(http, "Patient/t")
    assert (await http.get("Patient/s")).status_code == 410
    assert await found_ids(http, "Observation?patient=s") == ["o"]
    record = await get(http, "Patient/s/$everything")
    assert {one["resource"].get("id") for one in record["entry"]} >= {"t", "o"}
    assert (await http.get("Patient/s/$everything", headers={"Prefer": "handling=strict"})).status_code == 400
    assert (await http.post("Observation", json=observation("x"))).json()["subject"] == ref("Patient/t")
    assert refusal(await http.put("Patient/s", json=patient("s"))) == (422, "business-rule")


async def test_after_undoing_the_source_is_itself_again(merged: httpx.AsyncClient) -> None:
    assert (await undo(merged)).status_code == 200
    assert await found_ids(merged, "Observation?patient=s") == ["o"]
    assert outcomes(await get(merged, "Observation?patient=s")) == []
    assert (await merged.post("Observation", json=observation("x"))).json()["subject"] == ref("Patient/s")
    assert (await merged.put("Patient/s", json=patient("s"))).status_code == 200


async def test_tenants_know_nothing_of_each_others_merges(
    merged: httpx.AsyncClient, settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    del merged
    async with client_of(settings.model_copy(update={"default_tenant": f"{settings.default_tenant}b"}), database) as other:
        await put(other, patient("s"), patient("t"), observation("o"))
        assert (await get(other, "Observation/o"))["subject"] == ref("Patient/s")
        assert outcomes(await get(other, "Observation?patient=s")) == []


async def test_a_condition_that_source_and_survivor_meet_means_the_survivor(http: httpx.AsyncClient) -> None:
    number = {"system": "urn:mrn", "value": "1"}
    await put(http, patient("r", identifier=[number]), patient("s", identifier=[number]), patient("t"))
    condition = "identifier=urn:mrn|1"
    assert refusal(await http.put(f"Patient?{condition}", json={"resourceType": "Patient"})) == (412, "multiple-matches")
    for source in ("r", "s"):
        assert (await merge(http, parameters(source, "t"))).status_code == 200
    answer = await http.post("Patient", json={"resourceType": "Patient"}, headers={"If-None-Exist": condition})
    assert (answer.status_code, answer.json()["id"]) == (200, "t")
    entry = {
        "resource": observation("c") | {"subject": ref(f"Patient?{condition}")},
        "request": {"method": "PUT", "url": "Observation/c"},
    }
    assert (await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})).status_code == 200
    assert (await get(http, "Observation/c"))["subject"] == ref("Patient/t")
