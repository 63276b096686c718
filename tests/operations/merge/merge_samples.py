"""Populations of two patients and what refers to them, and requests about them."""

from typing import Any

import httpx

Resource = dict[str, Any]


def ref(text: str) -> Resource:
    return {"reference": text}


def patient(id_: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": id_, "active": True} | more


def observation(id_: str, of: str = "s", **more: Any) -> Resource:
    found = {"resourceType": "Observation", "id": id_, "status": "final", "code": {"text": "x"}, "subject": ref(f"Patient/{of}")}
    return found | more


def parameters(source: str = "s", target: str = "t", *more: Resource) -> Resource:
    sides = [
        {"name": "source-patient", "valueReference": ref(f"Patient/{source}")},
        {"name": "target-patient", "valueReference": ref(f"Patient/{target}")},
    ]
    return {"resourceType": "Parameters", "parameter": [*sides, *more]}


PREVIEW = {"name": "preview", "valueBoolean": True}
DELETE = {"name": "delete-source", "valueBoolean": True}


async def put(http: httpx.AsyncClient, *resources: Resource) -> None:
    """Store resources under their ids, in one transaction."""
    entries = [{"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in resources]
    answer = await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.text


async def get(http: httpx.AsyncClient, path: str) -> Resource:
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    found: Resource = answer.json()
    return found


async def merge(http: httpx.AsyncClient, body: Resource | None = None, **headers: str) -> httpx.Response:
    return await http.post("Patient/$merge", json=body or parameters(), headers=headers)


async def undo(http: httpx.AsyncClient, body: Resource | None = None, **headers: str) -> httpx.Response:
    return await http.post("Patient/$undo-merge", json=body or parameters(), headers=headers)


def part(answer: httpx.Response, name: str) -> Any:
    """Return the resource of one parameter of an answer."""
    return next((one["resource"] for one in answer.json()["parameter"] if one["name"] == name), None)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome", answer.text
    return answer.status_code, outcome["issue"][0]["code"]


async def found_ids(http: httpx.AsyncClient, path: str) -> list[str]:
    """Return the ids of the matches of a search, in order."""
    bundle = await get(http, path)
    return sorted(one["resource"]["id"] for one in bundle.get("entry", ()) if one["search"]["mode"] == "match")
