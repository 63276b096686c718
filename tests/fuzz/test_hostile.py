"""Inputs that attackers try: none becomes an operator, a pattern, a header, a path or a load."""
# ruff: noqa: E501 - long tables of odd values read best as they are.

import gzip
import json
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.types import ASGIApp

from fhir_server.fhir.codec import decode, encode
from tests.fuzz.asgi import Answer, Request, ask
from tests.fuzz.judge import judge

JSON = (b"content-type", b"application/fhir+json")
XML = (b"content-type", b"application/fhir+xml")
SECONDS = 5


async def asked(app: ASGIApp, method: str, target: bytes, *headers: tuple[bytes, bytes], body: bytes = b"") -> Answer:
    """Ask and judge, within a few seconds."""
    started = time.perf_counter()
    answer = await ask(app, Request(method, target, headers, body))
    judge(answer)
    assert time.perf_counter() - started < SECONDS
    return answer


async def created(http: httpx.AsyncClient, **members: Any) -> str:
    answer = await http.post("Patient", json={"resourceType": "Patient"} | members)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def found(http: httpx.AsyncClient, query: str) -> list[str]:
    answer = await http.get(f"Patient?{query}")
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", ()) if entry["search"]["mode"] == "match"]


@pytest.mark.parametrize(
    "value", ['{"$gt":""}', '{"$ne":null}', '{"$regex":".*"}', "$where", "[$ne]", "'; return true; //", "$exists"]
)
@pytest.mark.parametrize(
    "name", ["name", "family:exact", "identifier", "_id", "gender", "organization", "address:contains", "_profile", "_tag"]
)
async def test_a_value_is_never_an_operator(http: httpx.AsyncClient, name: str, value: str) -> None:
    await created(http, name=[{"family": "Holm"}], gender="male")
    answer = await http.get(f"Patient?{name}={quote(value)}")
    assert answer.status_code in (200, 400)
    assert [entry for entry in answer.json().get("entry", ()) if entry["search"]["mode"] == "match"] == []


