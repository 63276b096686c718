"""What operators do at the command line, and what the server does by itself, in the trail: docs/security/audit.md."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.asynchronous.database import AsyncDatabase
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.engine import handle
from fhir_server.exchange import Call
from fhir_server.fhir.outcome import FhirError
from fhir_server.operations.merge.finishing import finish_due
from fhir_server.security.audit import own
from fhir_server.security.audit.event import audit_event
from fhir_server.security.audit.own import commanded
from fhir_server.security.audit.record import Place, Record, unpacked
from fhir_server.security.audit.trail import PARTITION, Trail
from fhir_server.store.database import connect
from tests.conftest import MASTER_KEY
from tests.security.authz_server import AuthServer, default_settings
from tests.security.trail_reading import records

PATIENT = {"resourceType": "Patient", "active": True}


class Scene:
    """A database of its own, with commands on it."""

    def __init__(self, client: pymongo.MongoClient[dict[str, Any]], name: str) -> None:
        self._database = client[name]

    def run(self, *words: str, given: str = "") -> int:
        """Run a command; return its exit code."""
        answer = CliRunner().invoke(app, list(words), input=given)
        assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
        return answer.exit_code

    def records(self) -> list[Record]:
        """Return what was recorded, in its order."""
        names = sorted(name for name in self._database.list_collection_names() if name.startswith(PARTITION))
        documents = [one for name in names for one in self._database[name].find()]
        found = [(str(one["_id"]).partition("/")[2], one["t"], unpacked(one["b"])) for one in documents]
        return [record for _, _, records in sorted(found, key=lambda one: one[0]) for record in records]

    def told(self) -> list[tuple[str, int, str, str]]:
        """Return command, status, what it was about, and what became of it."""
        return [(one.code, one.status, one.about, one.detail) for one in self.records() if one.kind == "command"]


@pytest.fixture
def place(mongodb_uri: str, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A place for commands that keeps a trail."""
    name = f"fhir_own_{tenant}"
    monkeypatch.chdir(tmp_path)
    given = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": name, "DEFAULT_TENANT": tenant, "AUDIT": "all"}
    for key, value in {**given, "MASTER_KEY": MASTER_KEY, "AUTH": "builtin"}.items():
        monkeypatch.setenv(f"FHIR_{key}", value)
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        yield Scene(client, name)
        client.drop_database(name)


