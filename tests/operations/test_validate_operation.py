"""$validate: https://hl7.org/fhir/R4/resource-operation-validate.html."""

from typing import Any

import httpx
import pytest

GOOD = {"resourceType": "Patient", "gender": "male"}
BAD = {"resourceType": "Patient", "gender": "blue", "birthDate": "2020-13-01"}


def expressions(answer: httpx.Response) -> list[str]:
    return [issue.get("expression", [""])[0] for issue in answer.json()["issue"] if issue["severity"] == "error"]


def parameters(resource: dict[str, Any] | None, **values: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [{"name": name, "valueCode": value} for name, value in values.items()]
    if resource is not None:
        found.append({"name": "resource", "resource": resource})
    return {"resourceType": "Parameters", "parameter": found}


async def test_a_valid_resource_gets_an_outcome_that_says_so(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient/$validate", json=GOOD)
    assert answer.status_code == 200
    assert {issue["severity"] for issue in answer.json()["issue"]} <= {"information", "warning"}


@pytest.mark.parametrize("body", [BAD, parameters(BAD), parameters(BAD, mode="create")])
async def test_all_that_is_wrong_is_answered_with_200(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post("Patient/$validate", json=body)
    assert answer.status_code == 200
    assert sorted(expressions(answer)) == ["Patient.birthDate", "Patient.gender"]


async def test_invariants_are_checked_too(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient/$validate", json=GOOD | {"contact": [{"gender": "male"}]})
    assert expressions(answer) == ["Patient.contact[0]"]


async def test_an_update_has_to_have_the_id_of_the_instance(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient/a/$validate", json=parameters(GOOD | {"id": "b"}, mode="update"))
    assert expressions(answer) == ["Patient.id"]


async def test_a_stored_resource_can_be_validated_without_a_body(http: httpx.AsyncClient) -> None:
    await http.put("Patient/kept", json=GOOD | {"id": "kept"})
    assert expressions(await http.get("Patient/kept/$validate")) == []
    assert (await http.get("Patient/missing/$validate")).status_code == 404


async def test_a_profile_that_is_not_checked_is_said(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient/$validate?profile=http://example.org/p", json=GOOD)
    assert answer.json()["issue"][-1]["code"] == "not-supported"


@pytest.mark.parametrize("body", [{"resourceType": "Parameters"}, parameters(GOOD, mode="guess")])
async def test_a_request_without_a_resource_or_with_an_unknown_mode_is_400(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post("Patient/$validate", json=body)
    assert answer.status_code == 400


async def test_a_resource_of_another_type_or_of_none_is_an_issue(http: httpx.AsyncClient) -> None:
    assert expressions(await http.post("Patient/$validate", json={})) == ["resourceType"]
    assert expressions(await http.post("Observation/$validate", json=GOOD)) == ["resourceType"]


async def test_deletion_can_be_tried(http: httpx.AsyncClient) -> None:
    await http.put("Patient/doomed", json=GOOD | {"id": "doomed"})
    assert (await http.post("Patient/doomed/$validate?mode=delete")).status_code == 200
    assert (await http.get("Patient/doomed")).status_code == 200
