"""Binary over HTTP: https://hl7.org/fhir/R4/binary.html#rest."""

import base64
import hashlib
import os

import httpx
import pytest

from fhir_server.blobs.protocol import PART_BYTES
from fhir_server.config import Settings
from tests.conftest import client_of
from tests.media_files import image, pdf

RAW = {"Accept": "*/*"}


@pytest.fixture
async def media(media_settings: Settings, database):
    """A client of an application over each store."""
    async with client_of(media_settings, database) as opened:
        yield opened


async def created(client: httpx.AsyncClient, data: bytes, mime: str = "image/png", **headers: str) -> str:
    answer = await client.post("Binary", content=data, headers={"Content-Type": mime, **headers})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_bytes_that_are_posted_are_given_back_as_they_are(media: httpx.AsyncClient) -> None:
    data = image() + os.urandom(2 * PART_BYTES)
    id_ = await created(media, data)
    answer = await media.get(f"Binary/{id_}", headers=RAW)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(data).digest()
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["Content-Length"] == str(len(data))


async def test_no_upload_can_run_in_our_origin(http: httpx.AsyncClient) -> None:
    id_ = await created(http, pdf(), "application/pdf")
    headers = (await http.get(f"Binary/{id_}", headers=RAW)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/png", "image/png"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "image/png"),
        ("application/fhir+json", "application/fhir+json; charset=utf-8"),
        ("application/fhir+json, */*;q=0.1", "application/fhir+json; charset=utf-8"),
        ("application/fhir+xml", "application/fhir+xml; charset=utf-8"),
        ("application/json", "application/fhir+json; charset=utf-8"),
    ],
)
async def test_the_resource_is_given_to_whoever_asks_for_fhir(http: httpx.AsyncClient, accept: str, kind: str) -> None:
    id_ = await created(http, image())
    answer = await http.get(f"Binary/{id_}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
    if "json" in kind:
        assert base64.b64decode(answer.json()["data"]) == image()
        assert "_data" not in answer.json()
    elif "xml" in kind:
        assert base64.b64encode(image()).decode() in answer.text


async def test_format_wins_over_accept(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image())
    assert (await http.get(f"Binary/{id_}?_format=json", headers=RAW)).json()["resourceType"] == "Binary"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-", 206, 5, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=3-1000000", 206, 3, None),
        ("bytes=9-2", 200, 0, None),
        ("bytes=0-1,4-5", 200, 0, None),
        ("pages=1-2", 200, 0, None),
    ],
)
async def test_ranges(media: httpx.AsyncClient, asked: str, status: int, start: int, stop: int | None) -> None:
    data = image()
    id_ = await created(media, data)
    answer = await media.get(f"Binary/{id_}", headers=RAW | {"Range": asked})
    assert (answer.status_code, answer.content) == (status, data[start:stop])
    if status == 206:
        first = start % len(data)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(data)}"