def test_loading_is_recorded_with_numbers(place: Scene, tmp_path: Path) -> None:
    """One event says that it began, and one how much was stored; it names who ran it, and where."""
    (tmp_path / "one.ndjson").write_text('{"resourceType": "Patient", "id": "a"}\n{"resourceType": "Patient", "id": "b"}\n')
    assert place.run("load", "one.ndjson") == 0
    assert place.told() == [("load", 200, "", "begun"), ("load", 200, "", "done: 2 resources stored, 0 failures")]
    records = place.records()
    assert len(records) == 2
    assert {(one.principal, one.client, one.address) for one in records} == {
        (own.operator(), "fhir-server", socket.gethostname())
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("reindex", "--type", "Patient"), ("reindex", "Patient", "done: 0 resources had other entries")),
        (("audit", "prune"), ("audit prune", "2557 days are kept", "done: nothing is old enough")),
        (("merges",), ("merges", "", "done: worked on 0")),
        (("find-duplicates",), ("find-duplicates", "", "done: 0 new Tasks")),
        (("keys", "rotate"), ("keys rotate", "", "done: 0 versions")),
        (("keys", "apply"), ("keys apply", "", "done: 0 versions")),
        (("keys", "rewrap"), ("keys rewrap", "", "done: ")),
        (("auth", "keys", "rotate", "--revoke"), ("auth keys rotate", "all other keys are revoked", "done")),
        (("tenants", "create", "north"), ("tenants create", "tenant north", "done")),
        (("auth", "users", "remove", "ada"), ("auth users remove", "user ada", "done: nothing of that name")),
        (
            ("auth", "clients", "add", "x", "--backend", "--jwks-uri", "https://x.example/k"),
            ("auth clients add", "client x", "done"),
        ),
    ],
)
def test_commands_that_change_something_are_recorded(
    place: Scene, words: tuple[str, ...], told: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each leaves its beginning and its end."""

    async def at_once(_: float) -> None:
        """Nobody else is there to wait for."""

    monkeypatch.setattr("fhir_server.search.rekey.sleep", at_once)
    place.run("tenants", "create", "first")
    before = len(place.told())
    place.run(*words)
    code, about, detail = told
    begun, done = place.told()[before:]
    assert begun == (code, 200, about, "begun")
    assert done[:3] == (code, 200, about)
    assert done[3].startswith(detail)


def test_what_only_looks_is_not_recorded(place: Scene) -> None:
    """Lists, verifications and dry runs change nothing."""
    for words in (
        ("tenants", "list"),
        ("keys", "list"),
        ("auth", "users", "list"),
        ("audit", "verify"),
        ("blobs", "gc", "--dry-run"),
    ):
        assert place.run(*words) == 0, words
    assert place.told() == []


def test_the_deletion_of_a_tenant_is_in_the_trail_of_the_default_one(place: Scene) -> None:
    """Its own trail is deleted with it."""
    place.run("tenants", "create", "north")
    assert place.run("tenants", "delete", "north", "--yes", "north") == 0
    found = [one for one in place.told() if one[0] == "tenants delete"]
    assert [one[:3] for one in found] == [("tenants delete", 200, "tenant north")] * 2
    assert found[1][3].startswith("done: ")
    assert found[1][3].endswith(" deleted, 0 remain")


def test_of_the_default_tenant_nothing_remains_not_even_the_record_of_its_deletion(place: Scene, tenant: str) -> None:
    """What is proved is still true afterwards."""
    place.run("tenants", "create", "north")
    assert place.run("tenants", "delete", tenant, "--yes", tenant) == 0
    assert place.told() == []


def test_a_command_that_fails_is_recorded_as_such(place: Scene) -> None:
    """With the kind of error, which says nothing of content."""
    place.run("tenants", "create", "north")
    assert place.run("tenants", "create", "north") == 2
    assert place.told()[-1] == ("tenants create", 500, "tenant north", "not done: TenantExistsError")


def test_without_a_trail_nothing_is_recorded(place: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """FHIR_AUDIT=off holds for commands too."""
    monkeypatch.setenv("FHIR_AUDIT", "off")
    assert place.run("tenants", "create", "north") == 0
    assert place.records() == []


def test_chains_of_commands_are_whole(place: Scene) -> None:
    """They are verified like those of servers."""
    place.run("tenants", "create", "north")
    place.run("tenants", "suspend", "north")
    assert place.run("audit", "verify") == 0


async def test_nothing_is_begun_where_it_can_not_be_recorded(
    tenant: str, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trail comes first."""

    async def away(*_: Any) -> None:
        raise FhirError(503, ())

    monkeypatch.setattr(Trail, "record", away)
    settings = default_settings(tenant, mongodb_uri, audit="all")
    async with connect(mongodb_uri, settings) as client:
        database = AuthServer(settings, client["fhir_test"]).database
        with pytest.raises(FhirError):
            async with commanded(database, "reindex"):
                pytest.fail("it began")


async def test_an_interruption_is_records(database: AsyncDatabase[dict[str, Any]], tenant: str, mongodb_uri: str) -> None:
    """Who presses Ctrl-C leaves that."""
    server = AuthServer(default_settings(tenant, mongodb_uri, audit="all"), database)

    async def work() -> None:
        async with commanded(server.database, "reindex"):
            began.set()
            await asyncio.sleep(60)

    began = asyncio.Event()
    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(one.status, one.detail) for one in await records(database, tenant)] == [
        (200, "begun"),
        (500, "not done: CancelledError"),
    ]


@pytest.fixture
def server(tenant: str, mongodb_uri: str, database: AsyncDatabase[dict[str, Any]]) -> AuthServer:
    """A server that records everything."""
    return AuthServer(default_settings(tenant, mongodb_uri, audit="all"), database)


