"""read, vread, create, update and delete over HTTP: https://hl7.org/fhir/R4/http.html."""

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of

PATIENT = {"resourceType": "Patient", "name": [{"family": "Crud"}], "gender": "male"}


async def created(http: httpx.AsyncClient, resource: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = await http.post((resource or PATIENT)["resourceType"], json=resource or PATIENT)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def issue(answer: httpx.Response) -> tuple[str, str]:
    """Return code and expression of the first issue."""
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    first = outcome["issue"][0]
    return first["code"], first.get("expression", [""])[0]


async def test_create_answers_201_with_location_etag_and_the_stamped_resource(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient", json=PATIENT | {"id": "ignored", "meta": {"versionId": "77"}})
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"http://test/fhir/Patient/{body['id']}/_history/1"
    assert answer.headers["ETag"] == 'W/"1"'
    assert answer.headers["Content-Type"] == "application/fhir+json; charset=utf-8"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["Last-Modified"])
    assert body["id"] != "ignored"
    assert body["meta"]["versionId"] == "1"
    assert {name: value for name, value in body.items() if name not in ("id", "meta", "identifier")} == PATIENT


async def test_read_answers_byte_for_byte_what_create_did(http: httpx.AsyncClient) -> None:
    text = b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}'
    made = await http.post("Observation", content=text, headers={"Content-Type": "application/fhir+json"})
    found = await http.get(f"Observation/{made.json()['id']}")
    assert found.status_code == 200
    assert found.content == made.content
    assert b'"value":1.00}' in found.content


