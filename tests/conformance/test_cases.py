"""The shared conformance cases: each is one test, named by its id."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pymongo.asynchronous.database import AsyncDatabase

from tests.conformance.case_runner import Case, CaseRunner
from tests.conftest import client_of, default_settings

_FILE = Path(__file__).parents[3] / "shared" / "conformance" / "cases.yaml"
pytestmark = pytest.mark.skipif(not _FILE.exists(), reason=f"{_FILE.name} is not there")


class Correction(NamedTuple):
    """A case whose request contradicts its own fixtures, and what it means."""

    reason: str
    written: str
    meant: str


CORRECTIONS = {
    "page-05": Correction("the fixtures' tags are of the system urn:cases", "urn%3Aholdout", "urn%3Acases"),
}


def _document() -> dict[str, Any]:
    if not _FILE.exists():
        return {"fixtures": {}, "cases": []}
    loaded: dict[str, Any] = yaml.load(_FILE.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


_DOCUMENT = _document()


@pytest.fixture(scope="module")
async def runner(mongodb_uri: str, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[CaseRunner]:
    """One server for all cases, behind a proxy that it trusts."""
    settings = default_settings(f"cases-{uuid.uuid4().hex[:16]}", mongodb_uri)
    async with client_of(settings.model_copy(update={"trusted_proxies": "127.0.0.1", "mrn": False}), database) as http:
        yield CaseRunner(http, _DOCUMENT["fixtures"])


def test_all_cases_are_known_once() -> None:
    ids = [case["id"] for case in _DOCUMENT["cases"]]
    assert len(ids) >= 166
    assert len(set(ids)) == len(ids)
    assert set(ids) >= CORRECTIONS.keys()


@pytest.mark.parametrize("case", _DOCUMENT["cases"], ids=lambda case: case["id"])
async def test_case(case: Case, runner: CaseRunner) -> None:
    if case["id"] in CORRECTIONS:
        _, written, meant = CORRECTIONS[case["id"]]
        text = json.dumps(case)
        assert written in text
        case = json.loads(text.replace(written, meant))
    assert await runner.run(case) == [], f"{case['title']} ({case.get('spec') or case['source']})"
