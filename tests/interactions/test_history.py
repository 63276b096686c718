"""history: https://hl7.org/fhir/R4/http.html#history."""

from typing import Any

import httpx
import pytest

PATIENT = {"resourceType": "Patient", "active": True}


async def life(http: httpx.AsyncClient) -> str:
    """Create, update and delete a patient; return its id."""
    patient = (await http.post("Patient", json=PATIENT)).json()
    await http.put(f"Patient/{patient['id']}", json=patient | {"active": False})
    await http.delete(f"Patient/{patient['id']}")
    return str(patient["id"])


async def walk(http: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while url:
        bundle = (await http.get(url)).json()
        entries += bundle.get("entry", [])
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return entries


async def test_history_of_a_resource_shows_every_version_newest_first(http: httpx.AsyncClient) -> None:
    id_ = await life(http)
    bundle = (await http.get(f"Patient/{id_}/_history")).json()
    assert (bundle["type"], bundle["total"]) == ("history", 3)
    assert [entry["request"] for entry in bundle["entry"]] == [
        {"method": "DELETE", "url": f"Patient/{id_}"},
        {"method": "PUT", "url": f"Patient/{id_}"},
        {"method": "POST", "url": "Patient"},
    ]
    assert [entry["response"]["status"] for entry in bundle["entry"]] == ["204 No Content", "200 OK", "201 Created"]
    assert [entry["response"]["etag"] for entry in bundle["entry"]] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert "resource" not in bundle["entry"][0]
    assert bundle["entry"][1]["resource"]["active"] is False
    assert {entry["fullUrl"] for entry in bundle["entry"]} == {f"http://test/fhir/Patient/{id_}"}


async def test_history_of_what_never_existed_is_404(http: httpx.AsyncClient) -> None:
    assert (await http.get("Patient/never/_history")).status_code == 404


@pytest.mark.parametrize("path", ["_history", "Patient/_history"])
async def test_history_of_a_type_and_of_the_system_pages_through_everything(http: httpx.AsyncClient, path: str) -> None:
    ids = [await life(http) for _ in range(3)]
    entries = await walk(http, f"{path}?_count=2")
    seen = [(entry["fullUrl"].rsplit("/", 1)[1], entry["response"]["etag"]) for entry in entries]
    assert sorted(seen) == sorted((id_, f'W/"{number}"') for id_ in ids for number in (1, 2, 3))
    moments = [entry["response"]["lastModified"] for entry in entries]
    assert moments == sorted(moments, reverse=True)


async def test_pages_stay_the_same_while_others_write(http: httpx.AsyncClient) -> None:
    ids = {await life(http) for _ in range(2)}
    first = (await http.get("Patient/_history?_count=3")).json()
    await life(http)
    rest = await walk(http, next(link["url"] for link in first["link"] if link["relation"] == "next"))
    assert {entry["fullUrl"].rsplit("/", 1)[1] for entry in first["entry"] + rest} == ids
    assert len(first["entry"] + rest) == 6


async def test_since_shows_only_what_was_written_from_then_on(http: httpx.AsyncClient) -> None:
    patient = (await http.post("Patient", json=PATIENT)).json()
    updated = (await http.put(f"Patient/{patient['id']}", json=patient)).json()
    answer = await http.get(f"Patient/{patient['id']}/_history", params={"_since": updated["meta"]["lastUpdated"]})
    assert [entry["response"]["etag"] for entry in answer.json()["entry"]] == ['W/"2"']


@pytest.mark.parametrize("query", ["_since=yesterday", "_count=-1", "_count=x", "_cursor=AAAA", "_at=2020-13"])
async def test_a_malformed_parameter_is_400(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"Patient/_history?{query}")
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_a_count_of_zero_shows_only_the_total(http: httpx.AsyncClient) -> None:
    await life(http)
    bundle = (await http.get("Patient/_history?_count=0")).json()
    assert bundle["total"] == 3
    assert "entry" not in bundle


async def test_types_narrow_the_history_of_the_system(http: httpx.AsyncClient) -> None:
    await life(http)
    await http.post("Organization", json={"resourceType": "Organization", "name": "o"})
    entries = await walk(http, "_history?_type=Organization")
    assert [entry["resource"]["resourceType"] for entry in entries] == ["Organization"]
    assert (await http.get("_history?_type=Nothing")).status_code == 400


@pytest.mark.parametrize("path", ["Patient/{id}/_history", "Patient/_history", "_history"])
async def test_history_in_a_transaction_shows_what_the_transaction_wrote(http: httpx.AsyncClient, path: str) -> None:
    id_ = await life(http)
    other = (await http.post("Basic", json={"resourceType": "Basic", "code": {"text": "x"}})).json()["id"]
    put = {"request": {"method": "PUT", "url": f"Patient/{id_}"}, "resource": PATIENT | {"id": id_}}
    get = {"request": {"method": "GET", "url": path.format(id=id_)}}
    answer = await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [get, put]})
    assert answer.status_code == 200, answer.text
    history = answer.json()["entry"][0]["resource"]
    versions = [(entry["fullUrl"].rpartition("/")[2], entry["response"]["etag"]) for entry in history["entry"]]
    own = [(id_, f'W/"{number}"') for number in (4, 3, 2, 1)]
    assert versions == ([own[0], (other, 'W/"1"'), *own[1:]] if path == "_history" else own)
    assert history["entry"] == (await http.get(get["request"]["url"])).json()["entry"]
