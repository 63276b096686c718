"""`fhir-server merges`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.config import Settings
from tests.conftest import client_of
from tests.operations.merge.merge_samples import get, merge, observation, part, patient, put, ref


@pytest.fixture
async def alone(settings: Settings, client: AsyncMongoClient[dict[str, Any]], tenant: str) -> AsyncIterator[Settings]:
    """Settings of a database of its own, since the command looks at the merges of all tenants."""
    yield settings.model_copy(update={"mongodb_database": f"fhir_{tenant}"})
    await client.drop_database(f"fhir_{tenant}")


async def test_the_command_brings_merges_to_their_end_where_no_server_runs(
    alone: Settings, client: AsyncMongoClient[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client_of(alone, client[alone.mongodb_database])
    await put(http, patient("s"), patient("t"), observation("o"))
    task = part(await merge(http, Prefer="respond-async"), "task")["id"]
    for name in ("mongodb_uri", "mongodb_database", "default_tenant"):
        monkeypatch.setenv(f"FHIR_{name.upper()}", str(getattr(alone, name)))
    result = await asyncio.to_thread(CliRunner().invoke, app, ["merges"])
    assert result.exit_code == 0, result.output
    assert "0 are under way" in " ".join(result.output.split())
    assert (await get(http, f"Task/{task}"))["status"] == "completed"
    assert (await get(http, "Observation/o"))["subject"] == ref("Patient/t")
    await http.aclose()
