"""Parameters whose entries are among those of another one."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.covering import covered, whole_of
from fhir_server.search.index import entries
from fhir_server.search.registry import BUILTIN
from fhir_server.search.types import parameter_filter

EXAMPLES = Path(__file__).parents[3] / "shared" / "examples" / "hl7.fhir.r4.examples-4.0.1.tar.xz"
PARTS = [(type_, found) for type_ in sorted(RESOURCE_TYPES) for found in BUILTIN.of(type_).values() if whole_of(found)]


def _official() -> Iterator[dict[str, Any]]:
    with tarfile.open(EXAMPLES) as archive:
        for member in archive:
            if member.name.endswith(".json"):
                yield json.load(archive.extractfile(member))  # type: ignore[arg-type]


def test_what_is_part_of_another_parameter_is_known() -> None:
    assert {parameter.code for _, parameter in PARTS} == {
        "phone",
        "email",
        "address-state",
        "address-country",
        "address-postalcode",
    }
    assert {type_ for type_, parameter in PARTS if parameter.code == "phone"} == {
        *("OrganizationAffiliation", "Patient", "Person", "Practitioner", "PractitionerRole", "RelatedPerson")
    }


@pytest.mark.skipif(not EXAMPLES.exists(), reason="../shared/examples is absent")
def test_all_entries_of_a_part_are_entries_of_the_whole() -> None:
    compared = 0
    for resource in _official():
        for type_, parameter in PARTS:
            if resource.get("resourceType") != type_:
                continue
            index = entries(resource)
            whole = whole_of(parameter)
            assert whole is not None
            part, every = (index.get(field.removeprefix("s."), []) for field in (parameter.field, whole.field))
            part, every = ([found] if isinstance(found, str) else found for found in (part, every))
            assert set(part) <= set(every), (resource["id"], parameter.code)
            compared += bool(part)
    assert compared > 50


@pytest.mark.parametrize(
    ("code", "modifier", "values", "on_both"),
    [
        ("phone", "", ["5550007"], True),
        ("phone", "", ["5550007", "5550008"], True),
        ("email", "not", ["a@example.org"], False),
        ("address-state", "missing", ["true"], False),
        ("address-state", "missing", ["false"], False),
        ("address-country", "exact", ["US"], True),
        ("telecom", "", ["5550007"], False),
    ],
)
def test_only_what_a_whole_helps_to_find_asks_for_it(code: str, modifier: str, values: list[str], on_both: bool) -> None:
    parameter = BUILTIN.get("Patient", code)
    assert parameter is not None
    alone = parameter_filter(parameter, modifier, values)

    found = covered(parameter, alone)

    assert (found != alone) is on_both
