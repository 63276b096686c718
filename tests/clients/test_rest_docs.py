"""The commands in docs/rest, pasted into a shell, answer with the status that stands behind them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "rest").glob("*.md"))
COMMAND = re.compile(r"(curl .*?)  # (\d{3})$", re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_gets_the_status_that_it_promises(page: Path, base_url: str) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    commands = [found for block in blocks for found in COMMAND.findall(block)]
    assert len(commands) == sum(line.startswith("curl") for block in blocks for line in block.splitlines())
    for command, status in commands:
        pasted = command.replace("http://127.0.0.1:8080/fhir", base_url)
        shell = f"{pasted} --silent --show-error --output /dev/null --write-out '%{{http_code}}'"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (status, ""), command
