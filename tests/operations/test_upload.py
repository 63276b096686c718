"""Uploads in parts, signed URLs, and the documents that come of them."""

import asyncio
import base64
import hashlib
import os
from typing import Any

import httpx
import pytest

from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.config import Settings
from tests.conftest import client_of
from tests.media_files import image, pdf

DATA = image() + os.urandom(2 * PART_BYTES)
RAW = {"Accept": "*/*"}


@pytest.fixture
async def media(media_settings: Settings, database):
    """A client of an application over each store."""
    async with client_of(media_settings, database) as opened:
        yield opened


def parameters(**values: Any) -> dict[str, Any]:
    members = {"size": "valueDecimal", "contentType": "valueCode", "document": "resource"}
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": name, members.get(name, "valueString"): value} for name, value in values.items()],
    }


def values_of(answer: httpx.Response) -> dict[str, Any]:
    return {one["name"]: next(value for key, value in one.items() if key != "name") for one in answer.json()["parameter"]}


def parts_of(answer: httpx.Response) -> dict[int, tuple[int, str]]:
    found = {}
    for one in answer.json()["parameter"]:
        if one["name"] == "part":
            values = {part["name"]: next(value for key, value in part.items() if key != "name") for part in one["part"]}
            found[values["number"]] = (values["size"], values["url"])
    return found


