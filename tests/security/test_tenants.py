"""Tenants, from their making to the proof that nothing of them remains."""

import base64
import gzip
import json
import uuid

import pytest
from authz_server import AuthServer
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.security import archive
from fhir_server.security.tenants import TenantExistsError, Tenants, TenantUnknownError
from fhir_server.store.documents import CODEC_OPTIONS

LOADER = {"scope": "system/*.cruds", "sub": "loader"}


@pytest.fixture
async def server(settings, database):
    return AuthServer(settings, database)


async def fill(server, tenant):
    """Store a patient with two versions, an observation with an exact decimal, a deleted one and a conditional create."""
    async with server.client(LOADER | {"tenant": tenant}) as client:
        patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Núñez"}]}
        for one in (patient, patient | {"active": True}):
            assert (await client.put("Patient/p1", json=one)).status_code in (200, 201)
        value = b'"valueQuantity":{"value":1.00}'
        body = b'{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"x"},' + value + b"}"
        answer = await client.put("Observation/o1", content=body, headers={"Content-Type": "application/fhir+json"})
        assert answer.status_code == 201
        await client.put("Observation/o2", json=json.loads(body) | {"id": "o2"})
        assert (await client.delete("Observation/o2")).status_code == 204
        location = {"resourceType": "Location", "name": "Room"}
        assert (await client.post("Location", json=location, headers={"If-None-Exist": "name=Room"})).status_code == 201


async def everything(database, tenant):
    """Return all documents of a tenant, by collection."""
    found = {}
    for name in await archive.collections(database):
        wanted = await archive.condition(database, name, tenant)
        documents = await database.collection(name).with_options(CODEC_OPTIONS).find(wanted).to_list()
        if documents and name != "_tenants":
            found[name] = sorted(documents, key=lambda one: str(one["_id"]))
    return found


async def test_a_tenant_is_made_once(server):
    tenants, name = Tenants(server.database), f"m{uuid.uuid4().hex[:8]}"
    made = await tenants.create(name, "The clinic", ["https://id.test"])
    assert (made.title, made.issuers, made.suspended) == ("The clinic", ("https://id.test",), False)
    with pytest.raises(TenantExistsError):
        await tenants.create(name)
    assert name in [one.name for one in await tenants.all()]


async def test_a_tenant_that_is_not_known_can_not_be_suspended(server):
    with pytest.raises(TenantUnknownError):
        await Tenants(server.database).suspend("nobody")


async def test_an_export_brings_all_back_under_the_same_name(server, tenant, tmp_path):
    await fill(server, tenant)
    before = await everything(server.database, tenant)
    counts = await archive.export(server.database, tenant, tmp_path / "t.gz")
    assert counts["Patient"] == 1
    assert counts["Patient_history"] == 1
    assert counts["Observation"] == 2
    assert {name: len(documents) for name, documents in before.items()} == {k: v for k, v in counts.items() if k != "_tenants"}
    deleted, remaining = await archive.delete_and_prove(server.database, tenant)
    assert sum(deleted.values()) == sum(len(documents) for documents in before.values())
    assert not any(remaining.values())
    assert {"Patient", "Patient_history", "_guards"} <= remaining.keys()
    await archive.restore(server.database, tmp_path / "t.gz")
    assert await everything(server.database, tenant) == before


async def test_an_export_can_be_restored_under_another_name_and_is_searched_there(server, tenant, tmp_path):
    await fill(server, tenant)
    other = f"{tenant}-copy"
    await archive.export(server.database, tenant, tmp_path / "t.gz")
    await server.tenants.create(other)
    await archive.restore(server.database, tmp_path / "t.gz", other)
    async with server.client(LOADER | {"tenant": other}) as client:
        assert (await client.get("Patient?name:contains=unez")).json()["total"] == 1
        assert '"value":1.00' in (await client.get("Observation/o1")).text
        assert (await client.get("Patient/p1/_history")).json()["total"] == 2
        assert (await client.get("Observation/o2")).status_code == 410


