"""docs/prm/patients.md and docs/events.md say what the code does."""

import re
from pathlib import Path

import pytest

from prm_ext.patients import coverage, mapping
from prm_ext.patients.api import router
from prm_ext.patients.events import MERGES
from prm_ext.patients.schemas import PatientOut

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "prm" / "patients.md").read_text()
EVENTS = (DOCS / "events.md").read_text()


@pytest.mark.parametrize("field", mapping.fields("s").values(), ids=lambda field: field.name)
def test_every_field_is_in_the_table_with_its_element(field):
    assert f"| `{field.name}` | `{field.element}` |" in PAGE


def test_every_other_field_of_the_answer_is_documented_too():
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(PatientOut.model_fields) <= named
    assert set(coverage.to_flat({})) <= named


def test_every_route_is_in_the_table():
    documented = set(re.findall(r"^\| `(\w+ /[^`]*)`", PAGE, re.MULTILINE))
    routes = {
        f"{method} {(route.path or '/').replace('{patient_id}', '{id}')}"
        for route in router.routes
        for method in route.methods
        if route.include_in_schema
    }
    assert documented == routes


def test_every_event_of_patients_is_documented():
    names = {"PATIENT_CREATED", "PATIENT_UPDATED", "PATIENT_DELETED", "PATIENT_REACTIVATED", *MERGES.values()}
    assert names == set(re.findall(r"`(PATIENTS?_[A-Z]+)`", EVENTS))
