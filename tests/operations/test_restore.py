"""$restore brings a deleted patient back as it was."""

import asyncio
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of

SSN = "http://hl7.org/fhir/sid/us-ssn"
PATIENT = {
    "resourceType": "Patient",
    "meta": {"tag": [{"system": "urn:t", "code": "a"}]},
    "identifier": [{"system": SSN, "value": "523-45-6789"}],
    "name": [{"family": "Holm"}],
}


async def deleted(http: httpx.AsyncClient) -> dict[str, Any]:
    """Make a patient with two versions, delete it, and return it as it was."""
    made = (await http.post("Patient", json=PATIENT)).json()
    last = (await http.put(f"Patient/{made['id']}", json=made | {"active": True})).json()
    assert (await http.delete(f"Patient/{made['id']}")).status_code == 204
    found: dict[str, Any] = last
    return found


async def restore(http: httpx.AsyncClient, id_: str, **headers: str) -> httpx.Response:
    return await http.post(f"Patient/{id_}/$restore", headers=headers)


async def test_the_last_version_comes_back_with_its_id_its_numbers_and_its_history(http: httpx.AsyncClient) -> None:
    last = await deleted(http)
    answer = await restore(http, last["id"])
    body = answer.json()
    assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"4"')
    assert answer.headers["Location"].endswith(f"/Patient/{last['id']}/_history/4")
    assert body["meta"] == {"versionId": "4", "lastUpdated": body["meta"]["lastUpdated"], "tag": PATIENT["meta"]["tag"]}
    assert {name: value for name, value in body.items() if name != "meta"} == {
        name: value for name, value in last.items() if name != "meta"
    }
    assert (await http.get(f"Patient/{last['id']}")).json() == body
    history = (await http.get(f"Patient/{last['id']}/_history")).json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["PUT", "DELETE", "PUT", "POST"]
    assert (await http.get("Patient", params={"identifier": "523456789"})).json()["total"] == 1


async def test_what_is_not_deleted_or_has_never_been_is_not_restored(http: httpx.AsyncClient) -> None:
    last = await deleted(http)
    assert (await restore(http, last["id"])).status_code == 200
    again = await restore(http, last["id"])
    assert (again.status_code, again.json()["issue"][0]["code"]) == (409, "conflict")
    missing = await restore(http, "nobody")
    assert (missing.status_code, missing.json()["issue"][0]["code"]) == (404, "not-found")
    assert (await http.get(f"Patient/{last['id']}/$restore")).status_code == 405
    assert (await http.post(f"Observation/{last['id']}/$restore")).status_code == 404


async def test_of_those_who_restore_at_once_one_does(http: httpx.AsyncClient) -> None:
    last = await deleted(http)
    answers = await asyncio.gather(*(restore(http, last["id"]) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert (await http.get(f"Patient/{last['id']}")).json()["meta"]["versionId"] == "4"


async def test_a_precondition_names_the_version_of_the_deletion(http: httpx.AsyncClient) -> None:
    last = await deleted(http)
    assert (await restore(http, last["id"], **{"If-Match": 'W/"2"'})).status_code == 412
    assert (await restore(http, last["id"], **{"If-Match": 'W/"3"'})).status_code == 200


@pytest.mark.parametrize("lost", ["gone", "merged"])
async def test_what_can_not_come_back_is_refused(
    http: httpx.AsyncClient, database: AsyncDatabase[dict[str, Any]], tenant: str, lost: str
) -> None:
    last = await deleted(http)
    if lost == "gone":
        await database["Patient_history"].delete_many({"t": tenant})
    else:
        target = (await http.post("Patient", json={"resourceType": "Patient"})).json()
        assert (await restore(http, last["id"])).status_code == 200
        parameters = [
            {"name": "source-patient", "valueReference": {"reference": f"Patient/{last['id']}"}},
            {"name": "target-patient", "valueReference": {"reference": f"Patient/{target['id']}"}},
            {"name": "delete-source", "valueBoolean": True},
        ]
        merged = await http.post("Patient/$merge", json={"resourceType": "Parameters", "parameter": parameters})
        assert merged.status_code == 200, merged.text
    answer = await restore(http, last["id"])
    code = "not-found" if lost == "gone" else "business-rule"
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (422, code)


async def test_a_rule_that_is_new_holds_for_what_comes_back(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    odd = PATIENT | {"telecom": [{"system": "phone", "value": "call me"}]}
    async with client_of(settings.model_copy(update={"invalid_contacts": "warn"}), database) as http:
        made = (await http.post("Patient", json=odd)).json()
        await http.delete(f"Patient/{made['id']}")
    async with client_of(settings, database) as http:
        answer = await restore(http, made["id"])
        assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (422, ["Patient.telecom[0].value"])
