"""Data that was moved out of a resource stands in it again when it is read, as it was written."""

import base64

import httpx
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.blobs.elements import laid_out, layout_of
from tests.media_files import image

LARGE = image() + bytes(100_000)
TEXT = base64.b64encode(LARGE).decode()
LINES = "\r\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76))


def patient(data: str) -> dict:
    photo = {"title": "Face", "data": data, "contentType": "image/png"}
    return {"resourceType": "Patient", "id": "p1", "photo": [photo], "active": True}


def without_stamp(resource: dict) -> dict:
    return {name: value for name, value in resource.items() if name != "meta"}


async def test_one_resource_is_answered_as_it_was_written(http: httpx.AsyncClient) -> None:
    for version, data in enumerate((TEXT, LINES, TEXT + "\n"), 1):
        sent = patient(data)
        stored = await http.put("Patient/p1", json=sent)
        read = await http.get("Patient/p1")
        older = await http.get(f"Patient/p1/_history/{version}")
        for answer in (stored, read, older):
            found = without_stamp(answer.json())
            assert found == sent
            assert list(found["photo"][0]) == ["title", "data", "contentType"]
    history = (await http.get("Patient/p1/_history")).json()
    assert [entry["resource"]["photo"][0]["data"] for entry in history["entry"]] == [TEXT + "\n", LINES, TEXT]


async def test_searches_and_histories_of_many_refer_to_it(http: httpx.AsyncClient) -> None:
    await http.put("Patient/p1", json=patient(TEXT))
    for url in ("Patient?_id=p1", "Patient/_history"):
        photo = (await http.get(url)).json()["entry"][0]["resource"]["photo"][0]
        assert "data" not in photo
        assert photo["size"] == len(LARGE)
        assert photo["url"].startswith("Patient/p1/$attachment?sha256=")


async def test_it_can_be_left_out(http: httpx.AsyncClient) -> None:
    await http.put("Patient/p1", json=patient(TEXT))
    photo = (await http.get("Patient/p1?_inline=false")).json()["photo"][0]
    assert "data" not in photo
    assert photo["size"] == len(LARGE)


async def test_much_data_is_given_when_asked_for_only(http: httpx.AsyncClient) -> None:
    much = base64.b64encode(image() + bytes(1_100_000)).decode()
    stored = (await http.put("Patient/p1", json=patient(much))).json()
    assert "data" not in stored["photo"][0]
    assert "data" not in (await http.get("Patient/p1")).json()["photo"][0]
    assert (await http.get("Patient/p1?_inline=true")).json()["photo"][0]["data"] == much


async def test_what_the_client_said_of_the_content_is_kept(http: httpx.AsyncClient) -> None:
    sent = patient(TEXT)
    sent["photo"][0] |= {"url": "https://example.org/face.png", "size": 5}
    stored = (await http.put("Patient/p1", json=sent)).json()
    assert without_stamp(stored) == sent
    photo = (await http.get("Patient/p1?_inline=false")).json()["photo"][0]
    assert (photo["url"], photo["size"]) == ("https://example.org/face.png", 5)


async def test_data_of_kinds_that_are_no_uploads_stays_in_the_resource(http: httpx.AsyncClient) -> None:
    xml = "<?xml version='1.0'?><library xmlns='urn:hl7-org:elm:r1'>" + "<def name='a'/>" * 8000 + "</library>"
    content = {"contentType": "application/elm+xml", "data": base64.b64encode(xml.encode()).decode()}
    sent = {"resourceType": "Library", "id": "l1", "status": "draft", "content": [content], "type": {"text": "logic"}}
    stored = await http.put("Library/l1", json=sent)
    assert stored.status_code == 201, stored.text
    found = (await http.get("Library?_id=l1")).json()["entry"][0]["resource"]
    assert found["content"] == [content]


@given(st.binary(min_size=1, max_size=200), st.integers(1, 90), st.sampled_from(["\n", "\r\n", " "]), st.booleans())
def test_lines_of_base64_are_laid_out_again(data: bytes, width: int, separator: str, end: bool) -> None:
    bare = base64.b64encode(data).decode()
    text = separator.join(bare[start : start + width] for start in range(0, len(bare), width)) + (separator if end else "")

    layout = layout_of(text)

    assert layout is not None
    assert laid_out(bare, layout) == text


def test_base64_that_is_broken_without_a_rule_has_no_layout() -> None:
    assert layout_of("QUJD REVG\nR0g=") is None
    assert layout_of("QUJDREVGR0g=") == ""
