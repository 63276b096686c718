"""Media as the product sees them: `/api/v1/prm/media`."""

import base64
import hashlib
import os
from typing import Any

import httpx
import pytest

from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.config import Settings
from prm_ext.media.categories import CATEGORIES
from tests.conftest import client_of
from tests.media_files import encoded, image, pdf, sound

MEDIA = "http://test/api/v1/prm/media"


@pytest.fixture
async def product(media_settings: Settings, database):
    """A client of an application with the extension, over each store."""
    async with client_of(media_settings.model_copy(update={"extensions": "prm_ext.media"}), database) as opened:
        yield opened


@pytest.fixture
async def prm(settings: Settings, database):
    """The same over MongoDB alone."""
    async with client_of(settings.model_copy(update={"extensions": "prm_ext.media"}), database) as opened:
        yield opened


async def uploaded(
    client: httpx.AsyncClient, data: bytes, name: str = "photo.png", mime: str = "image/png", **fields: str
) -> dict[str, Any]:
    answer = await client.post(f"{MEDIA}/upload", data=fields, files={"file": (name, data, mime)})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def created(client: httpx.AsyncClient, type_: str, **more: Any) -> str:
    answer = await client.post(type_, json={"resourceType": type_, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def fetched(client: httpx.AsyncClient, url: str) -> httpx.Response:
    if url.startswith("http://test/"):
        return await client.get(url, headers={"Accept": "*/*"})
    async with httpx.AsyncClient() as direct:
        return await direct.get(url)


async def test_an_upload_answers_all_that_is_known_and_where_the_content_is(product: httpx.AsyncClient, tenant: str) -> None:
    patient = await created(product, "Patient")
    data = encoded("ogg", "libopus")
    found = await uploaded(
        product, data, "hello.ogg", "audio/ogg", patient_id=patient, category="voice_message", source="recording"
    )
    digest = hashlib.sha256(data).hexdigest()
    assert {
        name: found[name]
        for name in (
            "org_id",
            "key",
            "sha256",
            "mime_type",
            "size_bytes",
            "source",
            "category",
            "patient_id",
            "title",
            "deduplicated",
        )
    } == {
        "org_id": tenant,
        "key": f"uploads/{tenant}/{digest}.ogg",
        "sha256": digest,
        "mime_type": "audio/ogg",
        "size_bytes": len(data),
        "source": "recording",
        "category": "voice_message",
        "patient_id": patient,
        "title": "hello.ogg",
        "deduplicated": False,
    }
    assert found["duration_ms"] == pytest.approx(1500, abs=60)
    assert found["created_at"] <= found["updated_at"]
    assert (await fetched(product, found["url"])).content == data


async def test_a_large_file_passes_through_and_the_second_is_stored_once(product: httpx.AsyncClient) -> None:
    data = image() + os.urandom(2 * PART_BYTES)
    first, second = await uploaded(product, data), await uploaded(product, data)
    assert (first["deduplicated"], second["deduplicated"]) == (False, True)
    assert first["id"] != second["id"]
    assert (first["width"], first["height"]) == (64, 48)
    assert hashlib.sha256((await fetched(product, second["url"])).content).digest() == hashlib.sha256(data).digest()


async def test_the_document_behind_it_is_fhir(prm: httpx.AsyncClient) -> None:
    found = await uploaded(prm, pdf(2), "lab.pdf", "application/pdf", category="lab_result")
    document = (await prm.get(f"DocumentReference/{found['id']}")).json()
    assert document["status"] == "current"
    assert document["category"][0]["coding"] == [
        {"system": "urn:prm:media-category", "code": "lab_result"},
        {"system": "http://loinc.org", "code": "11502-2", "display": "Laboratory report"},
    ]
    assert document["type"]["coding"][0]["code"] == "11502-2"
    attachment = document["content"][0]["attachment"]
    assert attachment["hash"] == base64.b64encode(hashlib.sha1(pdf(2)).digest()).decode()
    assert found["pages"] == 2
    answer = await prm.post("DocumentReference/$validate", json=document)
    assert [issue["severity"] for issue in answer.json()["issue"] if issue["severity"] in ("error", "fatal")] == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "cba"),
        ("patient={patient}", "ba"),
        ("category=imaging", "b"),
        ("mime_type=application/pdf", "c"),
        ("source=import", "c"),
        ("date_from=2100-01-01", ""),
        ("date_to=2100-01-01&category=imaging", "b"),
        ("patient=nobody", ""),
    ],
)
async def test_lists_are_filtered(prm: httpx.AsyncClient, query: str, names: str) -> None:
    patient = await created(prm, "Patient")
    await uploaded(prm, image(color="red"), "a", patient_id=patient)
    await uploaded(prm, image(color="blue"), "b", patient_id=patient, category="imaging")
    await uploaded(prm, pdf(), "c", "application/pdf", source="import")
    answer = await prm.get(f"{MEDIA}?{query.format(patient=patient)}")
    assert answer.status_code == 200, answer.text
    assert "".join(item["title"] for item in answer.json()["items"]) == names


