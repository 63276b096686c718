"""$apply of ActivityDefinition: https://hl7.org/fhir/R4/activitydefinition-operation-apply.html."""

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.fhir.fhirpath import Budget, root
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.validate import validate
from fhir_server.operations.dynamic_values import Environment, put, value_of

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"given": ["Elena"], "family": "García"}],
    "birthDate": "1984-03-17",
}
SNOMED = "http://snomed.info/sct"
CODE = {"coding": [{"system": SNOMED, "code": "396550006", "display": "Blood test"}]}


def definition(kind: str = "ServiceRequest", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ActivityDefinition",
        "url": "http://example.org/ActivityDefinition/blood",
        "version": "1.2",
        "status": "active",
        "kind": kind,
        **more,
    }


def dynamic(path: str, expression: str, language: str = "text/fhirpath") -> dict[str, Any]:
    return {"path": path, "expression": {"language": language, "expression": expression}}


def body(resource: dict[str, Any], **values: str) -> dict[str, Any]:
    name = resource["resourceType"][0].lower() + resource["resourceType"][1:]
    found: list[dict[str, Any]] = [{"name": one, "valueString": value} for one, value in values.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": name, "resource": resource}, *found]}


@pytest.fixture
async def fhir(http: httpx.AsyncClient) -> httpx.AsyncClient:
    """A server with a patient, an encounter, a practitioner and an organization."""
    for resource in (
        PATIENT,
        {"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Lee"}]},
        {"resourceType": "Organization", "id": "o1", "name": "Bay Clinic"},
        {"resourceType": "Encounter", "id": "e1", "status": "planned", "class": {"code": "AMB"}},
        {"resourceType": "Location", "id": "l1", "name": "North Wing"},
    ):
        assert (await http.put(f"{resource['resourceType']}/{resource['id']}", json=resource)).status_code == 201
    return http


async def applied(fhir: httpx.AsyncClient, resource: dict[str, Any], **values: str) -> dict[str, Any]:
    answer = await fhir.post("ActivityDefinition/$apply", json=body(resource, **{"subject": "Patient/p1"} | values))
    assert answer.status_code == 200, answer.text
    assert validate(answer.json()) == []
    return answer.json()


async def refused(fhir: httpx.AsyncClient, resource: dict[str, Any], **values: str) -> tuple[int, str, str]:
    answer = await fhir.post("ActivityDefinition/$apply", json=body(resource, **{"subject": "Patient/p1"} | values))
    issue = answer.json()["issue"][0]
    return answer.status_code, issue["code"], issue.get("expression", [""])[0]


async def test_an_instance_is_applied_to_a_subject_in_its_context(fhir: httpx.AsyncClient) -> None:
    participant = [{"type": "practitioner", "role": {"text": "Phlebotomist"}}]
    resource = definition(
        code=CODE,
        priority="urgent",
        doNotPerform=True,
        bodySite=[{"text": "Arm"}],
        quantity={"value": 2},
        location={"reference": "Location/l1"},
        participant=participant,
        timingPeriod={"start": "2026-12-01", "end": "2026-12-05"},
        profile="http://example.org/StructureDefinition/lab",
    )
    id_ = (await fhir.post("ActivityDefinition", json=resource)).json()["id"]
    query = "subject=Patient/p1&practitioner=Practitioner/d1&organization=Organization/o1&encounter=Encounter/e1"
    answer = await fhir.get(f"ActivityDefinition/{id_}/$apply?{query}")
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("authoredOn").startswith("20")
    assert found == {
        "resourceType": "ServiceRequest",
        "meta": {"profile": ["http://example.org/StructureDefinition/lab"]},
        "instantiatesCanonical": ["http://example.org/ActivityDefinition/blood|1.2"],
        "status": "draft",
        "intent": "proposal",
        "priority": "urgent",
        "doNotPerform": True,
        "code": CODE,
        "quantityQuantity": {"value": 2},
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/e1"},
        "requester": {"reference": "Practitioner/d1"},
        "performerType": {"text": "Phlebotomist"},
        "locationReference": [{"reference": "Location/l1"}],
        "bodySite": [{"text": "Arm"}],
        "occurrencePeriod": {"start": "2026-12-01", "end": "2026-12-05"},
    }
    assert validate(found) == []


async def test_nothing_is_stored(fhir: httpx.AsyncClient) -> None:
    assert "id" not in await applied(fhir, definition(code=CODE))
    assert (await fhir.get("ServiceRequest?_summary=count")).json()["total"] == 0


async def test_a_medication_request_gets_product_dosage_and_quantity(fhir: httpx.AsyncClient) -> None:
    product = {"text": "Citalopram 20 mg"}
    dosage = [{"text": "1 tablet daily"}]
    resource = definition(
        "MedicationRequest", productCodeableConcept=product, dosage=dosage, quantity={"value": 30}, intent="order"
    )
    found = await applied(fhir, resource)
    assert (found["medicationCodeableConcept"], found["dosageInstruction"], found["intent"]) == (product, dosage, "order")
    assert found["dispenseRequest"] == {"quantity": {"value": 30}}
    assert found["instantiatesCanonical"] == ["http://example.org/ActivityDefinition/blood|1.2"]


