"""`fhir-server audit`, on a database of its own, and what tenants take with them."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.search.index import index_models
from fhir_server.security.audit.record import Record
from fhir_server.security.audit.trail import Trail
from fhir_server.store.database import Database, connect
from tests.conftest import MASTER_KEY, default_settings


@pytest.fixture
def mongo(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A database that commands work on, with a trail of two tenants."""
    name = f"audit_{uuid.uuid4().hex[:12]}"
    monkeypatch.chdir(tmp_path)
    for variable, value in (("MONGODB_URI", mongodb_uri), ("MONGODB_DATABASE", name), ("MASTER_KEY", MASTER_KEY)):
        monkeypatch.setenv(f"FHIR_{variable}", value)

    async def write() -> None:
        settings = default_settings("north", mongodb_uri)
        async with connect(mongodb_uri, settings) as client:
            trail = Trail(Database(client[name], settings, index_models))
            for number in range(3):
                for tenant in ("north", "south"):
                    await trail.record(tenant, [Record(number, "rest", "read", 200, "Patient", "p", patients=("p",))])

    asyncio.run(write())
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        yield client[name]
        client.drop_database(name)


def run(*arguments: str, code: int = 0) -> str:
    """Run a command, and return what it says."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def partition(mongo: Any) -> Any:
    """Return the collection of the month."""
    (name,) = [name for name in mongo.list_collection_names() if name.startswith("_audit_")]
    return mongo[name]


def test_a_whole_trail_is_told_and_one_that_is_not(mongo: Any) -> None:
    """`verify` says how much there is, and ends with 1 where something was changed."""
    assert "6 events in 6 batches of 2 chains" in run("audit", "verify")
    assert "3 events in 3 batches of 1 chains" in run("audit", "verify", "--tenant", "north")
    partition(mongo).update_one({"t": "south"}, {"$set": {"b": b"\x90"}})
    assert "changed" in run("audit", "verify", code=1)
    run("audit", "verify", "--tenant", "north")


def test_heads_tell_of_an_end_that_was_cut_off(mongo: Any, tmp_path: Path) -> None:
    """The file of `--heads` is written when all is well, and compared with later."""
    heads = tmp_path / "heads.json"
    run("audit", "verify", "--heads", str(heads))
    run("audit", "verify", "--heads", str(heads))
    partition(mongo).delete_many({"t": "south"})
    run("audit", "verify")
    assert "removed" in run("audit", "verify", "--heads", str(heads), code=1)
    heads.write_text("[]")
    assert "is no file that this command wrote" in run("audit", "verify", "--heads", str(heads), code=2)


def test_nothing_is_pruned_before_its_time(mongo: Any) -> None:
    """The month that is now stays."""
    assert "nothing is old enough" in run("audit", "prune")
    assert partition(mongo).count_documents({}) == 6


def test_a_tenant_takes_its_trail_along(mongo: Any, tmp_path: Path) -> None:
    """Exported, deleted and restored under another name, the trail is still whole; that of others stays."""
    file = tmp_path / "north.gz"
    run("tenants", "export", "north", str(file))
    run("tenants", "delete", "north", "--yes", "north")
    assert partition(mongo).count_documents({"t": "north"}) == 0
    assert partition(mongo).count_documents({"t": "south"}) == 3
    run("tenants", "restore", str(file), "--name", "west")
    assert "3 events in 3 batches of 1 chains" in run("audit", "verify", "--tenant", "west")