async def test_files_and_encrypted_identifiers_come_back_too(server, tenant, tmp_path):
    ssn = {
        "resourceType": "Patient",
        "id": "p9",
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "219-09-9999"}],
    }
    data = base64.b64encode(b"A long report.\n" * 20_000).decode()
    async with server.client(LOADER) as client:
        assert (await client.put("Patient/p9", json=ssn)).status_code == 201
        binary = {"resourceType": "Binary", "id": "b9", "contentType": "text/plain", "data": data}
        assert (await client.put("Binary/b9", json=binary)).status_code == 201
    before, file, other = await everything(server.database, tenant), tmp_path / "t.gz", f"{tenant}-moved"
    counts = await archive.export(server.database, tenant, file)
    assert b"219-09-9999" not in gzip.decompress(file.read_bytes())
    assert {name: len(found) for name, found in before.items()} == {k: v for k, v in counts.items() if k != "_tenants"}
    await archive.delete_and_prove(server.database, tenant)
    assert await everything(server.database, tenant) == {}
    await archive.restore(server.database, file, other)
    await server.tenants.create(other)
    fresh = AuthServer(server.settings, server.database.mongodb)
    async with fresh.client(LOADER | {"tenant": other}) as client:
        assert (await client.get("Patient/p9")).json()["identifier"][0]["value"] == "219-09-9999"
        assert (await client.get("Patient?identifier=219-09-9999")).json()["total"] == 1
        assert (await client.get("Binary/b9", headers={"Accept": "application/fhir+json"})).json()["data"] == data


async def test_other_tenants_stay_as_they_are(server, tenant):
    other = f"{tenant}-other"
    await server.tenants.create(other)
    await fill(server, tenant)
    await fill(server, other)
    before = await everything(server.database, other)
    await archive.delete_and_prove(server.database, tenant)
    assert await everything(server.database, other) == before


async def test_nothing_is_restored_over_data(server, tenant, tmp_path):
    await fill(server, tenant)
    await archive.export(server.database, tenant, tmp_path / "t.gz")
    with pytest.raises(archive.ArchiveError, match="has data already"):
        await archive.restore(server.database, tmp_path / "t.gz")


async def test_a_file_that_was_cut_short_is_known(server, tenant, tmp_path):
    await fill(server, tenant)
    await archive.export(server.database, tenant, tmp_path / "t.gz")
    lines = gzip.decompress((tmp_path / "t.gz").read_bytes()).splitlines(keepends=True)
    (tmp_path / "short.gz").write_bytes(gzip.compress(b"".join(lines[:-1])))
    with pytest.raises(archive.ArchiveCutShortError):
        await archive.restore(server.database, tmp_path / "short.gz", f"{tenant}-short")
    (tmp_path / "other.gz").write_bytes(b"nonsense")
    with pytest.raises(archive.ArchiveError, match="is no file"):
        await archive.restore(server.database, tmp_path / "other.gz")


async def test_an_export_is_for_its_owner_only(server, tenant, tmp_path):
    await archive.export(server.database, tenant, tmp_path / "t.gz")
    assert (tmp_path / "t.gz").stat().st_mode & 0o077 == 0


def test_the_commands_make_list_suspend_export_restore_and_delete(tmp_path, mongodb_uri, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("FHIR_MONGODB_DATABASE", "fhir_test")
    name, run = f"c{uuid.uuid4().hex[:8]}", CliRunner()

    def ask(*words):
        answer = run.invoke(app, ["tenants", *words])
        return answer.exit_code, " ".join(answer.output.split())

    assert ask("create", name, "--title", "Clinic") == (0, f"Made the tenant {name}.")
    assert ask("create", name) == (2, f"fhir-server: There is a tenant {name} already.")
    assert ask("create", "a/b")[0] == 2
    assert f"{name} Clinic open every" in ask("list")[1]
    assert ask("suspend", name) == (0, f"{name} is suspended.")
    assert ask("suspend", name, "--resume") == (0, f"{name} is open.")
    assert ask("suspend", "nobody")[0] == 2
    assert ask("export", name, "out.gz")[0] == 0
    assert ask("delete", name)[0] == 2
    code, text = ask("delete", name, "--yes", name)
    assert (code, "none remains in any of" in text) == (0, True)
    assert ask("restore", "out.gz")[0] == 0
    assert ask("restore", "missing.gz")[0] == 2
