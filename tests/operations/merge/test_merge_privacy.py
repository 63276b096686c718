"""Who may merge, and what nobody sees by it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.store.merges import ITEMS, MERGES
from fhir_server.store.redirects import REDIRECTS
from tests.conftest import client_of
from tests.operations.merge.conftest import Finish
from tests.operations.merge.merge_samples import (
    PREVIEW,
    found_ids,
    get,
    merge,
    observation,
    parameters,
    part,
    patient,
    put,
    ref,
    refusal,
    undo,
)
from tests.security.authz_server import AuthServer

SSN = "http://hl7.org/fhir/sid/us-ssn"
ALL = {"scope": "system/*.cruds", "sub": "loader"}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def server(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AuthServer:
    return AuthServer(settings, database)


@pytest.fixture
async def loaded(server: AuthServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may do everything, with two patients, and an observation and a claim about s."""
    claim = {
        "resourceType": "Coverage",
        "id": "c",
        "status": "active",
        "beneficiary": ref("Patient/s"),
        "payor": [ref("Organization/o")],
    }
    async with server.client(ALL) as http:
        await put(http, patient("s"), patient("t"), observation("o"), claim)
        yield http


NARROW = "user/Patient.cruds user/Observation.cruds user/Provenance.cruds"


@pytest.mark.parametrize(
    ("scope", "headers"),
    [
        (NARROW, {}),
        (NARROW, ASYNC),
        ("user/Patient.rs user/Observation.cruds user/Coverage.cruds", {}),
        ("user/Observation.cruds user/Coverage.cruds", {}),
        (f"{NARROW} user/Coverage.cruds?status=cancelled", {}),
        (f"{NARROW} user/Coverage.cruds?status=cancelled", ASYNC),
    ],
)
async def test_who_may_not_change_all_of_it_changes_nothing(
    server: AuthServer, loaded: httpx.AsyncClient, scope: str, headers: dict[str, str]
) -> None:
    async with server.client({"scope": scope, "roles": ["admin"]}) as http:
        assert refusal(await merge(http, **headers)) == (403, "forbidden")
    for path in ("Patient/s", "Patient/t", "Observation/o", "Coverage/c"):
        assert (await get(loaded, path))["meta"]["versionId"] == "1"
    assert (await get(loaded, "Provenance?_summary=count"))["total"] == 0


async def test_who_may_change_the_record_needs_no_right_to_write_what_the_server_records(
    server: AuthServer, loaded: httpx.AsyncClient
) -> None:
    scope = "user/Patient.cruds user/Observation.cruds user/Coverage.cruds"
    async with server.client({"scope": scope, "roles": ["admin"], "sub": "clerk"}) as http:
        answer = await merge(http)
        assert answer.status_code == 200, answer.text
    record = (await get(loaded, "Provenance?target=Patient/t"))["entry"][0]["resource"]
    assert record["agent"][0]["who"]["display"] == "clerk"
    assert (await get(loaded, "Coverage/c"))["beneficiary"] == ref("Patient/t")


@pytest.mark.parametrize("headers", [{}, ASYNC])
async def test_who_may_not_change_all_of_it_can_not_undo_it(
    server: AuthServer, loaded: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await merge(loaded)).status_code == 200
    async with server.client({"scope": NARROW, "roles": ["admin"]}) as http:
        assert refusal(await undo(http, **headers)) == (403, "forbidden")
    assert (await get(loaded, "Observation/o"))["subject"] == ref("Patient/t")


async def test_a_patient_who_may_not_be_seen_is_not_known(server: AuthServer, loaded: httpx.AsyncClient) -> None:
    del loaded
    async with server.client({"scope": "user/Patient.cruds?_id=t user/*.cruds?_id=t", "roles": ["admin"]}) as http:
        assert refusal(await merge(http)) == (422, "not-found")


async def every_byte(database: AsyncDatabase[dict[str, Any]], tenant: str) -> bytes:
    """Return all that is stored of a tenant, as it is stored."""
    import bson  # noqa: PLC0415
    from bson.raw_bson import RawBSONDocument  # noqa: PLC0415

    options: Any = bson.codec_options.CodecOptions(RawBSONDocument)
    found = b""
    names = [MERGES, ITEMS, REDIRECTS, "Patient", "Patient_history", "Provenance", "AuditEvent", "Task"]
    for name in names:
        async for document in database.get_collection(name, codec_options=options).find({"t": tenant}):
            found += document.raw
    return found