async def initiated(client: httpx.AsyncClient, data: bytes = DATA, **more: Any) -> httpx.Response:
    asked = {"name": "scan.png", "contentType": "image/png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} | more
    answer = await client.post("DocumentReference/$initiate-upload", json=parameters(**asked))
    assert answer.status_code == 201, answer.text
    return answer


async def put(client: httpx.AsyncClient, url: str, data: bytes) -> int:
    """Send bytes to a signed URL, which leads to the application or to the real S3 server."""
    if url.startswith("http://test/"):
        return (await client.put(url, content=data)).status_code
    async with httpx.AsyncClient() as direct:
        return (await direct.put(url, content=data)).status_code


async def get(client: httpx.AsyncClient, url: str, **headers: str) -> httpx.Response:
    if url.startswith("http://test/"):
        return await client.get(url, headers=RAW | headers)
    async with httpx.AsyncClient() as direct:
        return await direct.get(url, headers=headers)


async def send_parts(client: httpx.AsyncClient, answer: httpx.Response, data: bytes = DATA) -> None:
    for number, (size, url) in parts_of(answer).items():
        start = (number - 1) * PART_BYTES
        assert await put(client, url, data[start : start + size]) == 200


async def complete(client: httpx.AsyncClient, upload: str) -> httpx.Response:
    return await client.post("DocumentReference/$complete-upload", json=parameters(upload=upload))


async def test_an_upload_in_parts_becomes_a_current_document(media: httpx.AsyncClient) -> None:
    patient = (await media.post("Patient", json={"resourceType": "Patient"})).json()["id"]
    template = {
        "resourceType": "DocumentReference",
        "type": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "content": [{"attachment": {"title": "Chest"}}],
    }
    begun = await initiated(media, document=template)
    upload = values_of(begun)["upload"]
    assert {number: size for number, (size, _) in parts_of(begun).items()} == {1: PART_BYTES, 2: PART_BYTES, 3: len(image())}
    assert (await media.get(f"DocumentReference?patient={patient}")).json()["total"] == 0
    await send_parts(media, begun)
    assert (await media.get(f"DocumentReference?patient={patient}")).json()["total"] == 0
    done = await complete(media, upload)
    assert done.status_code == 201, done.text
    document = done.json()
    attachment = document["content"][0]["attachment"]
    assert (document["status"], document["subject"], document["type"]) == ("current", template["subject"], template["type"])
    assert (attachment["title"], attachment["contentType"], attachment["size"]) == ("Chest", "image/png", len(DATA))
    assert attachment["hash"] == base64.b64encode(hashlib.sha1(DATA).digest()).decode()
    assert (await media.get(attachment["url"], headers=RAW)).content == DATA
    binary = (await media.get("Binary")).json()["entry"][0]["resource"]
    assert binary["securityContext"] == {"reference": f"DocumentReference/{document['id']}"}


async def test_completing_again_answers_the_same_document(media: httpx.AsyncClient) -> None:
    begun = await initiated(media)
    await send_parts(media, begun)
    first = await complete(media, values_of(begun)["upload"])
    second = await complete(media, values_of(begun)["upload"])
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert (await media.get("DocumentReference")).json()["total"] == 1


async def test_two_who_complete_at_once_make_one_document(http: httpx.AsyncClient) -> None:
    begun = await initiated(http)
    await send_parts(http, begun)
    answers = await asyncio.gather(*(complete(http, values_of(begun)["upload"]) for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {200, 201, 409}
    assert [answer.status_code for answer in answers].count(201) == 1
    assert (await http.get("DocumentReference")).json()["total"] == 1


async def test_missing_parts_are_named_and_can_be_sent_later(media: httpx.AsyncClient) -> None:
    begun = await initiated(media)
    upload = values_of(begun)["upload"]
    size, url = parts_of(begun)[2]
    assert await put(media, url, DATA[PART_BYTES : PART_BYTES + size]) == 200
    early = await complete(media, upload)
    assert (early.status_code, early.json()["issue"][0]["code"]) == (409, "incomplete")
    assert early.json()["issue"][0]["diagnostics"] == "2 of 3 parts are missing or not of their size: 1, 3."
    status = await media.get(f"DocumentReference/$upload-status?upload={upload}")
    assert (values_of(status)["received"], sorted(parts_of(status))) == (PART_BYTES, [1, 3])
    await send_parts(media, status)
    assert (await complete(media, upload)).status_code == 201


async def test_other_bytes_than_announced_make_no_document(media: httpx.AsyncClient) -> None:
    begun = await initiated(media, sha256="0" * 64)
    await send_parts(media, begun)
    answer = await complete(media, values_of(begun)["upload"])
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "value")
    assert (await media.get("DocumentReference")).json()["total"] == 0


async def test_content_of_another_type_makes_no_document_and_ends_the_upload(media: httpx.AsyncClient) -> None:
    data = pdf() + bytes(100)
    begun = await initiated(media, data)
    await send_parts(media, begun, data)
    answer = await complete(media, values_of(begun)["upload"])
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (422, "invalid")
    assert (await media.get("DocumentReference")).json()["total"] == 0
    assert (await complete(media, values_of(begun)["upload"])).status_code == 404
    assert (await media.get("AuditEvent")).json()["total"] == 1


async def test_an_aborted_upload_is_gone(media: httpx.AsyncClient) -> None:
    begun = await initiated(media)
    await send_parts(media, begun)
    upload = values_of(begun)["upload"]
    assert (await media.post("DocumentReference/$abort-upload", json=parameters(upload=upload))).status_code == 204
    assert (await complete(media, upload)).status_code == 404


async def test_an_upload_goes_on_where_the_connection_was_cut(media: httpx.AsyncClient) -> None:
    url = values_of(await initiated(media))["resumable"]
    offset = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
    first = await media.patch(url, content=DATA[: PART_BYTES + 1000], headers=offset)
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(PART_BYTES))
    where = await media.head(url)
    assert (where.headers["Upload-Offset"], where.headers["Upload-Length"]) == (str(PART_BYTES), str(len(DATA)))
    wrong = await media.patch(url, content=b"x", headers=offset)
    assert (wrong.status_code, wrong.json()["issue"][0]["code"]) == (409, "conflict")
    rest = await media.patch(url, content=DATA[PART_BYTES:], headers=offset | {"Upload-Offset": str(PART_BYTES)})
    assert (rest.status_code, rest.headers["Upload-Offset"]) == (204, str(len(DATA)))
    upload = url.partition("/uploads/")[2].partition("?")[0]
    assert (await complete(media, upload)).status_code == 201


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 400, "required"),
        ({"size": 0}, 400, "required"),
        ({"size": 10**12}, 413, "too-long"),
        ({"size": 5, "sha256": "zz"}, 400, "value"),
        ({"size": 5, "document": {"resourceType": "Patient"}}, 400, "invalid"),
        ({"size": 5, "document": {"resourceType": "DocumentReference", "foo": 1}}, 400, "structure"),
        ({"size": 5, "other": "x"}, 400, "invalid"),
    ],
)
async def test_what_an_upload_can_not_begin_with(http: httpx.AsyncClient, asked, status: int, code: str) -> None:
    answer = await http.post("DocumentReference/$initiate-upload", json=parameters(**asked))
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code)


async def test_a_part_of_another_size_is_refused(http: httpx.AsyncClient) -> None:
    begun = await initiated(http)
    _, url = parts_of(begun)[3]
    assert await put(http, url, b"x") == 400
    assert await put(http, url, bytes(len(image()) + 1)) == 413


