"""Rules: what is sent when something happens to a resource."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.trigger_rules import rules_of, types_of
from prm_ext.notifications.triggers import Triggers
from tests.prm_ext.notifications.events_of import event, tell
from tests.prm_ext.notifications.pipeline import Pipeline

NOW = datetime.now(UTC).replace(microsecond=0)
REPORTS = {"event": ["org.fhir.diagnosticreport"], "status": "final", "template": "lab_results_ready"}


async def told(settings: Any, database: Any, rules: list[dict[str, Any]], *resources: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the requests that rules make of resources about one patient."""
    async with Pipeline(settings, database, rules=json.dumps(rules)) as pipeline:
        patient = await pipeline.write({"resourceType": "Patient", "name": [{"family": "Garcia", "given": ["Elena"]}]})
        triggers = Triggers(pipeline.means_of.settings)
        for resource in resources:
            subject = {} if resource["resourceType"] == "Patient" else {"subject": {"reference": f"Patient/{patient['id']}"}}
            written = await pipeline.write(subject | resource)
            await tell(pipeline.ctx, triggers.handle, resource["resourceType"], written["id"])
        return await pipeline.search("CommunicationRequest")


def report(**values: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "24331-1"}]}
    category = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}]
    found = {"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": code, "category": category}
    return found | {"issued": NOW.isoformat()} | values


async def test_a_report_that_is_ready_is_told_once(settings, database) -> None:
    found = await told(settings, database, [REPORTS], report(), report(conclusion="All well"))
    (request,) = found
    assert request["about"] == [{"reference": "DiagnosticReport/r1"}]
    assert request["category"][0]["coding"][1]["code"] == "lab-results"
    assert request["extension"][0]["valueCanonical"].startswith("urn:prm:template:built-in:lab_results_ready|")


async def test_a_report_that_becomes_final_later_is_told_then(settings, database) -> None:
    assert await told(settings, database, [REPORTS], report(status="preliminary")) == []
    assert len(await told(settings, database, [REPORTS], report(status="preliminary"), report())) == 1


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({"code": "24331-1"}, 1),
        ({"code": "http://loinc.org|24331-1,718-7"}, 1),
        ({"code": "718-7"}, 0),
        ({"category": "LAB"}, 1),
        ({"category": "RAD"}, 0),
        ({"status": "amended,corrected"}, 0),
        ({"event": "org.fhir.diagnosticreport.updated"}, 0),
        ({"event": "org.fhir.diagnosticreport.created"}, 1),
        ({"event": "org.fhir.observation"}, 0),
        ({"where": "DiagnosticReport.conclusion.exists()"}, 0),
        ({"where": "DiagnosticReport.code.coding.exists(code = '24331-1')"}, 1),
    ],
)
async def test_only_what_fits_is_told(settings, database, more: dict[str, Any], count: int) -> None:
    assert len(await told(settings, database, [REPORTS | more], report())) == count


async def test_what_was_loaded_from_long_ago_is_not_told(settings, database) -> None:
    old = (NOW - timedelta(days=30)).isoformat()
    assert await told(settings, database, [REPORTS], report(issued=old)) == []
    assert len(await told(settings, database, [REPORTS | {"recent": "60d"}], report(issued=old))) == 1


async def test_a_milestone_of_a_goal_is_told_when_it_is_reached(settings, database) -> None:
    system = "http://terminology.hl7.org/CodeSystem/goal-achievement"
    rule = {
        "event": "org.fhir.goal",
        "where": "achievementStatus.coding.exists(code = 'achieved')",
        "template": "care_plan_milestone",
        "after": "2h",
    }
    goal = {"resourceType": "Goal", "id": "g1", "lifecycleStatus": "active", "description": {"text": "Walk"}}
    achieved = goal | {"achievementStatus": {"coding": [{"system": system, "code": "achieved"}]}}
    assert await told(settings, database, [rule], goal) == []
    (request,) = await told(settings, database, [rule | {"status": "active"}], goal, achieved)
    distance = datetime.fromisoformat(request["occurrenceDateTime"]) - datetime.now(UTC)
    assert timedelta(minutes=100) < distance <= timedelta(hours=2)


async def test_a_patient_is_told_of_the_own_record(settings, database) -> None:
    rule = {"event": "org.fhir.patient.created", "template": "health_tip", "name": "welcome"}
    (request,) = await told(settings, database, [rule], {"resourceType": "Patient", "id": "p1"})
    assert request["subject"] == {"reference": "Patient/p1"}
    assert "about" not in request


async def test_two_rules_are_two_messages(settings, database) -> None:
    assert len(await told(settings, database, [REPORTS, REPORTS | {"name": "also"}], report())) == 2


async def test_an_error_is_not_told_of(settings, database) -> None:
    async with Pipeline(settings, database, rules=json.dumps([REPORTS])) as pipeline:
        patient = await pipeline.write({"resourceType": "Patient"})
        subject = {"subject": {"reference": f"Patient/{patient['id']}"}}
        written = await pipeline.write(report() | subject)
        first = await event(pipeline.ctx, "DiagnosticReport", written["id"], 1)
        await pipeline.write(written | {"status": "entered-in-error"})
        triggers = Triggers(pipeline.means_of.settings)
        await triggers.handle(pipeline.ctx, first)
        assert await pipeline.search("CommunicationRequest") == []


async def test_old_events_are_no_news(settings, database) -> None:
    async with Pipeline(settings, database, rules=json.dumps([REPORTS])) as pipeline:
        patient = await pipeline.write({"resourceType": "Patient"})
        written = await pipeline.write(report() | {"subject": {"reference": f"Patient/{patient['id']}"}})
        first = await event(pipeline.ctx, "DiagnosticReport", written["id"], 1)
        old = replace(first, change=replace(first.change, moment=NOW - timedelta(hours=25)))
        triggers = Triggers(pipeline.means_of.settings)
        await triggers.handle(pipeline.ctx, old)
        assert await pipeline.search("CommunicationRequest") == []


def test_the_types_that_rules_are_about_are_known() -> None:
    goals = json.dumps([{"event": "org.fhir.goal", "template": "x"}])
    named = json.dumps([{"event": "PATIENT_CREATED", "template": "x"}])
    assert types_of([json.dumps([REPORTS]), goals, ""]) == {"DiagnosticReport", "Goal"}
    assert types_of([goals, named]) == frozenset()
    assert types_of([""]) == frozenset()


@pytest.mark.parametrize(
    "rule",
    [
        {"event": "org.fhir.nothing.created", "template": "x"},
        {"event": "org.fhir.goal.deleted", "template": "x"},
        {"event": "org.fhir.goal"},
        {"event": "org.fhir.goal", "template": "x", "colour": "red"},
        {"event": "org.fhir.goal", "template": "x", "after": "soon"},
        {"event": "org.fhir.goal", "template": "x", "where": "((("},
        {"event": "org.fhir.goal", "template": "x", "where": "description.text.matches('(a+)+')"},
    ],
)
def test_rules_that_can_not_be_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NotificationSettings(_env_file=None, rules=json.dumps([rule]))


def test_a_rule_without_a_name_has_that_of_its_template() -> None:
    assert [rule.name for rule in rules_of(json.dumps([REPORTS, REPORTS | {"name": "x"}]))] == ["lab_results_ready", "x"]