async def test_read_of_what_never_existed_is_404(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patient/nobody")
    assert answer.status_code == 404
    assert issue(answer)[0] == "not-found"


async def test_read_of_an_impossible_id_is_400(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patient/a_b")
    assert answer.status_code == 400
    assert issue(answer)[0] == "value"


async def test_read_of_an_unknown_type_is_404(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patients/1")
    assert answer.status_code == 404
    assert issue(answer)[0] == "not-supported"


async def test_head_answers_the_headers_of_get_without_a_body(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    got, head = await http.get(f"Patient/{patient['id']}"), await http.head(f"Patient/{patient['id']}")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("ETag", "Last-Modified", "Content-Type", "Content-Length"):
        assert head.headers[name] == got.headers[name]


async def test_conditional_read_answers_304_while_nothing_has_changed(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    first = await http.get(path)
    same = await http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", 'W/"1"')
    assert (await http.get(path, headers={"If-None-Match": 'W/"9"'})).status_code == 200
    unmodified = await http.get(path, headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert unmodified.status_code == 304
    assert (await http.get(path, headers={"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"})).status_code == 200
    assert (await http.get(path, headers={"If-Modified-Since": "yesterday"})).status_code == 200


async def test_update_makes_a_new_version_and_vread_shows_both(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    answer = await http.put(path, json=patient | {"gender": "female"})
    assert answer.status_code == 200
    assert answer.headers["ETag"] == 'W/"2"'
    assert answer.headers["Location"].endswith(f"{path}/_history/2")
    assert answer.json()["meta"]["lastUpdated"] > patient["meta"]["lastUpdated"]
    assert (await http.get(f"{path}/_history/1")).json() == patient
    assert (await http.get(f"{path}/_history/2")).json() == answer.json()
    missing = await http.get(f"{path}/_history/3")
    assert missing.status_code == 404


async def test_update_of_an_unknown_id_creates_under_it(http: httpx.AsyncClient) -> None:
    answer = await http.put("Patient/mine", json=PATIENT | {"id": "mine"})
    assert answer.status_code == 201
    assert answer.json()["id"] == "mine"
    assert (await http.get("Patient/mine")).status_code == 200


async def test_update_as_create_can_be_forbidden(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client_of(settings.model_copy(update={"update_create": False}), database) as http:
        answer = await http.put("Patient/mine", json=PATIENT | {"id": "mine"})
    assert answer.status_code == 405
    assert answer.headers["Allow"].startswith("POST")


@pytest.mark.parametrize("body", [PATIENT, PATIENT | {"id": "other"}])
async def test_update_with_another_id_or_none_in_the_body_is_400(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.put("Patient/mine", json=body)
    assert answer.status_code == 400
    assert issue(answer) == ("invalid", "Patient.id")


async def test_a_body_of_another_type_is_400(http: httpx.AsyncClient) -> None:
    answer = await http.post("Observation", json=PATIENT)
    assert answer.status_code == 400
    assert issue(answer) == ("invalid", "resourceType")


async def test_if_match_of_the_current_version_lets_the_update_through(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    assert (await http.put(path, json=patient, headers={"If-Match": 'W/"1"'})).status_code == 200
    stale = await http.put(path, json=patient, headers={"If-Match": 'W/"1"'})
    assert stale.status_code == 412
    assert issue(stale)[0] == "conflict"
    assert (await http.delete(path, headers={"If-Match": 'W/"1"'})).status_code == 412
    assert (await http.delete(path, headers={"If-Match": 'W/"2"'})).status_code == 204


async def test_if_match_on_what_does_not_exist_is_412(http: httpx.AsyncClient) -> None:
    answer = await http.put("Patient/none", json=PATIENT | {"id": "none"}, headers={"If-Match": 'W/"1"'})
    assert answer.status_code == 412


async def test_if_match_can_be_required(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client_of(settings.model_copy(update={"require_if_match": True}), database) as http:
        patient = await created(http)
        path = f"Patient/{patient['id']}"
        assert (await http.put(path, json=patient)).status_code == 428
        assert (await http.delete(path)).status_code == 428
        assert (await http.put(path, json=patient, headers={"If-Match": 'W/"1"'})).status_code == 200


async def test_of_concurrent_updates_with_the_same_if_match_exactly_one_wins(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    answers = await asyncio.gather(*(http.put(path, json=patient, headers={"If-Match": 'W/"1"'}) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 11


async def test_concurrent_updates_without_if_match_all_succeed_and_no_version_is_lost(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    answers = await asyncio.gather(*(http.put(path, json=patient | {"language": f"x-{n}"}) for n in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(int(answer.json()["meta"]["versionId"]) for answer in answers) == list(range(2, 22))
    history = (await http.get(f"{path}/_history?_count=100")).json()
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == [str(n) for n in range(21, 0, -1)]


async def test_delete_then_read_is_410_and_delete_again_is_204(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    answer = await http.delete(path)
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (204, b"", 'W/"2"')
    gone = await http.get(path)
    assert (gone.status_code, issue(gone)[0], gone.headers["ETag"]) == (410, "deleted", 'W/"2"')
    assert (await http.get(f"{path}/_history/1")).status_code == 200
    assert (await http.get(f"{path}/_history/2")).status_code == 410
    assert (await http.delete(path)).status_code == 204
    assert (await http.delete("Patient/never")).status_code == 204


async def test_an_update_after_a_delete_brings_the_resource_back_with_the_next_version(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    path = f"Patient/{patient['id']}"
    await http.delete(path)
    answer = await http.put(path, json=patient)
    assert (answer.status_code, answer.json()["meta"]["versionId"]) == (201, "3")


@pytest.mark.parametrize(
    ("preference", "kind"),
    [("return=minimal", None), ("return=representation", "Patient"), ("return=OperationOutcome", "OperationOutcome")],
)
async def test_prefer_return_chooses_the_body(http: httpx.AsyncClient, preference: str, kind: str | None) -> None:
    answer = await http.post("Patient", json=PATIENT, headers={"Prefer": preference})
    assert answer.status_code == 201
    assert (answer.json()["resourceType"] if answer.content else None) == kind
    assert answer.headers["Location"]


async def test_summary_and_elements_cut_a_read_and_tag_it(http: httpx.AsyncClient) -> None:
    patient = await created(http)
    body = (await http.get(f"Patient/{patient['id']}?_elements=gender")).json()
    assert "name" not in body
    assert body["gender"] == "male"
    assert body["meta"]["tag"][0]["code"] == "SUBSETTED"


async def test_an_invalid_resource_is_refused_with_everything_that_is_wrong(http: httpx.AsyncClient) -> None:
    body = {"resourceType": "Patient", "gender": "blue", "birthDate": "2020-02-30", "nope": 1}
    answer = await http.post("Patient", json=body)
    assert answer.status_code == 400
    found = {item["expression"][0] for item in answer.json()["issue"]}
    assert found == {"Patient.gender", "Patient.birthDate", "Patient.nope"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"resourceType": "Patient",\n "active": tru}', "line 2, column 12"),
        (b'{"resourceType": "Patient", "active": true, "active": false}', "'active' stands more than once"),
        (b'{"resourceType": "Patient", "language": "\\u0000"}', "NUL"),
        (b"[" * 5000, "structure"),
        (b"", "no body"),
        (b"7", "JSON object"),
    ],
)
async def test_malformed_json_is_400_and_says_where(http: httpx.AsyncClient, body: bytes, text: str) -> None:
    answer = await http.post("Patient", content=body, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 400
    assert text in answer.text


async def test_a_byte_order_mark_is_accepted(http: httpx.AsyncClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(PATIENT).encode()
    assert (await http.post("Patient", content=body, headers={"Content-Type": "application/json"})).status_code == 201


async def test_a_body_over_the_limit_is_413(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client_of(settings.model_copy(update={"max_body_bytes": 1000}), database) as http:
        answer = await http.post("Patient", content=b"x" * 1001, headers={"Content-Type": "application/fhir+json"})
    assert (answer.status_code, issue(answer)[0]) == (413, "too-long")


async def test_methods_that_a_path_lacks_are_405_with_allow(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient/1", json=PATIENT)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, PUT, PATCH, DELETE")
