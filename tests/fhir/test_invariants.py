"""Invariants of the base specification, each with a resource that breaks it."""

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.fhir import invariants
from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.fhirpath import compile_expression
from fhir_server.fhir.validate import check_invariants, validate

_UCUM = "http://unitsofmeasure.org"


def _text(div: str) -> dict[str, Any]:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{div}</div>'}


def resource(type_: str, **elements: Any) -> dict[str, Any]:
    return {"resourceType": type_, "text": _text("x")} | elements


def basic(**value: Any) -> dict[str, Any]:
    return resource("Basic", code={"text": "x"}, extension=[{"url": "http://example.org/x"} | value])


def bundle(type_: str, **elements: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type_} | elements


def observation(**elements: Any) -> dict[str, Any]:
    return resource("Observation", status="final", code={"coding": [{"code": "a"}]}) | elements


def questionnaire(**item: Any) -> dict[str, Any]:
    return resource("Questionnaire", status="draft", item=[{"linkId": "1", "type": "string"} | item])


def appointment(**elements: Any) -> dict[str, Any]:
    return resource("Appointment", status="booked", participant=[{"status": "accepted", "type": [{"text": "x"}]}]) | elements


def care_team(member: str) -> dict[str, Any]:
    participant = {"member": {"reference": member}, "onBehalfOf": {"reference": "Organization/1"}}
    return resource("CareTeam", participant=[participant])


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "age-1": (basic(valueAge={"value": -1, "code": "a", "system": _UCUM}), "Basic.extension[0].value"),
    "app-1": (appointment(participant=[{"status": "accepted"}], status="proposed"), "Appointment.participant[0]"),
    "app-2": (appointment(start="2024-01-01T10:00:00Z", status="proposed"), "Appointment"),
    "app-3": (appointment(), "Appointment"),
    "app-4": (
        appointment(start="2024-01-01T10:00:00Z", end="2024-01-01T11:00:00Z", cancelationReason={"text": "x"}),
        "Appointment",
    ),
    "att-1": (basic(valueAttachment={"data": "aGVsbG8="}), "Basic.extension[0].value"),
    "bdl-1": (bundle("collection", total=1), "Bundle"),
    "bdl-3": (bundle("transaction", entry=[{"resource": resource("Patient")}]), "Bundle"),
    "bdl-7": (
        bundle("collection", entry=[{"fullUrl": "urn:x:1", "resource": resource("Patient")} for _ in range(2)]),
        "Bundle",
    ),
    "cnt-3": (basic(valueCount={"value": Decimal("1.5"), "code": "1", "system": _UCUM}), "Basic.extension[0].value"),
    "con-5": (
        resource(
            "Condition",
            subject={"reference": "Patient/1"},
            clinicalStatus={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
            verificationStatus={
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]
            },
        ),
        "Condition",
    ),
    "cpt-2": (resource("Patient", telecom=[{"value": "1"}]), "Patient.telecom[0]"),
    "ctm-1": (care_team("Patient/1"), "CareTeam.participant[0]"),
    "dom-3": (
        resource("Patient", contained=[{"resourceType": "Organization", "id": "o", "name": "x"}]),
        "Patient.contained[0]",
    ),
    "dom-4": (
        resource(
            "Patient",
            contained=[{"resourceType": "Organization", "id": "o", "name": "x", "meta": {"versionId": "1"}}],
            managingOrganization={"reference": "#o"},
        ),
        "Patient",
    ),
    "inv-1": (
        resource("Task", status="ready", intent="order", authoredOn="2024-02-02", lastModified="2024-02-01T23:59:59Z"),
        "Task",
    ),
    "mdd-1": (
        resource(
            "MedicationDispense",
            status="completed",
            medicationCodeableConcept={"text": "x"},
            whenPrepared="2024-03",
            whenHandedOver="2024-02-28",
        ),
        "MedicationDispense",
    ),
    "obs-3": (observation(referenceRange=[{"age": {"low": {"value": 1}}}]), "Observation.referenceRange[0]"),
    "obs-6": (observation(dataAbsentReason={"text": "x"}, valueString="x"), "Observation"),
    "obs-7": (observation(component=[{"code": {"coding": [{"code": "a"}]}}], valueString="x"), "Observation"),
    "pat-1": (resource("Patient", contact=[{"gender": "male"}]), "Patient.contact[0]"),
    "per-1": (resource("Patient", name=[{"text": "x", "period": {"start": "2024-02", "end": "2023"}}]), "Patient.name[0].period"),
    "qty-3": (basic(valueQuantity={"value": 1, "code": "kg"}), "Basic.extension[0].value"),
    "que-2": (
        resource("Questionnaire", status="draft", item=[{"linkId": "1", "type": "string"}, {"linkId": "1", "type": "string"}]),
        "Questionnaire",
    ),
    "que-7": (
        questionnaire(enableWhen=[{"question": "2", "operator": "exists", "answerInteger": 1}]),
        "Questionnaire.item[0].enableWhen[0]",
    ),
    "ras-1": (
        resource(
            "RiskAssessment",
            status="final",
            subject={"reference": "Patient/1"},
            prediction=[{"probabilityRange": {"low": {"value": 1, "code": "mg", "system": _UCUM}}}],
        ),
        "RiskAssessment.prediction[0].probability",
    ),
    "rat-1": (basic(valueRatio={"numerator": {"value": 1}}), "Basic.extension[0].value"),
    "rng-2": (basic(valueRange={"low": {"value": 2}, "high": {"value": Decimal("1.5")}}), "Basic.extension[0].value"),
    "sqty-1": (basic(valueRange={"low": {"value": 2, "comparator": "<"}}), "Basic.extension[0].value.low"),
    "tim-1": (basic(valueTiming={"repeat": {"duration": 1}}), "Basic.extension[0].value.repeat"),
    "txt-2": (resource("Patient") | {"text": _text(" <p> </p> ")}, "Patient.text.div"),
}