async def test_a_range_beyond_the_end_is_refused(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image())
    answer = await http.get(f"Binary/{id_}", headers=RAW | {"Range": "bytes=1000000-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(image())}")
    assert answer.json()["issue"][0]["code"] == "value"


async def test_conditions_by_the_hash(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image())
    tag = (await http.head(f"Binary/{id_}", headers=RAW)).headers["ETag"]
    known = await http.get(f"Binary/{id_}", headers=RAW | {"If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", tag)
    part = await http.get(f"Binary/{id_}", headers=RAW | {"Range": "bytes=0-1", "If-Range": tag})
    whole = await http.get(f"Binary/{id_}", headers=RAW | {"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (part.status_code, whole.status_code) == (206, 200)


async def test_head_says_what_get_would_send(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image())
    answer = await http.head(f"Binary/{id_}", headers=RAW)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, str(len(image())), b"")


async def test_the_same_bytes_again_are_stored_once(http: httpx.AsyncClient) -> None:
    answers = [await http.post("Binary", content=image(), headers={"Content-Type": "image/png"}) for _ in range(2)]
    assert [answer.headers["X-Deduplicated"] for answer in answers] == ["false", "true"]
    assert answers[0].json()["id"] != answers[1].json()["id"]


async def test_put_makes_a_version_and_old_versions_keep_their_bytes(http: httpx.AsyncClient) -> None:
    one, two = image(), image(color="blue")
    for data, status in ((one, 201), (two, 200)):
        answer = await http.put("Binary/b1", content=data, headers={"Content-Type": "image/png"})
        assert answer.status_code == status
    assert (await http.get("Binary/b1", headers=RAW)).content == two
    assert (await http.get("Binary/b1/_history/1", headers=RAW)).content == one
    await http.delete("Binary/b1")
    assert (await http.get("Binary/b1", headers=RAW)).status_code == 410
    assert (await http.get("Binary/b1/_history/2", headers=RAW)).content == two


async def test_a_binary_resource_is_moved_out_and_given_back(http: httpx.AsyncClient, database, tenant: str) -> None:
    sent = {"resourceType": "Binary", "contentType": "image/png", "data": base64.b64encode(image()).decode()}
    answer = await http.post("Binary", json=sent)
    assert answer.status_code == 201
    stored = await database["Binary"].find_one({"t": tenant})
    assert "data" not in stored["r"]
    assert stored["r"]["_data"]["extension"][0]["valueString"] == hashlib.sha256(image()).hexdigest()
    assert (await http.get(f"Binary/{stored['i']}", headers=RAW)).content == image()
    assert (await http.get(f"Binary/{stored['i']}")).json()["data"] == sent["data"]


async def test_the_security_context_can_be_sent_as_a_header(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image(), **{"X-Security-Context": "Patient/1"})
    assert (await http.get(f"Binary/{id_}")).json()["securityContext"] == {"reference": "Patient/1"}


async def test_the_type_is_found_where_none_is_declared(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image(), "application/octet-stream")
    assert (await http.get(f"Binary/{id_}", headers=RAW)).headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/pdf"}, 422, "invalid"),
        ({"Content-Type": "image/png", "X-Content-SHA256": "0" * 64}, 400, "value"),
        ({"Content-Type": "image/png", "X-Content-SHA256": "0"}, 400, "value"),
        ({"Content-Type": "image/png", "Content-Encoding": "gzip"}, 415, "not-supported"),
    ],
)
async def test_what_is_refused(http: httpx.AsyncClient, headers: dict[str, str], status: int, code: str) -> None:
    answer = await http.post("Binary", content=image(), headers=headers)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code)
    assert (await http.get("Binary?_summary=count")).json()["total"] == 0


async def test_an_upload_above_the_limit_is_refused(settings: Settings, database) -> None:
    async with client_of(settings.model_copy(update={"upload_max_bytes": 1000}), database) as client:
        answer = await client.post("Binary", content=image() + bytes(2000), headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (413, "too-long")


async def test_a_rejection_leaves_an_audit_event(http: httpx.AsyncClient) -> None:
    await http.post("Binary", content=pdf(), headers={"Content-Type": "image/png"})
    found = (await http.get("AuditEvent?subtype=urn:prm:media-rejection|type")).json()
    assert found["total"] == 1
    event = found["entry"][0]["resource"]
    assert event["entity"][0]["what"]["identifier"]["value"] == hashlib.sha256(pdf()).hexdigest()
    assert "image/png" in event["outcomeDesc"]


async def test_nobody_gets_bytes_by_knowing_their_hash(http: httpx.AsyncClient) -> None:
    await created(http, image())
    forged = {"extension": [{"url": "urn:fhir-server:blob", "valueString": hashlib.sha256(image()).hexdigest()}]}
    answer = await http.post("Binary", json={"resourceType": "Binary", "contentType": "image/png", "_data": forged})
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (422, "security")
    forged["extension"].append({"url": "urn:fhir-server:blob-grant", "valueString": "9999999999.AAAA"})
    answer = await http.post("Binary", json={"resourceType": "Binary", "contentType": "image/png", "_data": forged})
    assert answer.status_code == 422


async def test_what_was_read_can_be_written_back_unchanged(http: httpx.AsyncClient) -> None:
    id_ = await created(http, image())
    searched = (await http.get("Binary")).json()["entry"][0]["resource"]
    assert "_data" in searched
    assert (await http.put(f"Binary/{id_}", json=searched)).status_code == 200
    assert (await http.get(f"Binary/{id_}", headers=RAW)).content == image()