async def test_a_signed_url_gives_the_content_to_whoever_has_it(media: httpx.AsyncClient) -> None:
    id_ = (await media.post("Binary", content=DATA, headers={"Content-Type": "image/png"})).json()["id"]
    found = values_of(await media.get(f"Binary/{id_}/$presign?seconds=60"))
    assert (found["contentType"], found["size"], found["sha256"]) == ("image/png", len(DATA), hashlib.sha256(DATA).hexdigest())
    whole, part = await get(media, found["url"]), await get(media, found["url"], Range="bytes=1-3")
    assert (whole.status_code, whole.content == DATA) == (200, True)
    assert (part.status_code, part.content) == (206, b"PNG")
    assert whole.headers["Content-Disposition"].startswith("attachment")
    assert whole.headers["Content-Type"] == "image/png"


async def test_an_altered_or_expired_url_gives_nothing(media: httpx.AsyncClient) -> None:
    first = (await media.post("Binary", content=image(), headers={"Content-Type": "image/png"})).json()["id"]
    await media.post("Binary", content=pdf(), headers={"Content-Type": "application/pdf"})
    url = values_of(await media.get(f"Binary/{first}/$presign?seconds=1"))["url"]
    digests = [hashlib.sha256(data).hexdigest() for data in (image(), pdf())]
    assert (await get(media, url.replace(*digests).replace(".png", ".pdf"))).status_code == 403
    assert (await get(media, url.replace("image%2Fpng", "text%2Fhtml"))).status_code == 403
    await asyncio.sleep(2.1)
    assert (await get(media, url)).status_code == 403


async def test_urls_are_good_no_longer_than_a_setting_says(http: httpx.AsyncClient) -> None:
    id_ = (await http.post("Binary", content=image(), headers={"Content-Type": "image/png"})).json()["id"]
    for seconds in ("0", "3601", "x"):
        answer = await http.get(f"Binary/{id_}/$presign?seconds={seconds}")
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "value")


async def test_a_document_has_a_signed_url_and_a_small_picture(http: httpx.AsyncClient) -> None:
    begun = await initiated(http)
    await send_parts(http, begun)
    document = (await complete(http, values_of(begun)["upload"])).json()["id"]
    url = values_of(await http.get(f"DocumentReference/{document}/$presign"))["url"]
    answer = await http.get(url, headers=RAW)
    assert answer.content == DATA
    assert "scan.png" in answer.headers["Content-Disposition"]
    small = await http.get(f"DocumentReference/{document}/$thumbnail", headers={"Accept": "image/*"})
    assert (small.headers["Content-Type"], small.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    assert (await http.get(f"DocumentReference/{document}/$presign?content=4")).status_code == 400


async def test_docref_gives_the_latest_document_of_each_type_or_those_of_a_time(http: httpx.AsyncClient) -> None:
    patient = (await http.post("Patient", json={"resourceType": "Patient"})).json()["id"]

    async def document(code: str, date: str, period: str = "", status: str = "current") -> str:
        sent: dict[str, Any] = {
            "resourceType": "DocumentReference",
            "status": status,
            "type": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "subject": {"reference": f"Patient/{patient}"},
            "date": date,
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}}],
        }
        if period:
            sent["context"] = {"period": {"start": period, "end": period}}
        return (await http.post("DocumentReference", json=sent)).json()["id"]

    old = await document("34133-9", "2024-01-01T00:00:00Z")
    new = await document("34133-9", "2025-01-01T00:00:00Z")
    note = await document("11506-3", "2024-06-01T00:00:00Z", period="2023-05-01")
    await document("34133-9", "2025-02-01T00:00:00Z", status="superseded")

    async def asked(query: str) -> set[str]:
        answer = await http.get(f"DocumentReference/$docref?patient={patient}{query}")
        assert answer.status_code == 200, answer.text
        return {entry["resource"]["id"] for entry in answer.json().get("entry", ())}

    assert await asked("") == {new, note}
    assert await asked("&type=http://loinc.org|34133-9") == {new}
    assert await asked("&start=2023-01-01&end=2024-12-31") == {old, note}
    assert await asked("&start=2025-01-01") == {new}
    assert (await http.get("DocumentReference/$docref")).status_code == 400
    assert (await http.get(f"DocumentReference/$docref?patient={patient}&start=x")).status_code == 400
