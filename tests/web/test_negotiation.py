"""Formats, headers and the base URL: https://hl7.org/fhir/R4/http.html#mime-type."""

import gzip
import json
from typing import Any

import httpx
import pytest
from lxml import etree
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from tests.conftest import client_of

PATIENT = {"resourceType": "Patient", "name": [{"family": "Formats"}]}
XML = b'<Patient xmlns="http://hl7.org/fhir"><name><family value="Formats"/></name></Patient>'


async def patient(http: httpx.AsyncClient) -> str:
    answer = await http.post("Patient", json=PATIENT)
    return f"Patient/{answer.json()['id']}"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/fhir+json", "json"),
        ("application/json", "json"),
        ("application/fhir+xml", "xml"),
        ("application/xml", "xml"),
        ("text/xml", "xml"),
        ("*/*", "json"),
        ("application/fhir+json;q=0.5, application/fhir+xml", "xml"),
        ("image/png, application/fhir+xml;q=0.1", "xml"),
        ("application/fhir+xml; fhirVersion=4.0", "xml"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("", "json"),
    ],
)
async def test_accept_chooses_the_format(http: httpx.AsyncClient, accept: str, kind: str) -> None:
    answer = await http.get(await patient(http), headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"application/fhir+{kind}; charset=utf-8"


@pytest.mark.parametrize(
    ("format_", "kind"), [("xml", "xml"), ("application/fhir%2Bxml", "xml"), ("application/fhir+xml", "xml"), ("json", "json")]
)
async def test_format_wins_over_accept(http: httpx.AsyncClient, format_: str, kind: str) -> None:
    answer = await http.get(f"{await patient(http)}?_format={format_}", headers={"Accept": "application/fhir+json"})
    assert answer.headers["Content-Type"].startswith(f"application/fhir+{kind}")


@pytest.mark.parametrize("accept", ["image/png", "application/fhir+json; fhirVersion=3.0", "application/fhir+json;q=0"])
async def test_what_can_not_be_served_is_406(http: httpx.AsyncClient, accept: str) -> None:
    answer = await http.get(await patient(http), headers={"Accept": accept})
    assert answer.status_code == 406
    assert answer.json()["issue"][0]["code"] == "not-supported"
    assert (await http.get("metadata?_format=blah")).status_code == 406


async def test_xml_goes_in_and_comes_out(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/fhir+xml", "Accept": "application/fhir+xml"}
    answer = await http.post("Patient", content=XML, headers=headers)
    assert answer.status_code == 201
    root = etree.fromstring(answer.content)
    assert root.xpath("string(f:name/f:family/@value)", namespaces={"f": "http://hl7.org/fhir"}) == "Formats"


async def test_errors_come_in_the_format_that_was_asked_for(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patient/none", headers={"Accept": "application/fhir+xml"})
    assert answer.status_code == 404
    assert etree.fromstring(answer.content).tag == "{http://hl7.org/fhir}OperationOutcome"


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", "application/fhir+json;charset=utf-8;fhirVersion=4.0", "text/json"]
)
async def test_usual_content_types_of_json_are_read(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.post("Patient", content=json.dumps(PATIENT), headers={"Content-Type": kind})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/fhir+json; fhirVersion=5.0", "application/json; charset=latin-1", "application/json-patch+json"],
)
async def test_other_content_types_are_415(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.post("Patient", content=json.dumps(PATIENT), headers={"Content-Type": kind})
    assert answer.status_code == 415


async def test_pretty_is_for_people(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{await patient(http)}?_pretty=true")
    assert answer.text.startswith('{\n  "resourceType": "Patient"')


async def test_large_answers_are_packed_for_those_who_take_it(http: httpx.AsyncClient) -> None:
    packed = await http.get("metadata", headers={"Accept-Encoding": "gzip"})
    plain = await http.get("metadata", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json()["resourceType"] == plain.json()["resourceType"] == "CapabilityStatement"


async def test_a_packed_body_is_unpacked_and_a_bomb_is_refused(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    headers = {"Content-Type": "application/fhir+json", "Content-Encoding": "gzip"}
    async with client_of(settings.model_copy(update={"max_body_bytes": 100_000}), database) as http:
        good = await http.post("Patient", content=gzip.compress(json.dumps(PATIENT).encode()), headers=headers)
        bomb = await http.post("Patient", content=gzip.compress(b" " * 10_000_000), headers=headers)
        cut = await http.post("Patient", content=gzip.compress(json.dumps(PATIENT).encode())[:-9], headers=headers)
        none = await http.post("Patient", content=b"{}", headers=headers)
    assert [answer.status_code for answer in (good, bomb, cut, none)] == [201, 413, 400, 400]


async def test_the_base_url_is_the_one_that_the_client_used(http: httpx.AsyncClient) -> None:
    answer = await http.post("Patient", json=PATIENT, headers={"Host": "ehr.example:8443"})
    assert answer.headers["Location"].startswith("http://ehr.example:8443/fhir/Patient/")


async def test_forwarded_headers_count_only_behind_a_trusted_proxy(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    headers = {"X-Forwarded-Host": "public.example", "X-Forwarded-Proto": "https"}
    for proxies, start in (("", "http://test/fhir/"), ("127.0.0.1", "https://public.example/fhir/")):
        async with client_of(settings.model_copy(update={"trusted_proxies": proxies}), database) as http:
            answer = await http.post("Patient", json=PATIENT, headers=headers)
        assert answer.headers["Location"].startswith(start)


async def test_a_configured_base_url_wins(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client_of(settings.model_copy(update={"base_url": "https://fixed.example/r4/"}), database) as http:
        answer = await http.post("Patient", json=PATIENT)
    assert answer.headers["Location"].startswith("https://fixed.example/r4/Patient/")


async def test_browsers_may_call_from_allowed_origins_only(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> None:
    async with client_of(settings.model_copy(update={"cors_origins": "https://app.example"}), database) as http:
        allowed = await http.get("metadata", headers={"Origin": "https://app.example"})
        other = await http.get("metadata", headers={"Origin": "https://evil.example"})
        preflight = await http.options(
            "Patient/1", headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
        )
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "ETag" in allowed.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in other.headers
    assert preflight.status_code == 200
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]


async def test_a_url_over_the_limit_is_414(http: httpx.AsyncClient) -> None:
    answer = await http.get("Patient?name=" + "x" * 40_000)
    assert answer.status_code == 414


async def test_the_request_id_comes_back(http: httpx.AsyncClient) -> None:
    assert (await http.get("Patient/none", headers={"X-Request-Id": "abc-123"})).headers["X-Request-Id"] == "abc-123"
    assert (await http.get("Patient/none")).headers["X-Request-Id"]


async def test_openapi_describes_the_paths(http: httpx.AsyncClient) -> None:
    found = (await http.get("openapi.json")).json()
    assert found["openapi"] == "3.1.0"
    assert {"/{type}", "/{type}/{id}", "/metadata"} <= found["paths"].keys()
