"""The page of threats names tests that exist, and the list of what the server is made of is that of the lock file."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = re.findall(r"^\| ([①②③④⑤⑥] [STRIDE]) \|(.+)\|(.+)\|(.+)\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0] + row[1])
def test_each_threat_has_a_test(row: tuple[str, ...]) -> None:
    """Each row names tests by file and function, and all of them exist."""
    named = re.findall(r"`(tests/[^`]+)`", row[3])
    assert named
    for name in named:
        file, separator, function = name.partition("::")
        assert separator, f"{name} names no test of the file"
        tree = ast.parse((ROOT / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}, name


def test_each_letter_and_flow_is_thought_of() -> None:
    """No letter of STRIDE and no flow is left out."""
    assert {row[0][2] for row in ROWS} == set("STRIDE")
    assert {row[0][0] for row in ROWS} == set("①②③④⑤⑥")


def test_the_list_of_packages_is_that_of_the_lock_file() -> None:
    """Who changes the lock file writes sbom.json anew."""
    tool = runpy.run_path(str(ROOT / "tools" / "write_sbom.py"))
    lock = (ROOT / "requirements.lock").read_text()
    written = (ROOT / "sbom.json").read_text()
    assert written == tool["document"](lock), "run: python tools/write_sbom.py"
    assert len(json.loads(written)["components"]) == len(re.findall(r"^\S+==", lock, re.MULTILINE)) > 50
