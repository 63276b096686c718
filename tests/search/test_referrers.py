"""Who refers to a patient."""

from typing import Any

import httpx
import pytest

from fhir_server.contexts import Contexts
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.search.index import entries, index_models
from fhir_server.search.referrers import FIELD, count_referrers, filter_to, find_referrers, patient_fields
from fhir_server.search.vocabulary import WORDS
from fhir_server.store.database import Database

BASE = "http://test/fhir"


def test_every_field_that_references_are_looked_for_in_has_an_index() -> None:
    for type_ in RESOURCE_TYPES:
        indexed = {list(model.document["key"])[1] for model in index_models(type_)}
        assert {*patient_fields(type_), FIELD} <= indexed, type_


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"subject": {"reference": "Patient/1"}}, None),
        ({"subject": {"reference": "Patient/1"}, "reportedReference": {"reference": "Patient/1"}}, None),
        ({"reportedReference": {"reference": "Patient/2/_history/1"}}, ["Patient/2"]),
        ({"reportedReference": {"reference": f"{BASE}/Patient/2"}}, ["Patient/2"]),
        ({"reportedReference": {"reference": "http://other.example/Patient/2"}}, None),
        ({"reportedReference": {"reference": "Practitioner/2"}}, None),
        (
            {"note": [{"text": "x", "authorReference": {"reference": f"Patient/{n}"}} for n in (3, 2, 3)]},
            ["Patient/2", "Patient/3"],
        ),
        ({"contained": [{"resourceType": "RelatedPerson", "patient": {"reference": "Patient/9"}}]}, ["Patient/9"]),
        ({"extension": [{"url": "x", "valueReference": {"reference": "Patient/9"}}]}, ["Patient/9"]),
    ],
)
def test_references_that_no_parameter_finds_have_an_entry_of_their_own(
    members: dict[str, Any], expected: list[str] | None
) -> None:
    assert entries({"resourceType": "MedicationRequest", **members}, base_url=BASE).get("_refs") == expected


def test_the_filter_asks_each_index_for_the_tenant() -> None:
    found = filter_to("Coverage", "a", "1")["$or"]
    assert {"t": "a", FIELD: "Patient/1"} in found
    assert {"t": "a", "s.beneficiary": "Patient/1"} in found
    assert all(one["t"] == "a" for one in found)


async def test_referrers_of_all_types_are_found_by_indexes(
    http: httpx.AsyncClient, settings: Any, database: Any, tenant: str
) -> None:
    for resource in (
        {
            "resourceType": "Observation",
            "id": "o",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": "Patient/1"},
        },
        {
            "resourceType": "Basic",
            "id": "b",
            "code": {"text": "x"},
            "extension": [{"url": "x", "valueReference": {"reference": "Patient/1"}}],
        },
        {"resourceType": "Basic", "id": "c", "code": {"text": "x"}, "subject": {"reference": "Patient/2"}},
    ):
        assert (await http.put(f"{resource['resourceType']}/{resource['id']}", json=resource)).status_code == 201
    repo = (await Contexts(Database(database, settings, index_models, WORDS), settings).of_tenant(tenant)).repo
    assert sorted(await find_referrers(repo, "1", 10)) == [("Basic", "b"), ("Observation", "o")]
    assert len(await find_referrers(repo, "1", 1)) == 1
    assert await count_referrers(repo, "1") == 2
    plan = await repo.collection("Basic").find(filter_to("Basic", tenant, "1")).explain()
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
