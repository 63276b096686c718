"""SMART scopes: https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html."""

import pytest

from fhir_server.security.scopes import Scope, parse, parse_all


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient/Observation.rs", Scope("patient", "Observation", "rs")),
        ("user/*.cruds", Scope("user", "*", "cruds")),
        ("system/Patient.c", Scope("system", "Patient", "c")),
        ("patient/Observation.read", Scope("patient", "Observation", "rs")),
        ("patient/*.write", Scope("patient", "*", "cud")),
        ("user/Patient.*", Scope("user", "Patient", "cruds")),
        (
            "patient/Observation.rs?category=http://x|laboratory&status=final",
            Scope("patient", "Observation", "rs", (("category", "http://x|laboratory"), ("status", "final"))),
        ),
        ("patient/Observation.r?code=a%26b", Scope("patient", "Observation", "r", (("code", "a&b"),))),
    ],
)
def test_scopes_of_both_versions_say_what_they_grant(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "openid",
        "launch/patient",
        "patient/Observation",
        "patient/Observation.",
        "patient/Observation.sr",
        "patient/Observation.rr",
        "patient/Observation.rx",
        "patient/Observations.rs",
        "patient/observation.rs",
        "Patient/Observation.rs",
        "patient/Observation.read?category=laboratory",
        "patient/Observation.rs?",
        "patient/Observation.rs?category",
        "patient/Observation.rs?category=",
        "patient/Observation.rs?category=laboratory&code=",
        "patient/*.rs extra",
        "patient/Resource.rs",
    ],
)
def test_what_is_no_scope_about_resources_grants_nothing(text):
    assert parse(text) is None


def test_of_many_texts_only_the_scopes_about_resources_count():
    assert parse_all({"openid", "fhirUser", "patient/Patient.r", "launch"}) == [Scope("patient", "Patient", "r")]