@pytest.mark.parametrize("headers", [{}, ASYNC])
async def test_protected_identifiers_stand_nowhere_in_clear(
    http: httpx.AsyncClient,
    database: AsyncDatabase[dict[str, Any]],
    contexts: Contexts,
    tenant: str,
    headers: dict[str, str],
    finish: Finish,
) -> None:
    del contexts
    number = {"system": SSN, "value": "123-45-6789"}
    await put(http, patient("s", identifier=[number]), patient("t"), observation("o"))
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient-identifier", "valueIdentifier": number},
            {"name": "target-patient", "valueReference": ref("Patient/t")},
        ],
    }
    answer = await merge(http, body, **headers)
    assert answer.status_code in (200, 202), answer.text
    assert b"123-45-6789" not in await every_byte(database, tenant)
    await finish()
    stored = await every_byte(database, tenant)
    assert b"123-45-6789" not in stored
    assert SSN.encode() in stored
    assert (await get(http, "Patient/t"))["identifier"] == [number | {"use": "old"}]
    record = (await get(http, "Provenance?target=Patient/t"))["entry"]
    inputs = [one["resource"]["contained"][0] for one in record if "contained" in one["resource"]]
    assert [one["parameter"] for one in inputs] == [body["parameter"]]
    async for document in database[MERGES].find({"t": tenant}):
        assert document["r"] == {}


async def test_closing_the_merge_closes_the_review_of_the_pair(
    settings: Settings, database: AsyncDatabase[dict[str, Any]]
) -> None:
    who = {
        "name": [{"family": "Lindqvist", "given": ["Per"]}],
        "gender": "male",
        "birthDate": "1961-12-24",
        "telecom": [{"system": "phone", "value": "+46 8 123 456 78"}],
    }
    async with client_of(settings.model_copy(update={"duplicates": "warn"}), database) as http:
        ids = [(await http.post("Patient", json={"resourceType": "Patient", **who})).json()["id"] for _ in range(2)]
        (review,) = (await get(http, "Task"))["entry"]
        assert review["resource"]["status"] == "requested"
        assert (await merge(http, parameters(*ids))).status_code == 200
        assert (await get(http, f"Task/{review['resource']['id']}"))["status"] == "completed"
        assert (await undo(http, parameters(*ids))).status_code == 200


async def test_a_preview_tells_a_masked_reader_no_protected_identifier(server: AuthServer) -> None:
    number = {"system": SSN, "value": "123-45-6789"}
    extension = [{"url": "urn:x", "valueIdentifier": {"system": SSN, "value": "987-65-4329"}}]
    async with server.client(ALL) as loader:
        await put(loader, patient("s", identifier=[number]), patient("t", extension=extension))
    async with server.client({"scope": "user/*.cruds", "roles": ["clinician"]}) as http:
        answer = await merge(http, parameters("s", "t", PREVIEW))
        assert answer.status_code == 200, answer.text
        assert "6789" in answer.text
        assert "123-45" not in answer.text
        assert "987-65" not in answer.text
        assert part(answer, "result")["identifier"][0]["value"].endswith("6789")


async def test_tokens_for_the_source_are_good_for_the_survivors_record(server: AuthServer, loaded: httpx.AsyncClient) -> None:
    claims = {"scope": "patient/*.rs", "patient": "s", "roles": ["patient"], "fhirUser": "Patient/s"}
    async with server.client(claims) as http:
        assert (await get(http, "Observation/o"))["subject"] == ref("Patient/s")
        assert (await merge(loaded)).status_code == 200
        assert (await get(http, "Observation/o"))["subject"] == ref("Patient/t")
        assert (await get(http, "Patient/t"))["id"] == "t"
        assert await found_ids(http, "Observation?patient=s") == ["o"]
        assert (await undo(loaded)).status_code == 200
        assert (await get(http, "Observation/o"))["subject"] == ref("Patient/s")
        assert (await http.get("Patient/t")).status_code == 404