async def test_simple_cql_is_evaluated_since_it_is_fhirpath_too(fhir: httpx.AsyncClient) -> None:
    values = [
        dynamic("dispenseRequest.numberOfRepeatsAllowed", "3", "text/cql"),
        dynamic("dispenseRequest.quantity", "30 '{tbl}'", "text/cql"),
    ]
    resource = definition("MedicationRequest", productCodeableConcept={"text": "Citalopram"}, dynamicValue=values)
    assert (await applied(fhir, resource))["dispenseRequest"] == {
        "numberOfRepeatsAllowed": 3,
        "quantity": {"value": 30, "unit": "{tbl}", "system": "http://unitsofmeasure.org", "code": "{tbl}"},
    }


async def test_a_task_is_for_the_subject_and_names_its_definition(fhir: httpx.AsyncClient) -> None:
    period = {"start": "2026-12-01"}
    found = await applied(
        fhir, definition("Task", code=CODE, description="Call her", timingPeriod=period), organization="Organization/o1"
    )
    assert (found["for"], found["code"], found["description"]) == ({"reference": "Patient/p1"}, CODE, "Call her")
    assert (found["requester"], found["executionPeriod"]) == ({"reference": "Organization/o1"}, period)
    assert found["instantiatesCanonical"] == "http://example.org/ActivityDefinition/blood|1.2"


async def test_an_appointment_has_the_subject_the_practitioner_and_the_place_as_participants(fhir: httpx.AsyncClient) -> None:
    resource = definition("Appointment", code=CODE, location={"reference": "Location/l1"})
    found = await applied(fhir, resource, practitioner="Practitioner/d1")
    assert [one["actor"]["reference"] for one in found["participant"]] == ["Patient/p1", "Practitioner/d1", "Location/l1"]
    assert (found["status"], found["serviceType"]) == ("proposed", [CODE])


async def test_a_message_goes_to_all_subjects_with_its_documents_and_says_what_it_was_made_from(fhir: httpx.AsyncClient) -> None:
    await fhir.put("Patient/p2", json={"resourceType": "Patient", "id": "p2"})
    document = {"type": "documentation", "document": {"url": "https://example.org/mosquitoes.pdf"}}
    parameters = body(definition("CommunicationRequest", relatedArtifact=[document]), subject="Patient/p1", about="Encounter/e1")
    parameters["parameter"].append({"name": "subject", "valueReference": {"reference": "Patient/p2"}})
    found = (await fhir.post("ActivityDefinition/$apply", json=parameters)).json()
    assert validate(found) == []
    assert found["recipient"] == [{"reference": "Patient/p1"}, {"reference": "Patient/p2"}]
    assert (found["subject"], found["about"]) == ({"reference": "Patient/p1"}, [{"reference": "Encounter/e1"}])
    assert found["payload"] == [{"contentAttachment": {"url": "https://example.org/mosquitoes.pdf"}}]
    assert found["extension"] == [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/workflow-instantiatesCanonical",
            "valueCanonical": "http://example.org/ActivityDefinition/blood|1.2",
        }
    ]


async def test_dynamic_values_see_the_subject_and_the_context_and_come_last(fhir: httpx.AsyncClient) -> None:
    values = [
        dynamic("payload.content", "'Hi ' & name.first().given.first() & ' from ' & %organization.name"),
        dynamic("payload[1].content", "%practitioner.name.family"),
        dynamic("extension('urn:x').value", "%patient.birthDate"),
        dynamic("occurrenceDateTime", "now()"),
        dynamic("priority", "iif(birthDate < @2000-01-01, 'urgent', 'routine')"),
        dynamic("medium[0].coding[0].code", "'SMSWRIT'"),
        dynamic("status", "'active'"),
        dynamic("note[0].text", "name.where(use = 'old').text"),
    ]
    resource = definition("CommunicationRequest", dynamicValue=values)
    found = await applied(fhir, resource, practitioner="Practitioner/d1", organization="Organization/o1")
    assert found["payload"] == [{"contentString": "Hi Elena from Bay Clinic"}, {"contentString": "Lee"}]
    assert found["extension"][1] == {"url": "urn:x", "valueString": "1984-03-17"}
    assert (found["priority"], found["medium"], found["status"]) == ("urgent", [{"coding": [{"code": "SMSWRIT"}]}], "active")
    assert found["occurrenceDateTime"].startswith("20")
    assert "note" not in found


async def test_given_values_are_variables(fhir: httpx.AsyncClient) -> None:
    resource = definition("CommunicationRequest", dynamicValue=[dynamic("payload.contentString", "'Take ' & %what")])
    assert (await applied(fhir, resource, variable="what=a=b"))["payload"] == [{"contentString": "Take a=b"}]


AT = "ActivityDefinition.dynamicValue[0]"


