"""npm fhir-kit-client against a running server; the tests themselves are in node/client.test.js."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def installed() -> None:
    """Install what package-lock.json names; without node and npm the test is skipped, except in CI."""
    if not shutil.which("node") or not shutil.which("npm"):
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have node and npm, to try the npm client fhir-kit-client")
        pytest.skip("node and npm are needed to try the npm client fhir-kit-client")
    wanted = (NODE / "package-lock.json").read_bytes()
    mark = NODE / "node_modules" / ".installed-lock.json"
    if not mark.exists() or mark.read_bytes() != wanted:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=NODE, check=True, capture_output=True)
        mark.write_bytes(wanted)


@pytest.mark.usefixtures("installed")
def test_fhir_kit_client_does_all_that_it_offers(base_url: str) -> None:
    environment = os.environ | {"FHIR_BASE_URL": base_url}
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "client.test.js"],
        cwd=NODE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
