"""The commands of README.md, pasted into a shell."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from fhir_server.demo import population
from fhir_server.fhir.codec import encode

README = (Path(__file__).parents[2] / "README.md").read_text()
LINES = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl")
]


@pytest.fixture(scope="session")
def demo_url(base_url: str) -> str:
    """The running server with a part of the demonstration population."""
    with httpx.Client(base_url=base_url, timeout=60) as client:
        for bundle in population(12):
            body = encode(bundle)
            answer = client.post("/", content=body, headers={"Content-Type": "application/fhir+json", "Prefer": "return=minimal"})
            assert answer.status_code == 200, answer.text
    return base_url


def test_it_shows_ten() -> None:
    assert len(LINES) == 10


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_curl_line_works_when_pasted(demo_url: str) -> None:
    for line in LINES:
        pasted = line.replace("http://127.0.0.1:8080/fhir", demo_url)
        done = subprocess.run(
            ["bash", "-c", f"{pasted} --fail --silent --show-error"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.startswith(("{", "<")), line


def test_the_searches_find_something(demo_url: str) -> None:
    with httpx.Client() as client:
        for line in LINES:
            url = line.split("'")[-2].replace("http://127.0.0.1:8080/fhir", demo_url)
            if re.search(r"/[A-Z][A-Za-z]+\?", url):
                assert client.get(url).json().get("entry"), line
