"""`fhir-server keys`, on a database of its own."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson.binary import Binary
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.config import Settings
from fhir_server.main import _with_master_key
from fhir_server.store.master import new_master_key
from tests.conftest import MASTER_KEY

SSN = "http://hl7.org/fhir/sid/us-ssn"
BUNDLE = '{"resourceType":"Patient","id":"p","identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"523-45-6789"}]}\n'


@pytest.fixture
def mongo(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Any]:
    """A database that commands work on."""
    name = f"keys_{uuid.uuid4().hex[:12]}"
    monkeypatch.chdir(tmp_path)
    for variable, value in (("MONGODB_URI", mongodb_uri), ("MONGODB_DATABASE", name), ("MASTER_KEY", MASTER_KEY)):
        monkeypatch.setenv(f"FHIR_{variable}", value)
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        yield client[name]
        client.drop_database(name)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def load(tmp_path: Any) -> None:
    (tmp_path / "patients.ndjson").write_text(BUNDLE)
    run("load", "patients.ndjson", "--again")


def test_a_new_master_key_is_printed_and_kept_nowhere(mongo: Any) -> None:
    found = {run("keys", "new").strip() for _ in range(2)}
    assert {len(key) for key in found} == {44}
    assert len(found) == 2
    assert mongo.list_collection_names() == []


def test_keys_are_rotated_listed_and_wrapped_anew(mongo: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        """Nobody else is there to wait for."""

    monkeypatch.setattr("fhir_server.search.rekey.sleep", at_once)
    load(tmp_path)
    assert "1 versions are encrypted with the new keys" in run("keys", "rotate")
    assert mongo["Patient"].find_one()["k"] == 2
    listed = run("keys", "list")
    assert "retired" in listed
    assert "active" in listed
    fresh = new_master_key()
    monkeypatch.setenv("FHIR_MASTER_KEY", fresh)
    refused = CliRunner().invoke(app, ["keys", "rewrap"])
    assert refused.exit_code == 2
    monkeypatch.setenv("FHIR_MASTER_KEYS_PREVIOUS", MASTER_KEY)
    assert "Wrapped 2 generations" in run("keys", "rewrap")
    monkeypatch.delenv("FHIR_MASTER_KEYS_PREVIOUS")
    assert "1 versions are encrypted" in run("keys", "rotate", "--tenant", "default")
    assert isinstance(mongo["Patient"].find_one()["r"]["identifier"][0]["value"], Binary)


def test_what_is_in_clear_is_encrypted_when_that_is_applied(mongo: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_PROTECTED_IDENTIFIERS", "")
    load(tmp_path)
    assert mongo["Patient"].find_one()["r"]["identifier"][0]["value"] == "523-45-6789"
    monkeypatch.delenv("FHIR_PROTECTED_IDENTIFIERS")
    assert "1 versions had something in clear" in run("keys", "apply")
    assert "0 versions had something in clear" in run("keys", "apply")
    stored = mongo["Patient"].find_one()
    assert isinstance(stored["r"]["identifier"][0]["value"], Binary)
    assert stored["s"]["identifier"][0].startswith("~")


@pytest.mark.parametrize("wrong", ["short", "!"])
def test_a_master_key_that_is_none_is_said_and_nothing_starts(mongo: Any, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("FHIR_MASTER_KEY", wrong)
    result = CliRunner().invoke(app, ["keys", "list"])
    assert result.exit_code == 2
    assert mongo.list_collection_names() == []


def test_beside_the_embedded_mongodb_a_master_key_is_made_at_the_first_start(settings: Settings, tmp_path: Path) -> None:
    """And neither where there is one nor a second time."""
    embedded = settings.model_copy(update={"master_key": "", "data_dir": tmp_path})
    found = _with_master_key(embedded)
    assert found.master_key_file == tmp_path / "master.key"
    text = found.master_key_file.read_text()
    assert oct(found.master_key_file.stat().st_mode & 0o777) == "0o600"
    again = Settings(_env_file=None, **json.loads(_with_master_key(embedded).model_dump_json()))
    assert again.master_key_file is not None
    assert again.master_key_file.read_text() == text
    assert _with_master_key(settings) is settings
