"""Who may have content: whoever may see what it is part of, by whichever way they ask."""

import base64

import httpx
import pytest
from authz_server import AuthServer

from fhir_server.config import Settings
from fhir_server.web.blobs import BlobApp
from tests.media_files import image

ALL = {"scope": "system/*.cruds", "sub": "loader"}
PNG = {"Content-Type": "image/png"}
RAW = {"Accept": "*/*"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a server that gives data back only when asked."""
    return settings.model_copy(update={"inline_default_bytes": 0})


def of_patient(id_):
    return {"scope": "patient/*.rs launch/patient", "patient": id_, "sub": id_}


@pytest.fixture
async def server(settings, database):
    return AuthServer(settings, database)


@pytest.fixture
async def document(server):
    """A document of the patient p1, with a Binary of its own."""
    async with server.client(ALL) as client:
        for id_ in ("p1", "p2"):
            assert (await client.put(f"Patient/{id_}", json={"resourceType": "Patient", "id": id_})).status_code == 201
        binary = (await client.post("Binary", content=image(), headers=PNG | {"X-Security-Context": "Patient/p1"})).json()["id"]
        sent = {
            "resourceType": "DocumentReference",
            "status": "current",
            "subject": {"reference": "Patient/p1"},
            "content": [{"attachment": {"url": f"Binary/{binary}"}}],
        }
        return binary, (await client.post("DocumentReference", json=sent)).json()["id"]


async def test_a_patient_has_the_content_of_their_record_and_of_no_other(server, document):
    binary, reference = document
    paths = [
        f"Binary/{binary}",
        f"Binary/{binary}/$presign",
        f"Binary/{binary}/$thumbnail",
        f"DocumentReference/{reference}/$presign",
        f"DocumentReference/{reference}/$thumbnail",
    ]
    async with server.client(of_patient("p1")) as own, server.client(of_patient("p2")) as other:
        for path in paths:
            assert (await own.get(path, headers=RAW)).status_code == 200, path
            assert (await other.get(path, headers=RAW)).status_code in (403, 404), path


@pytest.mark.usefixtures("document")
async def test_nothing_is_received_from_those_who_may_not_write(server, database, tenant):
    before = await database["_blobs"].count_documents({"t": tenant})
    async with server.client(of_patient("p1")) as client:
        answer = await client.post("Binary", content=image(color="blue"), headers=PNG)
    assert answer.status_code == 403
    assert await database["_blobs"].count_documents({"t": tenant}) == before
    async with server.client() as client:
        assert (await client.post("Binary", content=image(color="blue"), headers=PNG)).status_code == 401


async def test_a_signed_url_needs_no_token_and_an_upload_is_of_who_began_it(server, document):
    binary, _ = document
    async with server.client(ALL) as client:
        found = (await client.get(f"Binary/{binary}/$presign")).json()["parameter"]
        url = next(one["valueUrl"] for one in found if one["name"] == "url")
        asked = {"resourceType": "Parameters", "parameter": [{"name": "size", "valueDecimal": 5}]}
        begun = (await client.post("DocumentReference/$initiate-upload", json=asked)).json()["parameter"]
        upload = next(one["valueString"] for one in begun if one["name"] == "upload")
        assert (await client.get(f"DocumentReference/$upload-status?upload={upload}")).status_code == 200
    async with server.client({"scope": "system/*.cruds", "sub": "somebody-else"}) as other:
        assert (await other.get(f"DocumentReference/$upload-status?upload={upload}")).status_code == 404
    transport = httpx.ASGITransport(BlobApp(server.contexts))
    async with httpx.AsyncClient(transport=transport) as nobody:
        answer = await nobody.get(url, headers=RAW)
        assert (answer.status_code, answer.content) == (200, image())


async def test_the_content_of_a_hidden_element_is_hidden(server):
    data = image() + bytes(100_000)
    photo = [{"contentType": "image/png", "data": base64.b64encode(data).decode()}]
    async with server.client(ALL) as client:
        url = (await client.put("Patient/p5", json={"resourceType": "Patient", "id": "p5", "photo": photo})).json()["photo"][0][
            "url"
        ]
        assert (await client.get(url, headers=RAW)).content == data
    async with server.client({"scope": "user/*.cruds", "roles": ["front_desk"]}) as client:
        assert (await client.get(url, headers=RAW)).status_code == 404
        assert "photo" not in (await client.get("Patient/p5?_inline=true")).json()


async def test_large_data_of_a_record_is_given_to_who_may_see_it(server):
    data = image() + bytes(100_000)
    photo = [{"contentType": "image/png", "data": base64.b64encode(data).decode()}]
    async with server.client(ALL) as client:
        stored = (await client.put("Patient/p3", json={"resourceType": "Patient", "id": "p3", "photo": photo})).json()
        await client.put("Patient/p4", json={"resourceType": "Patient", "id": "p4"})
    url = stored["photo"][0]["url"]
    async with server.client(of_patient("p3")) as own, server.client(of_patient("p4")) as other:
        assert (await own.get(url, headers=RAW)).content == data
        assert (await other.get(url, headers=RAW)).status_code == 404