KEPT: dict[str, dict[str, Any]] = {
    "a task modified on the day of its making": resource(
        "Task", status="ready", intent="order", authoredOn="2024-02-02T10:00:00Z", lastModified="2024-02-02"
    ),
    "a risk as a number": resource(
        "RiskAssessment", status="final", subject={"reference": "Patient/1"}, prediction=[{"probabilityDecimal": Decimal("0.5")}]
    ),
    "an age": basic(valueAge={"value": 1, "code": "a", "system": _UCUM}),
    "a count": basic(valueCount={"value": 1, "code": "1", "system": _UCUM}),
    "a period with an end only": resource("Patient", name=[{"text": "x", "period": {"end": "2023"}}]),
    "a period within one year": resource("Patient", name=[{"text": "x", "period": {"start": "2023-05-01", "end": "2023"}}]),
    "a range": basic(valueRange={"low": {"value": 2}, "high": {"value": 3}}),
    "a range over units": basic(valueRange={"low": {"value": 2, "unit": "cm"}, "high": {"value": 1, "unit": "m"}}),
    "a practitioner on behalf of an organization": care_team("Practitioner/1"),
    "a member that can not be looked up": care_team("urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
    "a question whether another was answered": questionnaire(
        enableWhen=[{"question": "2", "operator": "exists", "answerBoolean": True}]
    ),
    "a document with its date": bundle(
        "document",
        timestamp="2024-01-01T10:00:00Z",
        identifier={"system": "http://example.org", "value": "1"},
        entry=[
            {
                "fullUrl": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
                "resource": resource(
                    "Composition",
                    status="final",
                    type={"text": "x"},
                    date="2024",
                    author=[{"display": "x"}],
                    title="x",
                ),
            }
        ],
    ),
    "a contained resource that refers to its container": resource(
        "Patient",
        contained=[observation(id="o", subject={"reference": "#"})],
    ),
    "a narrative that is an image": resource("Patient") | {"text": _text('<img src="#i" alt="x"/>')},
}


@pytest.mark.parametrize("key", BROKEN)
def test_a_broken_invariant_is_named_at_its_place(key: str):
    broken, expression = BROKEN[key]
    assert validate(broken) == []
    issues = check_invariants(broken)
    assert [(issue.code, issue.severity, issue.expression) for issue in issues] == [("invariant", "error", (expression,))]
    assert issues[0].diagnostics.startswith(f"{key}: ")


@pytest.mark.parametrize("title", KEPT)
def test_a_resource_that_keeps_them_has_no_issue(title: str):
    assert validate(KEPT[title]) == []
    assert check_invariants(KEPT[title]) == []


def test_a_resource_without_narrative_gets_a_warning():
    issues = check_invariants({"resourceType": "Patient"})
    assert [(issue.severity, issue.diagnostics) for issue in issues] == [
        ("warning", "dom-6: A resource should have narrative for robust management.")
    ]


def test_resources_in_a_bundle_are_judged_too():
    issues = check_invariants(bundle("collection", entry=[{"fullUrl": "urn:x:1", "resource": BROKEN["pat-1"][0]}]))
    assert [issue.expression for issue in issues] == [("Bundle.entry[0].resource.contact[0]",)]


def test_an_invariant_that_fails_in_the_interpreter_is_said_and_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(invariants.REWRITTEN, "cpt-2", "value.unknownFunction()")
    issues = check_invariants(resource("Patient", telecom=[{"system": "sms", "value": "1"}], contact=[{"gender": "male"}]))
    assert [(issue.code, issue.severity, issue.expression) for issue in issues] == [
        ("not-supported", "warning", ("Patient.telecom[0]",)),
        ("invariant", "error", ("Patient.contact[0]",)),
    ]


def test_what_would_take_too_long_is_broken_off_and_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(invariants, "_STEPS", 30)
    issues = check_invariants(resource("Patient", contact=[{"gender": "male"}] * 10))
    assert [(issue.code, issue.severity) for issue in issues] == [("too-costly", "warning")]


def test_every_invariant_can_be_parsed():
    expressions = {
        invariants.REWRITTEN.get(invariant.key, invariant.expression)
        for type_ in TYPES.values()
        for invariant in type_.invariants
        if invariant.key not in invariants.NATIVE and invariant.key not in invariants.IN_VALIDATION
    }
    assert len(expressions) > 180
    for expression in expressions:
        compile_expression(expression)


def test_the_tables_name_only_invariants_that_exist():
    known = {invariant.key for type_ in TYPES.values() for invariant in type_.invariants}
    named = {*invariants.REWRITTEN, *invariants.NATIVE, *invariants.NOT_EVALUATED, *invariants.OF_TYPE, *invariants.IN_VALIDATION}
    assert known >= {key.rpartition(".")[2] for key in named}