async def test_what_the_server_changes_by_itself_is_recorded(
    server: AuthServer, tenant: str, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """Consumers, tasks and jobs leave an event for each change, and none for what they only read."""
    ctx = await server.contexts.of_tenant(tenant)
    reply = await handle(ctx, Call("create", "Patient", resource=PATIENT))
    id_ = reply.location.split("/")[1]
    await handle(ctx, Call("read", "Patient", id_))
    await handle(ctx, Call("search-type", "Patient"))
    with pytest.raises(FhirError):
        await handle(ctx, Call("update", "Patient", "absent", resource={"resourceType": "Patient", "id": "other"}))
    found = await records(database, tenant)
    assert [(one.code, one.status, one.principal, one.patients) for one in found] == [
        ("create", 201, "system", (id_,)),
        ("update", 400, "system", ("absent",)),
    ]


async def test_who_calls_themselves_system_is_recorded_all_the_same(
    server: AuthServer, tenant: str, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """A subject of a token is no word of the server."""
    client = server.client({"sub": "system", "scope": "system/*.cruds"})
    assert (await client.get("Patient/absent")).status_code == 404
    (one,) = await records(database, tenant)
    assert (one.code, one.status, one.principal) == ("read", 404, "system")
    event = audit_event(one, Place(1, "00000000", 0), 0, "http://x/fhir")
    assert event["agent"][0]["type"]["coding"][0]["code"] == "IRCP"


async def test_a_merge_that_is_finished_in_the_background_is_recorded(
    server: AuthServer, tenant: str, database: AsyncDatabase[dict[str, Any]]
) -> None:
    """The request that asked for it has an event, and so has the end of it, which says which patients it is about."""
    ada = server.client({"sub": "ada", "scope": "user/*.cruds", "roles": ["admin"]})
    source, target = [(await ada.post("Patient", json=PATIENT)).json()["id"] for _ in range(2)]
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient", "valueReference": {"reference": f"Patient/{source}"}},
            {"name": "target-patient", "valueReference": {"reference": f"Patient/{target}"}},
        ],
    }
    answer = await ada.post("Patient/$merge", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert await finish_due(server.database, server.contexts.of_tenant, tenant=tenant, now=lambda: now)
    found = [one for one in await records(database, tenant) if one.code == "$merge"]
    assert [(one.status, one.principal, one.detail) for one in found] == [(202, "ada", ""), (200, "system", "done")]
    assert set(found[1].patients) == {source, target}
    events = (await ada.get(f"AuditEvent?patient={source}&altid=system")).json()["entry"]
    agent = events[0]["resource"]["agent"][0]
    assert (agent["type"]["coding"][0]["code"], agent["who"]) == ("dataprocessor", {"identifier": {"value": "system"}})


async def test_commands_are_audit_events(server: AuthServer, tenant: str) -> None:
    """They are found by what was done and by whom, and are valid FHIR."""
    async with commanded(server.database, "tenants export", about="tenant north") as note:
        note.result = "12 documents"
    auditor = server.client({"sub": "aud", "scope": "user/*.rs", "roles": ["auditor"]})
    found = (await auditor.get("AuditEvent?type=110106&subtype=tenants-export")).json()["entry"]
    event = found[0]["resource"]
    assert (event["action"], event["outcome"], event["outcomeDesc"]) == ("R", "0", "done: 12 documents")
    assert event["agent"][0]["who"] == {"identifier": {"value": own.operator()}}
    assert event["agent"][0]["network"] == {"address": socket.gethostname(), "type": "1"}
    assert event["entity"][0]["what"] == {"identifier": {"value": "tenant north"}}
    operator = server.client({"sub": "op", "scope": "system/*.cruds"})
    outcome = (await operator.post("AuditEvent/$validate", json=event)).json()
    assert [one for one in outcome["issue"] if one["severity"] in ("error", "fatal")] == []
    assert tenant