async def test_pages_follow_each_other_by_a_cursor(prm: httpx.AsyncClient) -> None:
    for name in "abc":
        await uploaded(prm, image(), name)
    first = (await prm.get(f"{MEDIA}?limit=2")).json()
    second = (await prm.get(f"{MEDIA}?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["title"] for item in first["items"] + second["items"]] == ["c", "b", "a"]
    assert second["next_cursor"] is None


async def test_a_download_is_a_url_or_leads_to_it(product: httpx.AsyncClient) -> None:
    id_ = (await uploaded(product, image(), "Überweisung.png"))["id"]
    found = (await product.get(f"{MEDIA}/{id_}/download?seconds=30")).json()
    assert (found["mime_type"], found["size_bytes"], found["filename"]) == ("image/png", len(image()), "Überweisung.png")
    answer = await fetched(product, found["url"])
    assert answer.content == image()
    assert "filename*=UTF-8''%C3%9Cberweisung.png" in answer.headers["Content-Disposition"]
    led = await product.get(f"{MEDIA}/{id_}/download?redirect=true", follow_redirects=False)
    assert (led.status_code, led.headers["Cache-Control"]) == (302, "no-store")
    assert (await fetched(product, led.headers["Location"])).content == image()
    assert (await product.get(f"{MEDIA}/{id_}/download?seconds=999999")).status_code == 400


async def test_media_are_deleted_softly(prm: httpx.AsyncClient) -> None:
    id_ = (await uploaded(prm, image()))["id"]
    binary = (await prm.get("Binary")).json()["entry"][0]["resource"]["id"]
    assert (await prm.delete(f"{MEDIA}/{id_}")).status_code == 204
    assert (await prm.get(f"{MEDIA}/{id_}")).status_code == 410
    assert (await prm.get(f"Binary/{binary}")).status_code == 410
    assert (await prm.get(MEDIA)).json()["items"] == []
    assert (await prm.get(f"DocumentReference/{id_}/_history/1")).status_code == 200
    assert (await prm.get(f"Binary/{binary}/_history/1", headers={"Accept": "*/*"})).content == image()


async def test_media_are_attached_to_messages_appointments_and_patients(prm: httpx.AsyncClient) -> None:
    id_ = (await uploaded(prm, image()))["id"]
    patient = await created(prm, "Patient")
    message = await created(prm, "Communication", status="completed", payload=[{"contentString": "Here it is"}])
    appointment = await created(
        prm, "Appointment", status="booked", participant=[{"status": "accepted", "actor": {"display": "x"}}]
    )
    for _ in range(2):
        answer = await prm.post(f"{MEDIA}/attach-to-message", json={"media_id": id_, "message_id": message})
        assert answer.status_code == 200, answer.text
        await prm.post(f"{MEDIA}/attach-to-appointment", json={"media_id": id_, "appointment_id": appointment})
    body = {"media_id": id_, "patient_id": patient, "category": "profile_photo"}
    found = (await prm.post(f"{MEDIA}/attach-to-patient", json=body)).json()
    assert (found["patient_id"], found["category"]) == (patient, "profile_photo")
    assert found["attached_to"] == [f"Communication/{message}", f"Appointment/{appointment}"]
    payload = (await prm.get(f"Communication/{message}")).json()["payload"]
    assert payload == [{"contentString": "Here it is"}, {"contentReference": {"reference": f"DocumentReference/{id_}"}}]
    information = (await prm.get(f"Appointment/{appointment}")).json()["supportingInformation"]
    assert information == [{"reference": f"DocumentReference/{id_}"}]


async def test_media_of_one_patient_are_not_given_to_another(prm: httpx.AsyncClient) -> None:
    patient, other = await created(prm, "Patient"), await created(prm, "Patient")
    id_ = (await uploaded(prm, image(), patient_id=patient))["id"]
    answer = await prm.post(f"{MEDIA}/attach-to-patient", json={"media_id": id_, "patient_id": other})
    assert answer.status_code == 409
    assert (await prm.post(f"{MEDIA}/attach-to-patient", json={"media_id": id_, "patient_id": "nobody"})).status_code == 404
    assert (await prm.post(f"{MEDIA}/attach-to-message", json={"media_id": id_, "message_id": "nothing"})).status_code == 404


async def test_large_uploads_in_parts(product: httpx.AsyncClient) -> None:
    data = image() + os.urandom(PART_BYTES)
    patient = await created(product, "Patient")
    body = {"filename": "big.png", "mime_type": "image/png", "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    begun = (await product.post(f"{MEDIA}/uploads", json=body | {"patient_id": patient, "category": "imaging"})).json()
    assert (begun["part_count"], begun["received_bytes"], [part["number"] for part in begun["missing"]]) == (2, 0, [1, 2])
    url = f"{MEDIA}/uploads/{begun['id']}"
    assert (await product.put(f"{url}/parts/2", content=data[PART_BYTES:])).status_code == 204
    early = await product.post(f"{url}/complete")
    assert (early.status_code, early.json()["type"]) == (409, "urn:prm:problem:incomplete")
    state = (await product.get(url)).json()
    assert [part["number"] for part in state["missing"]] == [1]
    assert (await product.put(f"{url}/parts/1", content=data[:PART_BYTES])).status_code == 204
    done = await product.post(f"{url}/complete")
    assert done.status_code == 201, done.text
    assert (done.json()["patient_id"], done.json()["category"], done.json()["source"]) == (patient, "imaging", "upload")
    assert (await product.get(url)).json()["media_id"] == done.json()["id"]
    other = (await product.post(f"{MEDIA}/uploads", json=body)).json()["id"]
    assert (await product.delete(f"{MEDIA}/uploads/{other}")).status_code == 204
    assert (await product.get(f"{MEDIA}/uploads/{other}")).status_code == 404


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        ({"files": {"file": ("a.pdf", pdf(), "image/png")}}, 422, "invalid"),
        ({"files": {"file": ("a.sh", b"#!/bin/sh\necho\n", "text/plain")}}, 422, "security"),
        ({"files": {"file": ("a.png", b"", "image/png")}}, 400, "required"),
        ({"data": {"category": "cat"}, "files": {"file": ("a.png", image(), "image/png")}}, 422, "value"),
        ({"data": {"other": "x"}, "files": {"file": ("a.png", image(), "image/png")}}, 422, "invalid"),
        ({"data": {"patient_id": "a b"}, "files": {"file": ("a.png", image(), "image/png")}}, 422, "value"),
        ({"json": {}}, 415, "not-supported"),
        ({"content": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "structure"),
        ({"content": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "required"),
    ],
)
async def test_what_is_refused(prm: httpx.AsyncClient, send: dict[str, Any], status: int, code: str) -> None:
    answer = await prm.post(f"{MEDIA}/upload", **send)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:prm:problem:{code}"), answer.text
    assert (await prm.get(MEDIA)).json()["items"] == []


async def test_every_category_can_be_given_and_found(prm: httpx.AsyncClient) -> None:
    for category in CATEGORIES:
        await uploaded(prm, sound(0.1), category, "audio/wav", category=category)
    for category in CATEGORIES:
        items = (await prm.get(f"{MEDIA}?category={category}")).json()["items"]
        assert [(item["title"], item["category"]) for item in items] == [(category, category)]


async def test_media_from_elsewhere_are_shown_too(prm: httpx.AsyncClient) -> None:
    sent = {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
        "content": [{"attachment": {"url": "https://elsewhere.example.org/1", "contentType": "application/dicom"}}],
    }
    id_ = (await prm.post("DocumentReference", json=sent)).json()["id"]
    found = (await prm.get(f"{MEDIA}/{id_}")).json()
    assert (found["category"], found["mime_type"], found["sha256"], found["source"]) == (
        "imaging",
        "application/dicom",
        None,
        None,
    )
    assert (await prm.get(f"{MEDIA}/{id_}/download")).status_code == 404


async def test_a_new_version_replaces_the_old_one(prm: httpx.AsyncClient) -> None:
    old = (await uploaded(prm, pdf(1), "a.pdf", "application/pdf"))["id"]
    new = await uploaded(prm, pdf(2), "a.pdf", "application/pdf", replaces=old)
    assert new["replaces"] == old
    assert (await prm.get(f"DocumentReference/{old}")).json()["status"] == "superseded"
    assert [item["id"] for item in (await prm.get(MEDIA)).json()["items"]] == [new["id"]]
    found = await prm.get(f"DocumentReference?relatesto=DocumentReference/{old}&relation=replaces")
    assert [entry["resource"]["id"] for entry in found.json()["entry"]] == [new["id"]]
    answer = await prm.post(f"{MEDIA}/upload", data={"replaces": "nothing"}, files={"file": ("a.pdf", pdf(3), "application/pdf")})
    assert answer.status_code == 404