@pytest.mark.parametrize(
    "name", ["name[$ne]", "$where", "name.$gt", "r.name.family", "s.name", "t", "name:$regex", "_id[$in][]", "__proto__"]
)
async def test_a_name_is_never_a_field_of_the_database(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get(f"Patient?{quote(name)}=x", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    "pattern", [".*", "^", "H.lm", "Holm|x", "[A-Z]", "(Holm)", "Hol+m", r"\w+", "(?i)holm", "Ho*lm", "%", "_olm"]
)
@pytest.mark.parametrize("name", ["family", "family:contains", "family:exact"])
async def test_a_value_is_never_a_pattern(http: httpx.AsyncClient, name: str, pattern: str) -> None:
    await created(http, name=[{"family": "Holm"}])
    assert await found(http, f"{name}={quote(pattern)}") == []


@pytest.mark.parametrize("text", ["(a+)+$", "^a.*[b]", "$where", "a.b", "$", "\\d", "{$gt: 1}", "a*"])
async def test_what_looks_like_a_pattern_or_an_operator_is_found_as_text(http: httpx.AsyncClient, text: str) -> None:
    id_ = await created(http, name=[{"family": text}], identifier=[{"system": "urn:x.y$z", "value": text}])
    escaped = text.replace("\\", "\\\\").replace("$", "\\$")
    assert await found(http, f"family:exact={quote(escaped)}") == [id_]
    assert await found(http, f"family:contains={quote(escaped)}") == [id_]
    assert await found(http, f"identifier={quote('urn:x.y$z|' + escaped)}") == [id_]


@pytest.mark.parametrize("name", ["$where", "$set", "a.b", ".", "$", "_id.x", "name.0.family", "__proto__", "_$x"])
@pytest.mark.parametrize("place", [(), ("name", 0), ("extension", 0), ("contained", 0), ("_birthDate",)])
async def test_a_name_that_databases_mind_is_an_unknown_element(
    http: httpx.AsyncClient, name: str, place: tuple[Any, ...]
) -> None:
    patient: Any = {
        "resourceType": "Patient",
        "name": [{"family": "x"}],
        "extension": [{"url": "urn:x"}],
        "contained": [{"resourceType": "Basic", "code": {"text": "x"}}],
        "_birthDate": {"id": "x"},
    }
    owner = patient
    for step in place:
        owner = owner[step]
    owner[name] = "x"
    answer = await http.post("Patient", json=patient)
    assert answer.status_code == 400
    assert any(name in issue["diagnostics"] for issue in answer.json()["issue"])


@pytest.mark.parametrize("text", ["$where", "a.b", '{"$gt":""}', "$set", "\u2028", "</script><script>", "\r\nSet-Cookie: x=y"])
async def test_a_text_that_databases_mind_comes_back_as_it_was(http: httpx.AsyncClient, text: str) -> None:
    extension = [{"url": "http://x/$a.b", "valueString": text}]
    id_ = await created(http, extension=extension)
    assert (await http.get(f"Patient/{id_}")).json()["extension"] == extension


TARGETS = (
    b"/fhir/../metrics", b"/fhir/%2e%2e/metrics", b"/fhir/..%2fmetrics", b"/fhir/Patient/..%2f..%2fmetadata", b"/fhir/Patient/%2e%2e%2f_history",
    b"/fhir//etc/passwd", b"/fhir/Patient/a%2fb", b"/fhir/Patient/a%5cb", b"/fhir/Patient/a%00b", b"/fhir/Patient/a%0d%0aSet-Cookie:%20a=b", b"/fhir/%2525",
    b"/fhir/Patient/%ff", b"/fhir/Patient/x/_history/%0d%0a", b"/fhir/$a%0d%0ab", b"/fhir/Patient;jsessionid=1/x", b"/fhir/Patient/x/../../y",
    b"/fhir/Patient/x/_history/-1", b"/fhir/Patient/x/_history/99999999999999999999999",
)  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_path_leads_nowhere_but_below_its_base(app: ASGIApp, method: str, target: bytes) -> None:
    body = b'{"resourceType":"Patient"}' if method in ("PUT", "POST") else b""
    answer = await asked(app, method, target, JSON, body=body)
    assert answer.status in (400, 404, 405)
    assert set(answer.headers) <= {
        *(b"allow", b"cache-control", b"content-length", b"content-type", b"vary", b"x-content-type-options", b"x-request-id"),
        *(b"content-security-policy", b"referrer-policy"),
    }


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: a=b", b"a b", b"<script>", b"x" * 500, b"\xff\xfe"])
async def test_only_a_harmless_request_id_is_echoed(app: ASGIApp, value: bytes) -> None:
    answer = await asked(app, "GET", b"/fhir/metadata", (b"x-request-id", value))
    assert answer.headers[b"x-request-id"] != value


@pytest.mark.parametrize("host", [b"evil/path", b"a b", b"x\r\ny", b"user@host", b"", b"\xff", b"a?b", b"a#b"])
async def test_what_is_no_host_does_not_get_into_a_location(app: ASGIApp, host: bytes) -> None:
    answer = await ask(app, Request("POST", b"/fhir/Patient", (JSON, (b"host", host)), b'{"resourceType":"Patient"}'))
    assert answer.status == 201
    assert answer.headers[b"location"].startswith((b"http://127.0.0.1:8080/fhir/Patient/", b"http://test/fhir/Patient/"))


HUGE = b"x" * 1_000_000


@pytest.mark.parametrize(
    "name",
    [b"accept", b"prefer", b"if-match", b"if-none-match", b"if-modified-since", b"accept-encoding", b"x-request-id", b"cookie"],
)
async def test_a_huge_header_costs_nothing(app: ASGIApp, name: bytes) -> None:
    for value in (HUGE, b"," * 100_000, b"W/" * 100_000, b'"' * 100_001, b";" * 100_000, b"=" * 100_000):
        answer = await asked(app, "GET", b"/fhir/Patient/example", (name, value))
        assert answer.status in (200, 406)


CONDITIONS = (b"identifier=" + b"x" * 40_000, b"&".join([b"identifier=x"] * 101), b"identifier=" + b"x," * 1001)


@pytest.mark.parametrize("condition", CONDITIONS, ids=["long", "many", "values"])
async def test_a_huge_condition_is_refused(app: ASGIApp, condition: bytes) -> None:
    patient = b'{"resourceType":"Patient"}'
    answer = await asked(app, "POST", b"/fhir/Patient", JSON, (b"if-none-exist", condition), body=patient)
    assert answer.status == 400
    answer = await asked(app, "PUT", b"/fhir/Patient?" + condition, JSON, body=patient)
    assert answer.status in (400, 414)


async def test_many_parameters_are_refused(app: ASGIApp) -> None:
    assert (await asked(app, "GET", b"/fhir/Patient?" + b"&".join([b"name=a"] * 101))).status == 400
    assert (await asked(app, "GET", b"/fhir/Patient?" + b"&".join([b"name=a"] * 6_000))).status == 414
    form = (b"content-type", b"application/x-www-form-urlencoded")
    assert (await asked(app, "POST", b"/fhir/Patient/_search", form, body=b"&".join([b"name=a"] * 500_000))).status == 400
    assert (await asked(app, "POST", b"/fhir/Patient/_search", form, body=b"name=" + b"a," * 500_000)).status == 400


FILTERS = (
    "(" * 5000,
    "not " * 3000 + "(name eq x)",
    " and ".join(["name eq a"] * 2000),
    "name eq " + '"' * 3001,
    "a.b." * 2000 + " eq x",
)


@pytest.mark.parametrize("text", FILTERS, ids=lambda text: text[:10])
async def test_a_huge_filter_is_refused(app: ASGIApp, text: str) -> None:
    form = (b"content-type", b"application/x-www-form-urlencoded")
    strict = (b"prefer", b"handling=strict")
    answer = await asked(app, "POST", b"/fhir/Patient/_search", form, strict, body=b"_filter=" + quote(text).encode())
    assert answer.status == 400


async def test_a_gzip_bomb_is_refused(app: ASGIApp) -> None:
    bomb = gzip.compress(b'{"resourceType":"Patient","language":"' + b" " * 200_000_000, compresslevel=1)
    answer = await asked(app, "POST", b"/fhir/Patient", JSON, (b"content-encoding", b"gzip"), body=bomb)
    assert answer.status == 413


@pytest.mark.parametrize("after", [b"garbage", gzip.compress(b"{}"), b"\x1f\x8b"], ids=["garbage", "stream", "magic"])
async def test_what_follows_a_gzip_stream_is_refused(app: ASGIApp, after: bytes) -> None:
    body = gzip.compress(b'{"resourceType":"Patient"}') + after
    answer = await asked(app, "POST", b"/fhir/Patient", JSON, (b"content-encoding", b"gzip"), body=body)
    assert answer.status == 400


LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS + '<Patient xmlns="http://hl7.org/fhir"><language value="&i;"/></Patient>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Patient xmlns="http://hl7.org/fhir"><id value="&a;"/></Patient>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x"><Patient xmlns="http://hl7.org/fhir"/>',
        '<Patient xmlns="http://hl7.org/fhir">' + '<extension url="u">' * 100_000,
        '<Patient xmlns="http://hl7.org/fhir" ' + " ".join(f'a{number}="x"' for number in range(50_000)) + "/>",
        '<Patient xmlns="http://hl7.org/fhir" '
        + " ".join(f'xmlns:a{number}="x"' for number in range(20_000))
        + '><name a="&#0;"/></Patient>',
        "<" * 1_000_000,
        "<a>" * 1_000_000,
    ],
    ids=["laughs", "file", "network", "deep", "attributes", "namespaces", "brackets", "tags"],
)
async def test_an_xml_bomb_is_refused(app: ASGIApp, text: str) -> None:
    answer = await asked(app, "POST", b"/fhir/Patient", XML, body=text.encode())
    assert answer.status == 400
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 500_000,
        '{"resourceType":"Patient","extension":[' * 100_000,
        '{"resourceType":"Patient","multipleBirthInteger":' + "9" * 1_000_000 + "}",
        '{"resourceType":"Patient","multipleBirthInteger":1' + "0" * 100_000 + "e5}",
        '{"resourceType":"Patient",' + ",".join(f'"a{number}":1' for number in range(100_000)) + "}",
        '{"resourceType":"Patient","name":[' + ",".join(["{}"] * 200_000) + "]}",
        '{"resourceType":"Patient","birthDate":"' + "1" * 1_000_000 + '"}',
        '{"resourceType":"Patient","photo":[{"data":"' + "A" * 1_000_001 + '"}]}',
        '{"resourceType":"Patient","id":"' + "a" * 1_000_000 + '","x":"' + "\\u0061" * 100_000 + '"}',
    ],
    ids=["arrays", "objects", "extensions", "digits", "exponent", "members", "items", "date", "base64", "escapes"],
)
async def test_a_json_bomb_is_refused_with_an_answer_of_moderate_size(app: ASGIApp, text: str) -> None:
    answer = await asked(app, "POST", b"/fhir/Patient", JSON, body=text.encode())
    assert answer.status == 400
    assert len(answer.body) < 200_000


