"""`fhir-server blobs`."""

import asyncio
import os

import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.config import Settings
from fhir_server.contexts import Contexts
from fhir_server.search.index import index_models
from fhir_server.store.database import Database, connect
from tests.media_files import image

RUN = CliRunner()


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch, tenant: str) -> str:
    """The settings of the test, in the environment."""
    for name in [name for name in os.environ if name.startswith("FHIR_") and not name.startswith("FHIR_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FHIR_MONGODB_URI", settings.mongodb_uri)
    monkeypatch.setenv("FHIR_MONGODB_DATABASE", f"fhir_cli_{tenant}")
    monkeypatch.setenv("FHIR_MASTER_KEY", settings.master_key)
    return f"fhir_cli_{tenant}"


def stored(settings: Settings, name: str, *, broken: bool = False) -> None:
    async def main() -> None:
        found = settings.model_copy(update={"mongodb_database": name})
        async with connect(settings.mongodb_uri, found) as client:
            blobs = Contexts(Database(client[name], found, index_models), found).blobs
            blob = (await blobs.receive_bytes("t", image(), "image/png")).blob
            if broken:
                await blobs.store.delete("t", blob.key)

    asyncio.run(main())


def test_content_is_verified_and_damage_is_told(settings: Settings, environment: str) -> None:
    stored(settings, environment)
    whole = RUN.invoke(app, ["blobs", "verify"])
    assert (whole.exit_code, "1 contents were read; 0 are damaged" in whole.output) == (0, True)
    stored(settings, environment, broken=True)
    damaged = RUN.invoke(app, ["blobs", "verify", "--tenant", "t"])
    assert (damaged.exit_code, "1 are damaged or missing" in damaged.output) == (1, True)


def test_removal_can_be_tried_first(settings: Settings, environment: str) -> None:
    stored(settings, environment)
    assert "Looked at 0 contents" in RUN.invoke(app, ["blobs", "gc"]).output

    async def age() -> None:
        from datetime import UTC, datetime, timedelta  # noqa: PLC0415

        async with connect(settings.mongodb_uri, settings) as client:
            long_ago = datetime.now(UTC) - timedelta(days=3)
            await client[environment]["_blobs"].update_many({}, {"$set": {"touched": long_ago}})

    asyncio.run(age())
    dry = RUN.invoke(app, ["blobs", "gc", "--dry-run"])
    assert "Dry run. Looked at 1 contents: 1 removed" in dry.output
    assert "Looked at 1 contents: 1 removed" in RUN.invoke(app, ["blobs", "gc"]).output
    assert "Looked at 0 contents" in RUN.invoke(app, ["blobs", "gc"]).output


def test_without_the_master_key_nothing_can_be_verified(settings, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(settings, environment)
    monkeypatch.delenv("FHIR_MASTER_KEY")
    answer = RUN.invoke(app, ["blobs", "verify"])
    assert (answer.exit_code, "has no master key" in answer.output) == (1, True)


def test_a_scan_needs_a_scanner(environment: str) -> None:
    del environment
    answer = RUN.invoke(app, ["blobs", "scan"])
    assert (answer.exit_code, "FHIR_CLAMD names no ClamAV daemon" in answer.output) == (2, True)
