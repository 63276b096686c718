"""Marked values are sent wherever a request can carry one; logs, measurements and errors about others must not hold them.

docs/security.md
"""

import base64
import io
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from authz_requests import Dice, some_request
from authz_world import story
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from fhir_server import engine
from fhir_server.config import Settings
from fhir_server.exchange import Call, Context, Reply
from tests.conftest import client_of
from tests.logged import logged

MARK = "zqxmark"
OWN = "qzystored"
ROOT = "http://test"
SSN = "http://hl7.org/fhir/sid/us-ssn"
JSON = {"Content-Type": "application/fhir+json"}
XML = {"Content-Type": "application/fhir+xml"}


@pytest.fixture
def log(settings: Settings) -> Iterator[io.StringIO]:
    """All that this process logs, at the level debug."""
    with logged(settings) as output:
        yield output


@pytest.fixture
async def web(settings: Settings, database: AsyncDatabase[dict[str, Any]], log: io.StringIO) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application, made after logging is configured, that records and throttles nothing."""
    del log
    changed = settings.model_copy(update={"audit": "all", "delete_check": True, "reference_check": True, "duplicates": "warn"})
    async with client_of(changed, database) as opened:
        yield opened


def patient(word: str, **more: Any) -> dict[str, Any]:
    """Return a patient in which every text is marked."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:mrn", "value": f"{word}-id"}, {"system": SSN, "value": "523-45-6789"}],
        "name": [{"family": f"{word}family", "given": [f"{word}given"]}],
        "telecom": [{"system": "email", "value": f"{word}@example.org"}],
        "address": [{"line": [f"{word} street"], "city": f"{word}city"}],
        "birthDate": "1961-02-03",
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{word}</div>'},
        **more,
    }