NAMES = ([{"family": f"{number} of {number}"} for number in range(20_000)], [{"text": "x" * 1_000_000}])


@pytest.mark.parametrize("names", NAMES, ids=["many", "long"])
async def test_names_beyond_all_reason_are_refused(app: ASGIApp, names: list[dict[str, str]]) -> None:
    body = encode({"resourceType": "Patient", "name": names})
    answer = await asked(app, "POST", b"/fhir/Patient", JSON, body=body)
    assert (answer.status, answer.json["issue"][0]["code"]) == (422, "too-costly")


@pytest.mark.parametrize("id_", [".", ".."])
async def test_a_step_of_a_path_is_no_id(app: ASGIApp, id_: str) -> None:
    body = encode({"resourceType": "Patient", "id": id_})
    answer = await asked(app, "PUT", f"/fhir/Patient/{id_}".encode(), JSON, body=body)
    assert answer.status == 400
    bundle = {"resourceType": "Bundle", "type": "transaction"}
    entry = {"resource": decode(body), "request": {"method": "PUT", "url": "Patient?identifier=x"}}
    answer = await asked(app, "POST", b"/fhir/", JSON, body=encode(bundle | {"entry": [entry]}))
    assert answer.status == 400
    answer = await asked(app, "PUT", b"/fhir/Patient?identifier=y", JSON, body=body)
    assert answer.status == 400


