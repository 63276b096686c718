"""Attachments: large data is kept beside the resource, and given back when asked for."""

import base64
import hashlib
import os

import httpx
import pytest

from fhir_server.blobs.elements import concerns, digests, holders
from fhir_server.config import Settings
from tests.media_files import image, sound

LARGE = image() + bytes(100_000)
RAW = {"Accept": "*/*"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a server that gives data back only when asked."""
    return settings.model_copy(update={"inline_default_bytes": 0})


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def patient(data: bytes, **more) -> dict:
    return {"resourceType": "Patient", "photo": [{"contentType": "image/png", "data": encoded(data), **more}]}


async def test_large_data_is_moved_out_with_its_size_and_hash_and_a_url(http: httpx.AsyncClient) -> None:
    stored = (await http.post("Patient", json=patient(LARGE, title="Face"))).json()
    photo = stored["photo"][0]
    digest = hashlib.sha256(LARGE).hexdigest()
    assert "data" not in photo
    assert photo["size"] == len(LARGE)
    assert photo["hash"] == encoded(hashlib.sha1(LARGE).digest())
    assert photo["url"] == f"Patient/{stored['id']}/$attachment?sha256={digest}"
    answer = await http.get(photo["url"], headers=RAW)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, LARGE, "image/png")
    assert answer.headers["Content-Disposition"] == "attachment; filename=\"Face\"; filename*=UTF-8''Face"


async def test_it_is_given_back_when_asked_for(http: httpx.AsyncClient) -> None:
    stored = (await http.post("Patient", json=patient(LARGE))).json()
    for url in (f"Patient/{stored['id']}", f"Patient/{stored['id']}/_history/1"):
        photo = (await http.get(f"{url}?_inline=true")).json()["photo"][0]
        assert photo["data"] == encoded(LARGE)
        assert "_data" not in photo
        assert "data" not in (await http.get(url)).json()["photo"][0]
    wrong = await http.get(f"Patient/{stored['id']}?_inline=yes")
    assert (wrong.status_code, wrong.json()["issue"][0]["code"]) == (400, "value")


async def test_small_data_stays_where_it_is(http: httpx.AsyncClient) -> None:
    stored = (await http.post("Patient", json=patient(image()))).json()
    assert stored["photo"] == [{"contentType": "image/png", "data": encoded(image())}]


async def test_a_resource_may_hold_more_than_mongodb_s_limit(http: httpx.AsyncClient) -> None:
    items = [
        {"contentAttachment": {"contentType": "image/png", "data": encoded(image() + os.urandom(5_000_000))}} for _ in range(2)
    ]
    sent = {"resourceType": "Communication", "status": "completed", "payload": items}
    stored = await http.post("Communication", json=sent)
    assert stored.status_code == 201, stored.text
    again = stored.json()
    again["payload"] += [
        {"contentAttachment": {"contentType": "image/png", "data": encoded(image() + os.urandom(5_000_000))}} for _ in range(2)
    ]
    assert (await http.put(f"Communication/{again['id']}", json=again)).status_code == 200
    found = (await http.get(f"Communication/{again['id']}?_inline=true")).json()
    assert [len(base64.b64decode(one["contentAttachment"]["data"])) for one in found["payload"]] == [5_000_000 + len(image())] * 4


async def test_attachments_in_extensions_and_contained_resources_are_moved_too(http: httpx.AsyncClient) -> None:
    attachment = {"contentType": "image/png", "data": encoded(LARGE)}
    sent = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x", "extension": [{"url": "urn:x", "valueAttachment": attachment}]},
        "contained": [{"resourceType": "Patient", "id": "p", "photo": [attachment]}],
        "subject": {"reference": "#p"},
    }
    stored = (await http.post("Observation", json=sent)).json()
    assert "data" not in stored["code"]["extension"][0]["valueAttachment"]
    assert "data" not in stored["contained"][0]["photo"][0]


async def test_what_else_is_called_data_is_left_alone(http: httpx.AsyncClient) -> None:
    sampled = {"origin": {"value": 0}, "period": 10, "dimensions": 1, "data": "1 2 3 " * 30_000}
    sent = {"resourceType": "Observation", "status": "final", "code": {"text": "ECG"}, "valueSampledData": sampled}
    stored = await http.post("Observation", json=sent)
    assert stored.status_code == 201
    assert stored.json()["valueSampledData"]["data"] == sampled["data"]


async def test_an_attachment_that_is_no_picture_is_refused_where_it_stands(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient", json=patient(b"%PDF-1.4\n" + bytes(100_000)))
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Patient.photo[0]"]


async def test_what_a_resource_refers_to_can_be_written_back_but_not_taken_over(http: httpx.AsyncClient) -> None:
    stored = (await http.post("Patient", json=patient(LARGE))).json()
    assert (await http.put(f"Patient/{stored['id']}", json=stored)).status_code == 200
    other = await http.post("Patient", json={"resourceType": "Patient", "photo": stored["photo"]})
    assert (other.status_code, other.json()["issue"][0]["code"]) == (422, "security")
    patched = await http.patch(
        f"Patient/{stored['id']}",
        json=[{"op": "add", "path": "/active", "value": True}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert patched.status_code == 200
    assert (await http.get(f"Patient/{stored['id']}/$attachment?sha256={'0' * 64}", headers=RAW)).status_code == 404


async def test_a_transaction_moves_data_too(http: httpx.AsyncClient) -> None:
    entry = {"resource": patient(LARGE), "request": {"method": "POST", "url": "Patient"}}
    answer = await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry, entry]})
    assert answer.status_code == 200
    found = (await http.get("Patient")).json()["entry"]
    assert ["data" in one["resource"]["photo"][0] for one in found] == [False, False]


async def test_a_document_says_what_is_known_of_its_content(http: httpx.AsyncClient) -> None:
    data = sound(3)
    binary = (await http.post("Binary", content=data, headers={"Content-Type": "audio/wav"})).json()["id"]
    sent = {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [
            {"attachment": {"url": f"Binary/{binary}"}},
            {"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}},
        ],
    }
    first, second = (one["attachment"] for one in (await http.post("DocumentReference", json=sent)).json()["content"])
    assert (first["contentType"], first["size"]) == ("audio/wav", len(data))
    assert first["hash"] == encoded(hashlib.sha1(data).digest())
    values = {one["url"].rpartition(".")[2]: one for one in first["extension"]}
    assert values["duration"]["valueDecimal"] == 3
    assert values["urn:fhir-server:sha256"]["valueString"] == hashlib.sha256(data).hexdigest()
    assert (second["size"], second["hash"]) == (5, encoded(hashlib.sha1(b"hello").digest()))


def test_looking_for_data_finds_attachments_and_nothing_else() -> None:
    long = "A" * 100
    resource = {
        "resourceType": "Patient",
        "name": [{"family": long}],
        "photo": [{"data": long}, {"_data": {"extension": [{"url": "urn:fhir-server:blob", "valueString": "ab"}]}}],
    }
    assert concerns(resource, 99)
    assert concerns({"resourceType": "Patient", "photo": [{"data": long}]}, 99)
    assert not concerns({"resourceType": "Patient", "photo": [{"data": long}]}, 100)
    assert [path for _, path in holders(resource)] == ["Patient.photo[0]", "Patient.photo[1]"]
    assert digests(resource) == {"ab"}