def requests(id_: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return requests of every kind, right and wrong, with a marked value in each place that takes one."""
    m, good = MARK, patient(MARK)
    bad = {**good, "birthDate": f"{m}date", "gender": f"{m}gender", f"{m}member": 1}
    xml = f'<Patient xmlns="http://hl7.org/fhir"><name><family value="{m}xml"/></name></Patient>'
    entry = {"resource": good, "request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier={m}"}}
    entries = [entry, {"request": {"method": "GET", "url": f"Patient?name={m}"}}, {"resource": bad, "request": {"method": "PUT"}}]
    batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "resource", "resource": good}, {"name": m, "valueString": m}],
    }
    jsons: list[tuple[str, str, Any]] = [
        ("POST", "Patient", good),
        ("POST", "Patient", bad),
        ("PUT", f"Patient/{m}-client-id", {**good, "id": f"{m}-client-id"}),
        ("PUT", f"Patient/{m}-other", {**good, "id": f"{m}-wrong"}),
        ("PUT", f"Patient?identifier={m}", good),
        ("PATCH", f"Patient/{id_}", [{"op": "test", "path": f"/{m}", "value": m}]),
        ("POST", "", batch),
        ("POST", "", {**batch, "type": "transaction"}),
        ("POST", "Patient/$match", parameters),
        ("POST", "Patient/$merge", parameters),
        ("POST", "Patient/$validate", bad),
        ("POST", f"${m}", parameters),
        ("POST", "Binary", {"resourceType": "Binary", "contentType": f"text/{m}", "data": base64.b64encode(m.encode()).decode()}),
        ("POST", f"{ROOT}/api/v1/prm/patients", {"first_name": m, "last_name": m, "ssn": m, m: m}),
        ("PATCH", f"{ROOT}/api/v1/prm/patients/{m}", {"last_name": m}),
    ]
    found: list[tuple[str, str, dict[str, Any]]] = [
        (method, path, {"json": body, "headers": JSON}) for method, path, body in jsons
    ]
    headers = [
        {name: f"{m} header"} for name in ("Authorization", "X-Break-Glass", "Cookie", "Prefer", "X-Forwarded-For", "Accept")
    ]
    headers += [
        {name: f'W/"{m}"'} for name in ("If-Match", "If-None-Match", "If-Modified-Since", "Host", "User-Agent", "Referer")
    ]
    found += [("GET", f"Patient/{id_}", {"headers": one}) for one in headers]
    found += [("POST", "Patient", {"json": good, "headers": JSON | {"If-None-Exist": f"name={m}&{m}=1"}})]
    found += [("POST", "Patient", {"content": one, "headers": XML}) for one in (xml, xml[:-4], f"<{m}/>", f"<!DOCTYPE {m}>{xml}")]
    found += [("POST", "Patient", {"content": one, "headers": JSON}) for one in (f'{{"{m}":', f'"{m}"', f'{{"id":"{m}"}}' * 2)]
    found += [("POST", "Patient/_search", {"data": {"name": m, m: m}}), ("POST", "Patient", {"data": {"name": m}})]
    paths = [
        m,
        f"Patient/{m}",
        f"Patient/{m}!",
        f"Patient/{id_}/_history/{m}",
        f"Patient/{id_}/${m}",
        f"{m}/{id_}/{m}",
        f"%ff{m}",
    ]
    paths += [
        f"Patient?{name}={quote(m)}"
        for name in ("name", "_id", m, "birthdate", "_sort", "_count", "_cursor", "_filter", "_has:X:y:z")
    ]
    paths += [
        f"Patient?general-practitioner.name={m}",
        f"Patient?_query=fuzzy&q={m}",
        f"Patient?_include={m}:x",
        f"Patient?name:{m}=1",
    ]
    paths += [
        f"{ROOT}/{m}",
        f"{ROOT}/blobs/{m}/{m}?sig={m}",
        f"{ROOT}/api/v1/prm/patients?search={m}&{m}={m}",
        f"{ROOT}/api/v1/prm/patients/{m}/history",
    ]
    found += [("GET", path, {}) for path in paths]
    found += [("DELETE", f"Patient?name={m}", {}), (m.upper(), "Patient", {}), ("GET", f"Patient?x={m * 6000}", {})]
    return found


async def metrics_of(client: httpx.AsyncClient) -> str:
    """Return the measurements."""
    found = (await client.get(f"{ROOT}/metrics")).text
    assert "fhir_requests_total" in found
    return found


async def test_no_request_leaves_a_value_in_logs_or_measurements(web: httpx.AsyncClient, log: io.StringIO) -> None:
    """About a hundred requests of every kind, with marked values in bodies, parameters, headers and paths."""
    id_ = (await web.post("Patient", json=patient(MARK))).json()["id"]
    statuses = set()
    for method, path, sent in requests(id_):
        answer = await web.request(method, path, **sent)
        statuses.add(answer.status_code)
        assert answer.status_code != 500, (method, path, answer.text)
    assert {200, 201, 400, 404, 405, 414} <= statuses
    text = (log.getvalue() + await metrics_of(web)).lower()
    assert text.count('"event":"request"') > 60
    assert [line for line in text.splitlines() if MARK in line or "523-45" in line] == []


WORDS = re.compile(r"(?i)\b(smith|smithers|jones|ann|bob|house|grey|hb|pulse|flu|gout|face|side|any|north|south|room)\b")
"""What the generated clinic says of people and their health, in bodies and in questions."""
GENERATED = 600


def marked(text: str) -> str:
    """Return the text with a mark before each of the words."""
    return WORDS.sub(rf"{MARK}\1", text)


async def test_generated_requests_leave_no_value_in_logs_or_measurements(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], log: io.StringIO
) -> None:
    """The requests of every kind by which access control is tested, over their clinic, with an audit trail and as a server."""
    changed = settings.model_copy(update={"audit": "all", "mrn": False, "rate_limit": 0, "log_requests": True})
    dice, seen = Dice(11), 0
    async with client_of(changed, database) as web:
        for method, type_, id_, resource in story(random.Random(4)):
            body = marked(json.dumps(resource)) if resource else ""
            answer = await web.request(method, f"{type_}/{id_}", content=body, headers=JSON)
            assert answer.status_code in (200, 201, 204), answer.text
        for _ in range(GENERATED):
            request = some_request(dice)
            headers = {"Content-Type": "application/fhir+json", **request.headers}
            body = marked(request.encoded().decode())
            answer = await web.request(request.method, marked(request.path), content=body, headers=headers)
            assert answer.status_code < 500, (request, answer.text)
            seen += MARK in answer.text
        text = (log.getvalue() + await metrics_of(web)).lower()
    assert seen > GENERATED // 10
    assert text.count('"event":"request"') > GENERATED
    assert f'"tenant":"{settings.default_tenant}"' in text
    assert [line for line in text.splitlines() if MARK in line] == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"{MARK} is wrong"),
        OperationFailure(f"{MARK} in a document", 9999, {"errmsg": MARK}),
        RuntimeError(MARK, {"name": MARK}),
    ],
)
async def test_what_nobody_foresaw_is_logged_without_its_message(
    web: httpx.AsyncClient, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """An exception whose message quotes a value reaches neither the log nor the client with it."""

    async def fail(_ctx: Context, _call: Call) -> Reply:
        raise error from KeyError(MARK)

    monkeypatch.setitem(engine.INTERACTIONS, "read", fail)
    answer = await web.get("Patient/1")
    assert answer.status_code == 500
    assert MARK not in answer.text
    assert "unforeseen" in log.getvalue()
    assert MARK not in log.getvalue()


async def test_errors_do_not_quote_what_others_stored(web: httpx.AsyncClient) -> None:
    """Refusals of requests that collide with somebody else's data tell nothing of it."""
    other = (await web.post("Patient", json=patient(OWN))).json()
    twin = patient(OWN)
    twin["name"][0]["given"] = [f"{OWN}second"]
    await web.post("Patient", json=twin)
    await web.post(
        "Observation",
        json={
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": OWN},
            "subject": {"reference": f"Patient/{other['id']}"},
        },
    )
    number = next(one["value"] for one in other["identifier"] if one["system"].startswith("urn:prm:mrn"))
    mine = {"resourceType": "Patient", "birthDate": "1961-02-03"}
    taken = {**mine, "identifier": [{"system": f"urn:prm:mrn:{_tenant(other)}", "value": number}]}
    answers = [
        await web.post("Patient", json=taken),
        await web.put("Patient?birthdate=1961-02-03", json=mine),
        await web.delete(f"Patient/{other['id']}"),
        await web.put(f"Patient/{other['id']}", json={**mine, "id": other["id"]}, headers={"If-Match": 'W/"99"'}),
        await web.patch(
            f"Patient/{other['id']}",
            json=[{"op": "test", "path": "/name/0/family", "value": "x"}],
            headers={"Content-Type": "application/json-patch+json"},
        ),
        await web.post("Patient", json=mine, headers={"If-None-Exist": "birthdate=1961-02-03"}),
        await web.get(f"Patient/{other['id']}/_history/77"),
        await web.get(f"Patient/{other['id']}?_elements=name&_summary=wrong"),
    ]
    assert [answer.status_code for answer in answers if answer.status_code < 400] == []
    for answer in answers:
        assert OWN not in answer.text, answer.text
        assert "523-45" not in answer.text


def _tenant(resource: dict[str, Any]) -> str:
    system = next(one["system"] for one in resource["identifier"] if one["system"].startswith("urn:prm:mrn"))
    return str(system).rpartition(":")[2]


async def test_logins_and_tokens_leave_no_secret(
    settings: Settings, database: AsyncDatabase[dict[str, Any]], log: io.StringIO
) -> None:
    """Names, passwords, codes, tokens and secrets that are refused are in no log and no measurement."""
    changed = settings.model_copy(update={"auth": "builtin", "auth_registration": "open"})
    async with client_of(changed, database) as web:
        for header in (f"Bearer {MARK}", f"Bearer a.{MARK}.c", f"Basic {MARK}", MARK):
            assert (await web.get("Patient", headers={"Authorization": header})).status_code == 401
        forms = [
            {"grant_type": "authorization_code", "code": MARK, "client_id": MARK, "code_verifier": MARK * 8},
            {"grant_type": "refresh_token", "refresh_token": MARK, "client_id": MARK, "client_secret": MARK},
            {"grant_type": "client_credentials", "client_assertion": f"a.{MARK}.c", "client_assertion_type": MARK},
            {"grant_type": MARK, "username": MARK, "password": MARK},
        ]
        for path in (f"{ROOT}/auth/token", f"{ROOT}/auth/introspect", f"{ROOT}/auth/revoke"):
            for form in forms:
                assert (await web.post(path, data={**form, "token": MARK})).status_code in (400, 401)
        await web.get(
            f"{ROOT}/auth/authorize?client_id={MARK}&redirect_uri=https://{MARK}.example.org&state={MARK}&login_hint={MARK}"
        )
        await web.post(f"{ROOT}/auth/register", json={"client_name": MARK, "redirect_uris": [MARK], MARK: MARK})
        page = await web.get(f"{ROOT}/auth/manage")
        token = page.text.partition('name="form_token" value="')[2].partition('"')[0]
        form = {"form_token": token, "name": MARK, "password": MARK}
        answer = await web.post(f"{ROOT}/auth/manage/login", data=form, headers={"Origin": "http://127.0.0.1:8080"})
        assert answer.status_code < 500
        text = log.getvalue() + await metrics_of(web)
    assert '"a login failed"' in text
    assert [line for line in text.splitlines() if MARK in line] == []
