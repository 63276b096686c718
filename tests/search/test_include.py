"""`_include` and `_revinclude`: https://hl7.org/fhir/R4/search.html#revinclude."""

from typing import Any

import pytest

from fhir_server.config import Settings
from fhir_server.exchange import Call, Context
from fhir_server.interactions.search import search_system, search_type
from tests.search.conftest import Put, context_of, put_all


def _ref(text: str) -> dict[str, str]:
    return {"reference": text}


GRAPH: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "root"},
    {"resourceType": "Organization", "id": "mid", "partOf": _ref("Organization/root")},
    {"resourceType": "Organization", "id": "leaf", "partOf": _ref("Organization/mid")},
    {"resourceType": "Organization", "id": "ring1", "partOf": _ref("Organization/ring2")},
    {"resourceType": "Organization", "id": "ring2", "partOf": _ref("Organization/ring1")},
    {"resourceType": "Practitioner", "id": "doc"},
    {
        "resourceType": "Patient",
        "id": "ann",
        "managingOrganization": _ref("Organization/leaf"),
        "generalPractitioner": [_ref("Practitioner/doc"), _ref("Organization/mid"), _ref("Practitioner/gone")],
    },
    {"resourceType": "Patient", "id": "bob", "managingOrganization": _ref("http://elsewhere.org/fhir/Organization/leaf")},
    *(
        {
            "resourceType": "Observation",
            "id": f"ob{number}",
            "status": "final",
            "code": {"text": "x"},
            "subject": _ref("Patient/ann"),
            "performer": [_ref("Practitioner/doc")],
        }
        for number in range(5)
    ),
    {"resourceType": "Observation", "id": "oth", "status": "final", "code": {"text": "x"}, "subject": _ref("Group/g")},
    {"resourceType": "Group", "id": "g", "type": "person", "actual": True},
    {
        "resourceType": "Provenance",
        "id": "prov",
        "target": [_ref("Observation/ob0")],
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"who": _ref("Practitioner/doc")}],
    },
]


