"""$apply of PlanDefinition: https://hl7.org/fhir/R4/plandefinition-operation-apply.html."""

from typing import Any

import httpx
import pytest

from fhir_server.fhir.validate import check_invariants, validate

CODE = {"text": "Blood test"}
BLOOD = "http://example.org/ActivityDefinition/blood"
CALL = "http://example.org/ActivityDefinition/call"
INNER = "http://example.org/PlanDefinition/inner"


@pytest.fixture
async def fhir(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server with a patient, two ActivityDefinitions and a PlanDefinition."""
    activity = {"resourceType": "ActivityDefinition", "status": "active", "version": "1"}
    for resource in (
        {"resourceType": "Patient", "id": "p1", "gender": "female"},
        {"resourceType": "Practitioner", "id": "d1"},
        {**activity, "id": "blood", "url": BLOOD, "kind": "ServiceRequest", "code": CODE},
        {**activity, "id": "call", "url": CALL, "kind": "Task", "description": "Call"},
        plan([{"title": "Inside", "definitionCanonical": CALL}], id="inner", url=INNER),
    ):
        assert (await http.put(f"{resource['resourceType']}/{resource['id']}", json=resource)).status_code == 201
    return http


def plan(actions: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    found = {"resourceType": "PlanDefinition", "status": "active", "url": "http://example.org/plan", **more}
    return found | {"action": actions} if actions else found


def condition(expression: str) -> dict[str, Any]:
    return {"kind": "applicability", "expression": {"language": "text/fhirpath", "expression": expression}}


async def apply(fhir: httpx.AsyncClient, resource: dict[str, Any], query: str = "subject=Patient/p1") -> httpx.Response:
    return await fhir.post(f"PlanDefinition/$apply?{query}", json=resource)


async def applied(fhir: httpx.AsyncClient, resource: dict[str, Any], query: str = "subject=Patient/p1") -> dict[str, Any]:
    answer = await apply(fhir, resource, query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert validate(found) == []
    assert [issue for issue in check_invariants(found) if issue.severity == "error"] == []
    return found


async def test_a_plan_becomes_a_care_plan_with_the_requests_of_its_actions(fhir: httpx.AsyncClient) -> None:
    actions = [
        {"id": "a", "title": "Blood", "definitionCanonical": f"{BLOOD}|1", "timingDateTime": "2026-12-01"},
        {"title": "Call", "definitionCanonical": CALL, "relatedAction": [{"actionId": "a", "relationship": "after-end"}]},
    ]
    resource = plan(actions, version="2", title="Check-up", description="Each year")
    found = await applied(fhir, resource, "subject=Patient/p1&practitioner=Practitioner/d1")
    assert (found["status"], found["intent"], found["title"]) == ("draft", "proposal", "Check-up")
    assert (found["subject"], found["author"]) == ({"reference": "Patient/p1"}, {"reference": "Practitioner/d1"})
    assert found["instantiatesCanonical"] == ["http://example.org/plan|2"]
    assert found["activity"] == [{"reference": {"reference": "#actions"}}]
    group, blood, call = found["contained"]
    assert [one["resource"]["reference"] for one in group["action"]] == [f"#{blood['id']}", f"#{call['id']}"]
    assert (group["action"][0]["title"], group["action"][0]["timingDateTime"]) == ("Blood", "2026-12-01")
    assert group["action"][1]["relatedAction"] == actions[1]["relatedAction"]
    assert (blood["resourceType"], blood["code"], blood["instantiatesCanonical"]) == ("ServiceRequest", CODE, [f"{BLOOD}|1"])
    assert (call["resourceType"], call["for"], call["description"]) == ("Task", {"reference": "Patient/p1"}, "Call")


async def test_an_action_whose_condition_does_not_hold_is_left_out_with_all_below(fhir: httpx.AsyncClient) -> None:
    actions = [
        {"title": "Men", "condition": [condition("gender = 'male'")], "action": [{"definitionCanonical": BLOOD}]},
        {"title": "Women", "condition": [condition("gender = 'female'")]},
    ]
    found = await applied(fhir, plan(actions))
    group, task = found["contained"]
    assert [(one["title"], one["resource"]) for one in group["action"]] == [("Women", {"reference": f"#{task['id']}"})]
    assert (task["resourceType"], task["description"], task["status"]) == ("Task", "Women", "draft")


async def test_an_action_of_which_nothing_applies_is_left_out(fhir: httpx.AsyncClient) -> None:
    found = await applied(
        fhir, plan([{"title": "All", "action": [{"title": "Men", "condition": [condition("gender = 'male'")]}]}])
    )
    assert "activity" not in found


async def test_a_questionnaire_becomes_a_task_about_it(fhir: httpx.AsyncClient) -> None:
    url = "http://example.org/Questionnaire/q"
    await fhir.put("Questionnaire/q", json={"resourceType": "Questionnaire", "id": "q", "status": "active", "url": url})
    found = await applied(fhir, plan([{"title": "Tell us", "definitionCanonical": url}]))
    task = found["contained"][1]
    assert (task["focus"], task["description"]) == ({"reference": "Questionnaire/q"}, "Tell us")


async def test_dynamic_values_of_an_action_go_into_its_request(fhir: httpx.AsyncClient) -> None:
    values = [{"path": "priority", "expression": {"language": "text/fhirpath", "expression": "'urgent'"}}]
    found = await applied(fhir, plan([{"definitionCanonical": BLOOD, "dynamicValue": values}]))
    assert found["contained"][1]["priority"] == "urgent"


async def test_a_plan_within_a_plan_gives_its_actions(fhir: httpx.AsyncClient) -> None:
    found = await applied(fhir, plan([{"title": "Outside", "definitionCanonical": INNER}]))
    assert found["contained"][0]["action"][0]["action"][0]["title"] == "Inside"
    assert found["contained"][1]["resourceType"] == "Task"


async def test_an_action_with_a_request_and_actions_has_the_request_as_one_of_them(fhir: httpx.AsyncClient) -> None:
    found = await applied(fhir, plan([{"definitionCanonical": BLOOD, "action": [{"definitionCanonical": CALL}]}]))
    (action,) = found["contained"][0]["action"]
    kinds = {f"#{one['id']}": one["resourceType"] for one in found["contained"]}
    assert [kinds[one["resource"]["reference"]] for one in action["action"]] == ["ServiceRequest", "Task"]


async def test_goals_are_contained_and_referred_to(fhir: httpx.AsyncClient) -> None:
    goal = {
        "description": {"text": "Lower blood pressure"},
        "priority": {"text": "high"},
        "start": {"text": "now"},
        "category": {"text": "dietary"},
        "target": [{"measure": {"text": "Systolic"}, "detailQuantity": {"value": 120}, "due": {"value": 3, "unit": "months"}}],
    }
    found = await applied(fhir, plan([], goal=[goal]))
    assert found["goal"] == [{"reference": "#goal-1"}]
    assert found["contained"] == [
        {
            "resourceType": "Goal",
            "id": "goal-1",
            "lifecycleStatus": "proposed",
            "subject": {"reference": "Patient/p1"},
            "description": {"text": "Lower blood pressure"},
            "category": [{"text": "dietary"}],
            "priority": {"text": "high"},
            "startCodeableConcept": {"text": "now"},
            "target": [
                {"measure": {"text": "Systolic"}, "detailQuantity": {"value": 120}, "dueDuration": {"value": 3, "unit": "months"}}
            ],
        }
    ]


async def test_a_stored_plan_is_applied_by_its_id(fhir: httpx.AsyncClient) -> None:
    answer = await fhir.get("PlanDefinition/inner/$apply?subject=Patient/p1")
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "CarePlan")
    assert answer.json()["contained"][1]["resourceType"] == "Task"


async def test_what_can_not_be_applied_is_refused_with_its_place(fhir: httpx.AsyncClient) -> None:
    itself = plan([{"definitionCanonical": "http://example.org/loop"}], id="loop", url="http://example.org/loop")
    await fhir.put("PlanDefinition/loop", json=itself)
    for actions, code, expression in (
        ([{"definitionCanonical": "http://example.org/none"}], "not-found", "PlanDefinition.action[0].definitionCanonical"),
        ([{"condition": [condition("%nobody")]}], "invalid", "PlanDefinition.action[0].condition[0].expression"),
        (
            [{"definitionCanonical": "http://example.org/loop"}],
            "too-costly",
            "PlanDefinition.action[0].PlanDefinition.action[0].definitionCanonical",
        ),
    ):
        answer = await apply(fhir, plan(actions))
        issue = answer.json()["issue"][0]
        assert (answer.status_code, issue["code"], issue["expression"]) == (422, code, [expression])


async def test_a_plan_is_about_one_subject(fhir: httpx.AsyncClient) -> None:
    answer = await apply(fhir, plan([]), "subject=Patient/p1&subject=Practitioner/d1")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (422, "too-many")
