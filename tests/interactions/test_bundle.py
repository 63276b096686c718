"""batch and transaction: https://hl7.org/fhir/R4/http.html#transaction."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

PATIENT = {"resourceType": "Patient", "name": [{"family": "Bundle"}]}
URN = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
OTHER = "urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"


def entry(method: str, url: str, resource: dict[str, Any] | None = None, full_url: str = "", **request: str) -> dict[str, Any]:
    found: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if full_url:
        found["fullUrl"] = full_url
    if resource is not None:
        found["resource"] = resource
    return found


async def post(http: httpx.AsyncClient, kind: str, *entries: dict[str, Any], **headers: str) -> httpx.Response:
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
    return await http.post("", json=bundle | ({"entry": list(entries)} if entries else {}), headers=headers)


def statuses(answer: httpx.Response) -> list[str]:
    return [item["response"]["status"][:3] for item in answer.json()["entry"]]


def observation(subject: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}, **members}


async def test_a_transaction_resolves_references_between_its_entries_wherever_they_stand(http: httpx.AsyncClient) -> None:
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{OTHER}">x</a></div>'},
        "identifier": [{"value": URN}],
        "subject": {"reference": URN},
        "content": [{"attachment": {"url": OTHER}}],
        "contained": [
            {
                "resourceType": "Provenance",
                "target": [{"reference": URN}],
                "recorded": "2020-01-01T00:00:00Z",
                "agent": [{"who": {"reference": URN}}],
            }
        ],
    }
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": "eA=="}
    answer = await post(
        http,
        "transaction",
        entry("POST", "DocumentReference", document),
        entry("POST", "Patient", PATIENT, URN),
        entry("POST", "Binary", binary, OTHER),
        Prefer="return=representation",
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["type"] == "transaction-response"
    assert statuses(answer) == ["201", "201", "201"]
    found, patient, stored = (item["resource"] for item in body["entry"])
    assert found["subject"]["reference"] == f"Patient/{patient['id']}"
    assert found["content"][0]["attachment"]["url"] == f"Binary/{stored['id']}"
    assert f'href="Binary/{stored["id"]}"' in found["text"]["div"]
    assert found["contained"][0]["target"][0]["reference"] == f"Patient/{patient['id']}"
    assert found["identifier"][0]["value"] == URN
    assert body["entry"][1]["response"]["location"] == f"http://test/fhir/Patient/{patient['id']}/_history/1"
    assert body["entry"][1]["response"]["etag"] == 'W/"1"'
    assert (await http.get(f"DocumentReference/{found['id']}")).json() == found


async def test_an_absolute_full_url_lends_its_base_to_relative_references(http: httpx.AsyncClient) -> None:
    answer = await post(
        http,
        "transaction",
        entry("POST", "Patient", PATIENT, "http://other.example/fhir/Patient/7"),
        entry("POST", "Observation", observation("Patient/7"), "http://other.example/fhir/Observation/8"),
        entry("POST", "Observation", observation("Patient/7"), OTHER),
        Prefer="return=representation",
    )
    patient, same_base, elsewhere = (item["resource"] for item in answer.json()["entry"])
    assert same_base["subject"]["reference"] == f"Patient/{patient['id']}"
    assert elsewhere["subject"]["reference"] == "Patient/7"


async def test_entries_are_processed_delete_first_and_get_last_and_answered_in_their_own_order(http: httpx.AsyncClient) -> None:
    old = (await http.post("Patient", json=PATIENT)).json()
    answer = await post(
        http,
        "transaction",
        entry("GET", "Patient?identifier=urn:t|1"),
        entry("PUT", "Patient/put-one", PATIENT | {"id": "put-one"}),
        entry("POST", "Patient", PATIENT | {"identifier": [{"system": "urn:t", "value": "1"}]}),
        entry("DELETE", f"Patient/{old['id']}"),
        entry("GET", "Patient/put-one"),
    )
    assert answer.status_code == 200, answer.text
    assert statuses(answer) == ["200", "201", "201", "204", "200"]
    bundle = answer.json()["entry"][0]["resource"]
    assert (bundle["type"], len(bundle["entry"])) == ("searchset", 1)
    assert answer.json()["entry"][4]["resource"]["id"] == "put-one"
    assert "resource" not in answer.json()["entry"][2]
    assert (await http.get(f"Patient/{old['id']}")).status_code == 410


async def test_a_transaction_with_one_bad_entry_changes_nothing_and_names_the_place(http: httpx.AsyncClient) -> None:
    old = (await http.post("Patient", json=PATIENT)).json()
    answer = await post(
        http,
        "transaction",
        entry("DELETE", f"Patient/{old['id']}"),
        entry("PUT", "Patient/tx-new", PATIENT | {"id": "tx-new"}),
        entry("POST", "Patient", {"resourceType": "Patient", "gender": "blue"}),
    )
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[2].resource.gender"]
    assert (await http.get(f"Patient/{old['id']}")).status_code == 200
    assert (await http.get("Patient/tx-new")).status_code == 404


async def test_a_failing_read_undoes_the_writes_before_it(http: httpx.AsyncClient) -> None:
    answer = await post(
        http, "transaction", entry("PUT", "Patient/undone", PATIENT | {"id": "undone"}), entry("GET", "Patient/missing")
    )
    assert answer.status_code == 404
    assert (await http.get("Patient/undone")).status_code == 404


async def test_conditional_entries_find_what_is_there(http: httpx.AsyncClient) -> None:
    known = PATIENT | {"identifier": [{"system": "urn:t", "value": "known"}]}
    made = (await http.post("Patient", json=known)).json()
    answer = await post(
        http,
        "transaction",
        entry("POST", "Patient", known, URN, ifNoneExist="identifier=urn:t|known"),
        entry("POST", "Observation", observation(URN)),
        entry("POST", "Observation", observation("Patient?identifier=urn:t|known")),
        entry("PUT", "Patient?identifier=urn:t|fresh", PATIENT | {"identifier": [{"system": "urn:t", "value": "fresh"}]}, OTHER),
        entry("POST", "Observation", observation(OTHER)),
        Prefer="return=representation",
    )
    assert answer.status_code == 200, answer.text
    assert statuses(answer) == ["200", "201", "201", "201", "201"]
    resources = [item["resource"] for item in answer.json()["entry"]]
    assert resources[0]["id"] == made["id"]
    assert resources[1]["subject"]["reference"] == resources[2]["subject"]["reference"] == f"Patient/{made['id']}"
    assert resources[4]["subject"]["reference"] == f"Patient/{resources[3]['id']}"


async def test_two_entries_with_the_same_condition_create_one_resource(http: httpx.AsyncClient) -> None:
    same = PATIENT | {"identifier": [{"system": "urn:t", "value": "twin"}]}
    entries = [entry("POST", "Patient", same, name, ifNoneExist="identifier=urn:t|twin") for name in (URN, OTHER)]
    answer = await post(
        http, "transaction", *entries, entry("POST", "Observation", observation(OTHER)), Prefer="return=representation"
    )
    assert statuses(answer) == ["201", "200", "201"]
    first, second, third = (item["resource"] for item in answer.json()["entry"])
    assert first["id"] == second["id"]
    assert third["subject"]["reference"] == f"Patient/{first['id']}"


async def test_a_conditional_reference_that_matches_nothing_fails_the_transaction(http: httpx.AsyncClient) -> None:
    answer = await post(http, "transaction", entry("POST", "Observation", observation("Patient?identifier=urn:t|nobody")))
    assert answer.status_code == 412
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[0]"]


async def test_if_match_holds_within_a_transaction(http: httpx.AsyncClient) -> None:
    made = (await http.post("Patient", json=PATIENT)).json()
    stale = await post(http, "transaction", entry("PUT", f"Patient/{made['id']}", made, ifMatch='W/"9"'))
    assert stale.status_code == 412
    right = await post(http, "transaction", entry("PUT", f"Patient/{made['id']}", made, ifMatch='W/"1"'))
    assert statuses(right) == ["200"]


async def test_the_same_resource_twice_is_refused(http: httpx.AsyncClient) -> None:
    body = PATIENT | {"id": "twice"}
    answer = await post(http, "transaction", entry("PUT", "Patient/twice", body), entry("DELETE", "Patient/twice"))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "duplicate"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_patches_stand_in_a_binary_or_in_parameters(http: httpx.AsyncClient, kind: str) -> None:
    made = [(await http.post("Patient", json=PATIENT)).json() for _ in range(2)]
    operations = json.dumps([{"op": "add", "path": "/gender", "value": "female"}]).encode()
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(operations).decode(),
    }
    part = [
        {"name": "type", "valueCode": "add"},
        {"name": "path", "valueString": "Patient"},
        {"name": "name", "valueString": "gender"},
        {"name": "value", "valueCode": "male"},
    ]
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]}
    answer = await post(
        http, kind, entry("PATCH", f"Patient/{made[0]['id']}", binary), entry("PATCH", f"Patient/{made[1]['id']}", parameters)
    )
    assert statuses(answer) == ["200", "200"], answer.text
    assert (await http.get(f"Patient/{made[0]['id']}")).json()["gender"] == "female"
    assert (await http.get(f"Patient/{made[1]['id']}")).json()["gender"] == "male"


async def test_entries_of_a_batch_stand_on_their_own(http: httpx.AsyncClient) -> None:
    answer = await post(
        http,
        "batch",
        entry("POST", "Patient", PATIENT),
        entry("POST", "Patient", {"resourceType": "Patient", "gender": "blue"}),
        entry("GET", "Patient/missing"),
        entry("FETCH", "Patient/1"),
        entry("GET", "Nothing/1"),
        {"fullUrl": URN},
    )
    assert answer.status_code == 200
    assert answer.json()["type"] == "batch-response"
    assert statuses(answer) == ["201", "400", "404", "400", "404", "400"]
    outcome = answer.json()["entry"][1]["response"]["outcome"]
    assert outcome["issue"][0]["expression"] == ["Bundle.entry[1].resource.gender"]


async def test_a_bundle_of_1000_entries_works(http: httpx.AsyncClient) -> None:
    entries = [entry("POST", "Observation", observation(URN)) for _ in range(999)]
    answer = await post(http, "transaction", entry("POST", "Patient", PATIENT, URN), *entries)
    assert answer.status_code == 200
    assert statuses(answer) == ["201"] * 1000
    patient = answer.json()["entry"][0]["response"]["location"].split("/")[-3]
    total = (await http.get(f"Observation?subject=Patient/{patient}&_total=accurate&_count=1")).json()["total"]
    assert total == 999


async def test_transactions_that_compete_for_a_resource_all_end_without_a_500(http: httpx.AsyncClient) -> None:
    body = PATIENT | {"id": "shared"}
    await http.put("Patient/shared", json=body)
    answers = await asyncio.gather(
        *(post(http, "transaction", entry("PUT", "Patient/shared", body), entry("POST", "Patient", PATIENT)) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    done = sum(answer.status_code == 200 for answer in answers)
    assert done >= 1
    assert (await http.get("Patient/shared")).json()["meta"]["versionId"] == str(1 + done)


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Bundle", "type": "searchset"},
        PATIENT,
        {"resourceType": "Bundle", "type": "transaction", "entry": []},
        {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": PATIENT}]},
        {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "POST", "url": ""}}]},
        {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "PUT", "url": "Patient/1"}}]},
    ],
)
async def test_what_is_no_bundle_to_process_is_400(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post("", json=body)
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_an_empty_transaction_is_fine(http: httpx.AsyncClient) -> None:
    answer = await post(http, "transaction")
    assert (answer.status_code, answer.json()) == (200, {"resourceType": "Bundle", "type": "transaction-response"})


async def test_a_bundle_posted_to_its_type_is_stored_and_not_processed(http: httpx.AsyncClient) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry("PUT", "Patient/kept", PATIENT | {"id": "kept"})]}
    answer = await http.post("Bundle", json=bundle)
    assert answer.status_code == 201
    assert (await http.get("Patient/kept")).status_code == 404
