"""`fhir-server notifications`, on a database of its own."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.config import Settings
from fhir_server.store.database import connect
from tests.conftest import MASTER_KEY, default_settings
from tests.prm_ext.notifications.api_world import EXTENSIONS, PHONE
from tests.prm_ext.notifications.pipeline import Pipeline

REQUEST = {"resourceType": "CommunicationRequest", "status": "active", "payload": [{"contentString": "Hello."}]}


def run(*arguments: str, code: int = 0) -> str:
    """Run a command, and return what it says."""
    result = CliRunner().invoke(app, ["notifications", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def name(mongodb_uri: str) -> Iterator[str]:
    found = f"notify_{uuid.uuid4().hex[:12]}"
    yield found
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(found)


@pytest.fixture
def settings(name: str, mongodb_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings of the commands: a tenant with one message that was delivered, and two that have failed."""
    monkeypatch.chdir(tmp_path)
    values = {"MONGODB_URI": mongodb_uri, "MONGODB_DATABASE": name, "MASTER_KEY": MASTER_KEY, "EXTENSIONS": EXTENSIONS}
    for variable, value in {**values, "DEFAULT_TENANT": "north"}.items():
        monkeypatch.setenv(f"FHIR_{variable}", value)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FHIR_AUDIT", "writes")
    found = default_settings("north", mongodb_uri).model_copy(update={"mongodb_database": name})

    async def write(pipeline: Pipeline) -> None:
        for id_, telecom in (("reached", {"system": "sms", "value": PHONE}), ("lost", {"system": "fax", "value": PHONE})):
            await pipeline.write({"resourceType": "Patient", "id": id_, "telecom": [telecom]})
        for id_, who in (("r1", "reached"), ("r2", "lost"), ("r3", "lost")):
            await pipeline.write({**REQUEST, "id": id_, "recipient": [{"reference": f"Patient/{who}"}]})
        await pipeline.run()

    with_pipeline(found, write)
    return found


def with_pipeline(settings: Settings, work: Any) -> Any:
    """Do something in the pipeline of the database, in a loop of its own."""

    async def main() -> Any:
        async with (
            connect(settings.mongodb_uri, settings) as client,
            Pipeline(settings, client[settings.mongodb_database]) as found,
        ):
            return await work(found)

    return asyncio.run(main())


def statuses(settings: Settings) -> list[str]:
    async def look(pipeline: Pipeline) -> list[str]:
        return [one["status"] for one in sorted(await pipeline.deliveries(), key=lambda one: one["_id"])]

    found: list[str] = with_pipeline(settings, look)
    return found


def test_dead_letters_are_counted_and_live_again(settings: Settings) -> None:
    assert "2 messages have failed for good" in run("replay", "--dry-run")
    assert "0 messages have failed" in run("replay", "--dry-run", "--reason", "transient")
    assert "0 messages have failed" in run("replay", "--dry-run", "--tenant", "south")
    assert "0 messages have failed" in run("replay", "--dry-run", "--since", "2999-01-01")
    assert "0 messages have failed" in run("replay", "--dry-run", "--channel", "sms")
    assert statuses(settings) == ["delivered", "failed", "failed"]
    assert "2 messages wait to be sent, 0 can not" in run("replay", "--reason", "no-address", "--tenant", "north")
    assert statuses(settings) == ["delivered", "queued", "queued"]

    async def reach(pipeline: Pipeline) -> None:
        await pipeline.write({"resourceType": "Patient", "id": "lost", "telecom": [{"system": "sms", "value": PHONE}]})
        await pipeline.send()

    with_pipeline(settings, reach)
    assert statuses(settings) == ["delivered"] * 3


def test_what_was_withdrawn_meanwhile_is_counted_and_stays(settings: Settings) -> None:
    async def withdraw(pipeline: Pipeline) -> None:
        request = await pipeline.read("CommunicationRequest", "r2")
        await pipeline.write({**request, "status": "revoked"})

    with_pipeline(settings, withdraw)
    assert "1 messages wait to be sent, 1 can not" in run("replay", code=1)
    assert statuses(settings) == ["delivered", "failed", "queued"]


def test_a_replay_is_in_the_audit_trail(settings: Settings, mongodb_uri: str) -> None:
    run("replay")
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        names = [one for one in client[settings.mongodb_database].list_collection_names() if one.startswith("_audit_")]
        kept = [bytes(one["b"]) for one in client[settings.mongodb_database][names[0]].find()]
    assert any(b"notifications replay" in one for one in kept)


def test_the_figures_are_shown_by_channel(settings: Settings) -> None:
    assert settings.default_tenant == "north"
    shown = run("stats")
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert rows["all"][1:3] == ["3", "33.3%"]
    assert {"sms", "none"} <= set(rows) or {"whatsapp", "none"} <= set(rows)
    assert "no-address: 2" in shown
    assert run("stats", "--to", "2020-01-01").splitlines()[1].split() == ["all", "0", "0", "0"]


def test_a_delivery_is_shown_without_addresses_and_texts(settings: Settings) -> None:
    assert settings.default_tenant == "north"
    shown = run("deliveries", "show", "r1")
    found = json.loads(shown)
    assert (found["_id"], found["status"]) == ("north/r1", "delivered")
    assert PHONE not in shown
    assert "Hello." not in shown
    revealed = run("deliveries", "show", "r1", "--reveal")
    assert PHONE in revealed
    assert "Hello." in revealed
    assert json.loads(run("deliveries", "show", found["messages"][0]["id"]))["_id"] == "north/r1"
    run("deliveries", "show", "r1", "--tenant", "south", code=1)
    run("deliveries", "show", "none", code=1)


def test_commands_of_extensions_are_there_only_with_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.default_tenant == "north"
    helped = CliRunner().invoke(app, ["--help"])
    assert "notifications" in helped.output
    monkeypatch.setenv("FHIR_EXTENSIONS", "prm_ext.patients")
    result = CliRunner().invoke(app, ["notifications", "stats"])
    assert (result.exit_code, "No such command" in result.output) == (2, True)
    monkeypatch.setenv("FHIR_EXTENSIONS", "no_such_module")
    result = CliRunner().invoke(app, ["notifications", "stats"])
    assert result.exit_code == 2
    assert "no_such_module" in result.output
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0
    monkeypatch.setenv("FHIR_PORT", "none")
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
