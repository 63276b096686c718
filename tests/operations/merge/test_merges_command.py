"""`fhir-server merges`."""

import asyncio

import httpx
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.config import Settings
from tests.operations.merge.merge_samples import get, merge, observation, part, patient, put, ref


async def test_the_command_brings_merges_to_their_end_where_no_server_runs(
    http: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(http, patient("s"), patient("t"), observation("o"))
    task = part(await merge(http, Prefer="respond-async"), "task")["id"]
    for name in ("mongodb_uri", "mongodb_database", "default_tenant"):
        monkeypatch.setenv(f"FHIR_{name.upper()}", str(getattr(settings, name)))
    result = await asyncio.to_thread(CliRunner().invoke, app, ["merges"])
    assert result.exit_code == 0, result.output
    assert "0 are under way" in " ".join(result.output.split())
    assert (await get(http, f"Task/{task}"))["status"] == "completed"
    assert (await get(http, "Observation/o"))["subject"] == ref("Patient/t")