async def test_a_patch_does_not_grow_without_bounds(http: httpx.AsyncClient) -> None:
    id_ = await created(http, name=[{"family": "x" * 1000}])
    doubling = [{"op": "copy", "from": "/name", "path": "/name/-"}, {"op": "add", "path": "/x", "value": 1}] * 400
    growing = [{"op": "copy", "from": "/name/0", "path": "/name/-"}] * 1001
    for operations in (doubling, growing):
        answer = await http.patch(
            f"Patient/{id_}", content=json.dumps(operations), headers={"Content-Type": "application/json-patch+json"}
        )
        assert 400 <= answer.status_code < 500


async def test_a_bundle_that_refers_to_itself_ends(http: httpx.AsyncClient) -> None:
    url = "urn:uuid:7b1ca8d7-5b9d-4ef1-ba0d-a4b9b8d84b9a"
    patient = {"resourceType": "Patient", "link": [{"other": {"reference": url}, "type": "refer"}]}
    inner = {"fullUrl": url, "resource": patient, "request": {"method": "POST", "url": "Patient"}}
    answer = await http.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [inner]})
    assert answer.status_code == 200
    stored = (await http.get(answer.json()["entry"][0]["response"]["location"])).json()
    assert stored["link"][0]["other"]["reference"] == f"Patient/{stored['id']}"


@pytest.mark.parametrize(
    "url",
    [
        "../../metrics",
        "http://evil/fhir/Patient",
        "//evil/Patient",
        "Patient/../x",
        "Patient/%2e%2e",
        "\r\nx",
        "/fhir/",
        "file:///x",
    ],
)
async def test_an_entry_of_a_batch_reaches_only_what_this_server_has(http: httpx.AsyncClient, url: str) -> None:
    entry = {"request": {"method": "GET", "url": url}}
    answer = await http.post("", content=encode({"resourceType": "Bundle", "type": "batch", "entry": [entry]}))
    if answer.status_code == 200:
        assert answer.json()["entry"][0]["response"]["status"][:3] in ("400", "404", "405")
    else:
        assert answer.status_code == 400


async def test_a_batch_in_a_batch_is_refused(http: httpx.AsyncClient) -> None:
    inner: dict[str, Any] = {"resourceType": "Bundle", "type": "batch", "entry": []}
    for _ in range(5):
        inner = {
            "resourceType": "Bundle",
            "type": "batch",
            "entry": [{"resource": inner, "request": {"method": "POST", "url": "/"}}],
        }
    answer = await http.post("", json=inner)
    assert answer.json()["entry"][0]["response"]["status"].startswith("4")


async def test_a_forged_cursor_is_refused(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await created(http)
    first = (await http.get("Patient?_count=1")).json()
    link = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert (await http.get(link)).status_code == 200
    for forged in (
        link[:-1],
        link + "x",
        link.replace("_cursor=", "_cursor=A"),
        "Patient?_cursor=x",
        "Patient?_cursor=e30",
        "Patient?_cursor=%00",
    ):
        answer = await http.get(forged)
        assert answer.status_code == 400, forged
