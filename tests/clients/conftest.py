"""A running server, as a client meets it: a process of its own on a free port, with a tenant of its own."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base_url(mongodb_uri: str) -> Iterator[str]:
    """Start `fhir-server serve` and return the base of its FHIR service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIR_")} | {
        "FHIR_WORKER": "false",
        "FHIR_EVENTS": "false",
        "FHIR_MONGODB_URI": mongodb_uri,
        # Its own, since a server brings to an end what other tests leave open on purpose.
        "FHIR_MONGODB_DATABASE": f"fhir_clients_{uuid.uuid4().hex[:12]}",
        "FHIR_DEFAULT_TENANT": f"clients-{uuid.uuid4().hex[:12]}",
        "FHIR_LOG_LEVEL": "error",
    }
    command = [str(Path(sys.executable).with_name("fhir-server")), "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("Ready: "), f"the server did not start, exit code {process.poll()}"
        yield line.removeprefix("Ready: ")
        process.terminate()
        assert process.wait(30) == 0