@pytest.mark.parametrize(
    ("more", "code", "expression"),
    [
        ({"kind": None}, "processing", "ActivityDefinition.kind"),
        ({"kind": "Claim"}, "business-rule", ""),
        ({"kind": "Task", "doNotPerform": True}, "not-supported", "ActivityDefinition.doNotPerform"),
        ({"transform": "http://example.org/map"}, "not-supported", "ActivityDefinition.transform"),
        (dynamic("status", "%nobody"), "invalid", f"{AT}.expression"),
        (dynamic("status", "'a'.matches('(a+)+$')"), "invalid", f"{AT}.expression"),
        (dynamic("status", "define X: 1", "text/cql"), "not-supported", f"{AT}.expression"),
        (dynamic("status", "Patient?x", "application/x-fhir-query"), "not-supported", f"{AT}.expression"),
        (dynamic("stats", "'x'"), "value", f"{AT}.path"),
        (dynamic("note[5].text", "'x'"), "value", f"{AT}.path"),
        (dynamic("note.where(true).text", "'x'"), "value", f"{AT}.path"),
        (dynamic("extension('urn:x')", "'x'"), "value", f"{AT}.path"),
        (dynamic("status.text", "'x'"), "value", f"{AT}.path"),
        (dynamic("status", "5"), "value", f"{AT}.expression"),
        (dynamic("status", "name.given | name.family"), "processing", f"{AT}.expression"),
        (dynamic("status", "'nonsense'"), "business-rule", ""),
    ],
)
async def test_what_can_not_be_applied_is_refused_with_its_place(fhir, more, code, expression) -> None:
    changed = {"dynamicValue": [more]} if "path" in more else more
    resource = {name: value for name, value in (definition(code=CODE) | changed).items() if value is not None}
    assert await refused(fhir, resource) == (422, code, expression)


async def test_what_the_request_would_lack_is_told(fhir: httpx.AsyncClient) -> None:
    answer = await fhir.post("ActivityDefinition/$apply", json=body(definition("SupplyRequest"), subject="Patient/p1"))
    assert answer.status_code == 422
    found = {(issue["code"], *issue.get("expression", ())) for issue in answer.json()["issue"]}
    assert found == {("business-rule",), ("required", "SupplyRequest.item"), ("required", "SupplyRequest.quantity")}


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({}, 400, "required"),
        ({"subject": "nobody"}, 400, "value"),
        ({"subject": "Patient/none"}, 422, "not-found"),
        ({"subject": "Patient/p1", "practitioner": "Practitioner/none"}, 422, "not-found"),
        ({"subject": "Patient/p1", "variable": "x"}, 400, "value"),
        ({"subject": "Patient/p1", "nonsense": "x"}, 400, "invalid"),
    ],
)
async def test_wrong_parameters_are_refused(fhir: httpx.AsyncClient, values: dict[str, str], status: int, code: str) -> None:
    answer = await fhir.post("ActivityDefinition/$apply", json=body(definition(code=CODE), **values))
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code)


async def test_a_definition_is_sent_to_the_type_and_not_to_an_instance(fhir: httpx.AsyncClient) -> None:
    id_ = (await fhir.post("ActivityDefinition", json=definition(code=CODE))).json()["id"]
    answer = await fhir.post(f"ActivityDefinition/{id_}/$apply", json=body(definition(code=CODE), subject="Patient/p1"))
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "invalid")
    answer = await fhir.get("ActivityDefinition/$apply?subject=Patient/p1")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "required")
    answer = await fhir.post("ActivityDefinition/$apply?subject=Patient/p1", json=definition(code=CODE))
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "ServiceRequest")
    answer = await fhir.post("ActivityDefinition/$apply", json=body({**definition(), "status": "nonsense"}, subject="Patient/p1"))
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "code-invalid")
    answer = await fhir.get("ActivityDefinition/none/$apply?subject=Patient/p1")
    assert answer.status_code == 404


PATHS = st.lists(
    st.sampled_from(
        [
            "payload",
            "content",
            "note",
            "text",
            "medium",
            "coding",
            "code",
            "value",
            "extension('u')",
            "[0]",
            "[1]",
            "ofType(string)",
            "x",
        ]
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: ".".join(parts).replace(".[", "["))
VALUES = st.one_of(
    st.text(min_size=1, max_size=5), st.integers(), st.booleans(), st.decimals(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=300, deadline=None)
@given(PATHS, st.lists(VALUES, max_size=2))
def test_any_path_and_value_either_fit_or_are_refused(path: str, values: list[Any]) -> None:
    resource: dict[str, Any] = {"resourceType": "CommunicationRequest", "status": "draft"}
    try:
        put(resource, path, values, "X")
    except FhirError as error:
        assert error.status == 422


def test_expressions_may_not_take_more_steps_than_there_are() -> None:
    patient = PATIENT | {"name": [{"given": [f"n{place}"]} for place in range(300)]}
    environment = Environment(root(patient), {}, Budget(2000))
    expression = {"language": "text/fhirpath", "expression": "name.select(%resource.name.given).count()"}
    with pytest.raises(FhirError, match="too many steps"):
        value_of(expression, Environment(environment.focus, {"resource": environment.focus}, environment.budget), "X")
