"""What $merge refuses, and that nothing has changed then."""

from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of
from tests.operations.merge.merge_samples import DELETE, get, merge, observation, parameters, part, patient, put, ref, refusal

Resource = dict[str, Any]


def body(*found: Resource) -> Resource:
    return {"resourceType": "Parameters", **({"parameter": list(found)} if found else {})}


def by_reference(role: str, text: str | None) -> Resource:
    return {"name": f"{role}-patient", "valueReference": {"reference": text} if text else {"display": "somebody"}}


def by_identifier(role: str, value: str, system: str = "urn:mrn") -> Resource:
    return {"name": f"{role}-patient-identifier", "valueIdentifier": {"system": system, "value": value}}


SOURCE, TARGET = by_reference("source", "Patient/s"), by_reference("target", "Patient/t")


@pytest.fixture
async def two(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server with the patients s and t, each with an identifier of its own and one that both have."""
    both = {"system": "urn:both", "value": "x"}
    await put(
        http,
        patient("s", identifier=[{"system": "urn:mrn", "value": "1"}, both]),
        patient("t", identifier=[{"system": "urn:mrn", "value": "2"}, both]),
        observation("o"),
    )
    return http


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"resourceType": "Patient"}, 400, "invalid"),
        (body(TARGET), 400, "required"),
        (body(SOURCE), 400, "required"),
        (body(), 400, "required"),
        (body(SOURCE, by_identifier("source", "1"), TARGET), 400, "invalid"),
        (body(SOURCE, TARGET, by_identifier("target", "1")), 400, "invalid"),
        (body(by_reference("source", None), TARGET), 400, "required"),
        (body(SOURCE, by_reference("target", None)), 400, "required"),
        (body(by_reference("source", "Practitioner/s"), TARGET), 400, "invalid"),
        (body(SOURCE, SOURCE, TARGET), 400, "invalid"),
        (body({"name": "source-patient", "valueString": "Patient/s"}, TARGET), 400, "invalid"),
        (body(SOURCE, TARGET, {"name": "preview", "valueString": "true"}), 400, "invalid"),
        (body(SOURCE, TARGET, {"name": "result-patient", "resource": {"resourceType": "Person"}}), 400, "invalid"),
        (body({"name": "source-patient-identifier", "valueIdentifier": {"system": "urn:mrn"}}, TARGET), 400, "invalid"),
        (body(by_reference("source", "Patient/nobody"), TARGET), 422, "not-found"),
        (body(by_reference("source", "http://elsewhere.example/Patient/s"), TARGET), 422, "not-found"),
        (body(by_reference("source", "Patient/s/_history/7"), TARGET), 422, "conflict"),
        (body(SOURCE, by_reference("target", "Patient/nobody")), 422, "not-found"),
        (body(by_identifier("source", "9"), TARGET), 422, "not-found"),
        (body(by_identifier("source", "1"), by_identifier("source", "2"), TARGET), 422, "not-found"),
        (body(by_identifier("source", "x", "urn:both"), TARGET), 422, "multiple-matches"),
        (body(SOURCE, by_reference("target", "Patient/s")), 422, "invalid"),
        (body(by_identifier("source", "2"), TARGET), 422, "invalid"),
    ],
)
async def test_a_request_that_can_not_be_obeyed_is_refused(
    two: httpx.AsyncClient, sent: Resource, status: int, code: str
) -> None:
    assert refusal(await merge(two, sent)) == (status, code)
    for path in ("Patient/s", "Patient/t", "Observation/o"):
        assert (await get(two, path))["meta"]["versionId"] == "1"


async def test_without_a_body_the_parameters_are_asked_for(two: httpx.AsyncClient) -> None:
    assert refusal(await two.post("Patient/$merge")) == (400, "required")


async def test_all_that_is_wrong_with_a_request_is_told_at_once(two: httpx.AsyncClient) -> None:
    answer = await merge(two, body({"name": "preview", "valueString": "x"}))
    assert [issue["code"] for issue in answer.json()["issue"]] == ["invalid", "required", "required"]
    assert answer.json()["issue"][0]["expression"] == ["Parameters.parameter[0]"]


async def test_patients_are_found_by_identifiers_that_all_match(two: httpx.AsyncClient) -> None:
    named = body(by_identifier("source", "1"), by_identifier("source", "x", "urn:both"), by_identifier("target", "2"))
    answer = await merge(two, named)
    assert answer.status_code == 200, answer.text
    assert part(answer, "result")["id"] == "t"


async def test_the_latest_version_may_be_named(two: httpx.AsyncClient) -> None:
    named = body(by_reference("source", "Patient/s/_history/1"), by_reference("target", "http://test/fhir/Patient/t"))
    assert (await merge(two, named)).status_code == 200


@pytest.mark.parametrize("id_", ["s", "t"])
async def test_a_deleted_patient_is_410(two: httpx.AsyncClient, id_: str) -> None:
    await two.delete(f"Patient/{id_}")
    assert refusal(await merge(two)) == (410, "deleted")


async def test_an_inactive_target_is_refused(two: httpx.AsyncClient) -> None:
    await put(two, patient("t", active=False))
    assert refusal(await merge(two)) == (422, "invalid")


@pytest.mark.parametrize("id_", ["s", "t"])
async def test_a_patient_who_is_replaced_already_is_refused(two: httpx.AsyncClient, id_: str) -> None:
    await put(two, patient("u"), patient(id_, link=[{"other": ref("Patient/u"), "type": "replaced-by"}]))
    assert refusal(await merge(two)) == (422, "invalid")


async def test_merging_twice_is_refused_the_second_time(two: httpx.AsyncClient) -> None:
    assert (await merge(two)).status_code == 200
    assert refusal(await merge(two)) == (422, "invalid")
    assert refusal(await merge(two, parameters("t", "s"))) == (422, "invalid")


LINK = {"other": ref("Patient/s"), "type": "replaces"}
IDENTIFIER = {"system": "urn:mrn", "value": "2"}


@pytest.mark.parametrize(
    ("result", "more"),
    [
        (patient("other", identifier=[IDENTIFIER], link=[LINK]), []),
        (patient("t", link=[LINK]), []),
        (patient("t", identifier=[{"system": "urn:other", "value": "2"}], link=[LINK]), []),
        (patient("t", identifier=[IDENTIFIER]), []),
        (patient("t", identifier=[IDENTIFIER], link=[LINK, LINK]), []),
        (patient("t", identifier=[IDENTIFIER], link=[{"other": ref("Patient/s"), "type": "seealso"}]), []),
        (patient("t", identifier=[IDENTIFIER], link=[{"other": ref("Patient/u"), "type": "replaced-by"}]), []),
        (patient("t", identifier=[IDENTIFIER], link=[LINK]), [DELETE]),
    ],
)
async def test_a_result_that_does_not_fit_is_refused(two: httpx.AsyncClient, result: Resource, more: list[Resource]) -> None:
    sent = body(SOURCE, by_identifier("target", "2"), {"name": "result-patient", "resource": result}, *more)
    assert refusal(await merge(two, sent)) == (400, "invalid")
    assert (await get(two, "Patient/t"))["meta"]["versionId"] == "1"


async def test_a_result_that_is_no_valid_patient_is_refused(two: httpx.AsyncClient) -> None:
    result = patient("t", identifier=[IDENTIFIER], link=[LINK], gender="none of your business")
    answer = await merge(two, parameters("s", "t", {"name": "result-patient", "resource": result}))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Parameters.parameter[2].resource.gender"]


async def test_unknown_parameters_are_ignored_or_refused_as_the_client_prefers(two: httpx.AsyncClient) -> None:
    sent = parameters("s", "t", {"name": "colour", "valueString": "red"})
    assert refusal(await merge(two, sent, Prefer="handling=strict")) == (400, "not-supported")
    answer = await merge(two, sent)
    assert answer.status_code == 200
    assert part(answer, "outcome")["issue"][0]["code"] == "not-supported"


async def test_over_the_bound_the_client_is_told_how_to_go_on(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    async with client_of(settings.model_copy(update={"merge_max": 2}), database) as http:
        await put(http, patient("s"), patient("t"), *(observation(f"o{number}") for number in range(3)))
        answer = await merge(http)
        assert refusal(answer) == (412, "too-costly")
        assert "Prefer: respond-async" in answer.json()["issue"][0]["diagnostics"]
        assert (await get(http, "Patient/s"))["meta"]["versionId"] == "1"


async def test_it_is_an_operation_of_the_type_and_not_for_get(two: httpx.AsyncClient) -> None:
    assert (await two.get("Patient/$merge")).status_code == 405
    assert (await two.post("Patient/s/$merge", json=parameters())).status_code == 404
    assert (await two.post("Observation/$merge", json=parameters())).status_code == 404