async def found(ctx: Context, type_: str, *params: tuple[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Return the matches, the included resources and the texts of the issues."""
    call = Call("search-type" if type_ else "search-system", type_, params=params)
    bundle = (await (search_type if type_ else search_system)(ctx, call)).resource
    assert bundle is not None
    by_mode: dict[str, list[Any]] = {"match": [], "include": [], "outcome": []}
    for entry in bundle.get("entry", []):
        resource = entry["resource"]
        by_mode[entry["search"]["mode"]].append(resource)
        if resource["resourceType"] != "OperationOutcome":
            assert entry["fullUrl"] == f"http://test/fhir/{resource['resourceType']}/{resource['id']}"
    names = {mode: [f"{one['resourceType']}/{one.get('id')}" for one in some] for mode, some in by_mode.items()}
    return names["match"], names["include"], [one["diagnostics"] for outcome in by_mode["outcome"] for one in outcome["issue"]]


ANN = ("_id", "ann")


@pytest.mark.parametrize(
    ("type_", "params", "expected"),
    [
        ("Patient", [ANN, ("_include", "Patient:organization")], "Organization/leaf"),
        ("Patient", [ANN, ("_include", "Patient:general-practitioner")], "Organization/mid Practitioner/doc"),
        ("Patient", [ANN, ("_include", "Patient:general-practitioner:Practitioner")], "Practitioner/doc"),
        ("Patient", [ANN, ("_include", "Patient:*")], "Organization/leaf Organization/mid Practitioner/doc"),
        ("Patient", [ANN, ("_include", "*")], "Organization/leaf Organization/mid Practitioner/doc"),
        ("Patient", [("_id", "bob"), ("_include", "Patient:organization")], ""),
        (
            "Patient",
            [ANN, ("_include", "Patient:organization"), ("_include", "Organization:partof")],
            "Organization/leaf",
        ),
        (
            "Patient",
            [ANN, ("_include", "Patient:organization"), ("_include:iterate", "Organization:partof")],
            "Organization/leaf Organization/mid Organization/root",
        ),
        ("Organization", [("_id", "ring1"), ("_include:iterate", "Organization:partof")], "Organization/ring2"),
        ("Organization", [("_id", "root"), ("_revinclude:iterate", "Organization:partof")], "Organization/leaf Organization/mid"),
        ("Patient", [ANN, ("_revinclude", "Observation:patient")], " ".join(f"Observation/ob{n}" for n in range(5))),
        (
            "Patient",
            [ANN, ("_revinclude", "Observation:subject"), ("_revinclude:iterate", "Provenance:target")],
            " ".join([*(f"Observation/ob{n}" for n in range(5)), "Provenance/prov"]),
        ),
        ("Patient", [ANN, ("_revinclude", "*")], " ".join(f"Observation/ob{n}" for n in range(5))),
        ("Patient", [ANN, ("_revinclude", "Observation:subject:Group")], ""),
        ("Observation", [("_id", "oth"), ("_include", "Observation:subject")], "Group/g"),
        ("Observation", [("_id", "oth"), ("_include", "Observation:patient")], ""),
        ("Observation", [("_id", "ob0,ob1"), ("_include", "Observation:subject")], "Patient/ann"),
        ("", [("_type", "Patient,Provenance"), ("_include", "Provenance:target")], "Observation/ob0"),
    ],
)
async def test_what_comes_along(ctx: Context, put: Put, type_: str, params: list[tuple[str, str]], expected: str) -> None:
    await put(*GRAPH)
    _, included, _ = await found(ctx, type_, *params)
    assert sorted(included) == expected.split()


async def test_a_canonical_leads_to_the_resource_of_that_url_and_version(ctx: Context, put: Put) -> None:
    forms = [
        {"resourceType": "Questionnaire", "id": f"q{version}", "url": "http://x.org/q", "version": version, "status": "active"}
        for version in ("1", "2")
    ]
    response = {"resourceType": "QuestionnaireResponse", "status": "completed"}
    await put(
        *forms,
        response | {"id": "bare", "questionnaire": "http://x.org/q"},
        response | {"id": "second", "questionnaire": "http://x.org/q|2"},
    )
    include = ("_include", "QuestionnaireResponse:questionnaire")
    for id_, expected in (("bare", ["Questionnaire/q1", "Questionnaire/q2"]), ("second", ["Questionnaire/q2"])):
        _, included, _ = await found(ctx, "QuestionnaireResponse", ("_id", id_), include)
        assert included == expected


async def test_a_match_is_not_repeated_as_an_include(ctx: Context, put: Put) -> None:
    await put(*GRAPH)
    matches, included, _ = await found(ctx, "Organization", ("_id", "leaf,mid"), ("_include", "Organization:partof"))
    assert (matches, included) == (["Organization/leaf", "Organization/mid"], ["Organization/root"])


async def test_includes_do_not_count_as_matches(ctx: Context, put: Put) -> None:
    """`_count` bounds the matches, `total` counts them."""
    await put(*GRAPH)
    call = Call("search-type", "Observation", params=(("subject", "Patient/ann"), ("_count", "2"), ("_include", "Observation:*")))
    bundle = (await search_type(ctx, call)).resource
    assert bundle is not None
    assert bundle["total"] == 5
    assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match", "match", "include", "include"]


async def test_a_truncation_is_said(settings: Settings, database: Any, tenant: str) -> None:
    ctx = context_of(settings.model_copy(update={"max_includes": 3}), database, tenant)
    await put_all(ctx, GRAPH)
    _, included, issues = await found(ctx, "Patient", ANN, ("_revinclude", "Observation:patient"))
    assert included == ["Observation/ob0", "Observation/ob1", "Observation/ob2"]
    assert issues[0].startswith("More than 3 resources would be included on this page; only 3 are.")


async def test_as_many_as_are_allowed_are_no_truncation(settings: Settings, database: Any, tenant: str) -> None:
    ctx = context_of(settings.model_copy(update={"max_includes": 5}), database, tenant)
    await put_all(ctx, GRAPH)
    _, included, issues = await found(ctx, "Patient", ANN, ("_revinclude", "Observation:patient"))
    assert (len(included), issues) == (5, [])
