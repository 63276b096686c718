"""A catalogue of what is wrong with resources: each with the one issue, its code and its FHIRPath."""

import copy
from decimal import Decimal
from typing import Any

import pytest

from fhir_server.fhir.validate import validate

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'
ABSENT = [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]


def patient(**elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": "p1",
        "meta": {"versionId": "1", "lastUpdated": "2024-02-29T10:00:00.123+01:00", "profile": ["http://example.org/p|1"]},
        "text": {"status": "generated", "div": DIV.format("<p>Ann</p>")},
        "identifier": [{"use": "usual", "system": "http://example.org/mrn", "value": "1", "period": {"start": "2020"}}],
        "active": True,
        "name": [{"family": "Lee", "given": ["Ann", "May"], "_given": [{"id": "g"}, None]}],
        "gender": "female",
        "birthDate": "1980-02-29",
        "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/birthTime", "valueDateTime": "1980-02-29T10:00:00Z"}]},
        "multipleBirthInteger": 2,
        "contact": [{"name": {"family": "Lee"}}],
        "generalPractitioner": [{"reference": "Practitioner/1"}],
    } | elements


def observation(**elements: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "subject": {"reference": "Patient/1"},
        "effectiveDateTime": "2024-02",
        "valueQuantity": {"value": Decimal("72.50"), "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
        "component": [{"code": {"text": "part"}, "valueInteger": 0}],
    } | elements


def condition(**elements: Any) -> dict[str, Any]:
    active = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [active]},
        "subject": {"reference": "Patient/1"},
    } | elements


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def without(resource: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != name}


def nested(depth: int) -> dict[str, Any]:
    extension: dict[str, Any] = {"url": "x", "valueBoolean": True}
    for _ in range(depth):
        extension = {"url": "x", "extension": [extension]}
    return {"resourceType": "Basic", "code": {"text": "x"}, "extension": [extension]}


VALID: dict[str, Any] = {
    "a rich Patient": patient(),
    "an Observation with a decimal": observation(),
    "a Condition with a code of a required binding": condition(),
    "a resource with nothing but its type": {"resourceType": "Patient"},
    "an extension in the place of a value": patient(gender=None) | {"_gender": {"extension": ABSENT}},
    "a required element that only has an extension": without(observation(), "status") | {"_status": {"extension": ABSENT}},
    "an extension in the place of one of several values": patient(
        name=[{"given": ["Ann", None], "_given": [None, {"extension": ABSENT}]}]
    ),
    "values that are all replaced by extensions": patient(name=[{"_given": [{"extension": ABSENT}]}]),
    "a whole number as a decimal": observation(valueQuantity={"value": 72}),
    "a leap second": observation(effectiveDateTime="2016-12-31T23:59:60Z"),
    "the largest zone": observation(effectiveDateTime="2016-12-31T23:59:59.123456789+14:00"),
    "a year": patient(birthDate="1980"),
    "an absolute reference": observation(subject={"reference": "https://example.org/fhir/Patient/1/_history/2"}),
    "a reference by URN": observation(subject={"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}),
    "a conditional reference": observation(subject={"reference": "Patient?identifier=http://example.org|1"}),
    "a logical reference": observation(subject={"type": "Patient", "identifier": {"value": "1"}}),
    "a reference to a URL that is no RESTful address": observation(subject={"reference": "http://example.org/people/1"}),
    "a reference to a contained resource": observation(
        contained=[{"resourceType": "Patient", "id": "a"}], subject={"reference": "#a"}
    ),
    "a contained resource that refers to its container": patient(
        contained=[
            {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "#"}}
        ]
    ),
    "any reference where any type may stand": observation(focus=[{"reference": "Location/1"}]),
    "a Bundle of resources": bundle(patient(), observation()),
    "a resource as a parameter": {"resourceType": "Parameters", "parameter": [{"name": "r", "resource": patient()}]},
    "a concept without coding, but with the reason why": condition(clinicalStatus={"extension": ABSENT}),
    "another coding besides the required one": condition(
        clinicalStatus={"coding": [{"code": "x"}, condition()["clinicalStatus"]["coding"][0]]}
    ),
    "a text with line breaks": patient(address=[{"text": "1 Main St\r\n\tSpringfield"}]),
    "a narrative with an image and entities": patient(
        text={"status": "generated", "div": DIV.format('<img src="#a" alt="&lt;x&gt;"/><!-- note -->')}
    ),
    "base64 with white space": {"resourceType": "Binary", "contentType": "text/plain", "data": "aGVs\r\nbG8="},
    "a currency": {
        "resourceType": "Account",
        "status": "active",
        "extension": [{"url": "http://example.org/x", "valueMoney": {"value": 1, "currency": "EUR"}}],
    },
}
del VALID["an extension in the place of a value"]["gender"]


@pytest.mark.parametrize("title", VALID)
def test_what_r4_allows_is_accepted(title: str):
    assert validate(VALID[title]) == []


WRONG: dict[str, tuple[Any, str, str]] = {
    # What a resource is.
    "an array": ([], "structure", ""),
    "a string": ("Patient", "structure", ""),
    "null": (None, "structure", ""),
    "no resourceType": ({"id": "1"}, "required", "resourceType"),
    "an unknown resourceType": ({"resourceType": "Patent"}, "structure", "resourceType"),
    "an abstract resourceType": ({"resourceType": "DomainResource"}, "structure", "resourceType"),
    "a resourceType that is no string": ({"resourceType": 1}, "structure", "resourceType"),
    # Elements.
    "an unknown element": (patient(nickname="Annie"), "structure", "Patient.nickname"),
    "an unknown element below": (patient(name=[{}, {"famly": "Lee"}][1:]), "structure", "Patient.name[0].famly"),
    "an unknown element with an odd name": (patient(**{"nick name": 1}), "structure", "Patient.`nick name`"),
    "an element of another type": (patient(status="final"), "structure", "Patient.status"),
    "a choice without its type": (observation(value="x"), "structure", "Observation.value"),
    "a choice of a type that is not offered": (patient(multipleBirthString="two"), "structure", "Patient.multipleBirthString"),
    "resourceType inside of an element": (
        patient(name=[{"resourceType": "HumanName"}]),
        "structure",
        "Patient.name[0].resourceType",
    ),
    "a sibling of an element that is no primitive": (patient(_name=[{"id": "x"}]), "structure", "Patient._name"),
    "a sibling of the id": (patient(_id={"id": "x"}), "structure", "Patient._id"),
    # JSON types.
    "a string for a boolean": (patient(active="true"), "structure", "Patient.active"),
    "a number for a boolean": (patient(active=1), "structure", "Patient.active"),
    "a boolean for an integer": (patient(multipleBirthInteger=True), "structure", "Patient.multipleBirth"),
    "a string for an integer": (patient(multipleBirthInteger="2"), "structure", "Patient.multipleBirth"),
    "a fraction for an integer": (patient(multipleBirthInteger=Decimal("2.0")), "value", "Patient.multipleBirth"),
    "a string for a decimal": (observation(valueQuantity={"value": "72"}), "structure", "Observation.value.value"),
    "a float for a decimal": (observation(valueQuantity={"value": 0.1}), "value", "Observation.value.value"),
    "a number for a string": (patient(name=[{"family": 7}]), "structure", "Patient.name[0].family"),
    "a number for a code": (patient(gender=7), "structure", "Patient.gender"),
    "a number for a date": (patient(birthDate=1980), "structure", "Patient.birthDate"),
    "an object for a string": (patient(birthDate={"value": "1980"}), "structure", "Patient.birthDate"),
    "a string for an object": (patient(maritalStatus="M"), "structure", "Patient.maritalStatus"),
    "a string in an array of objects": (patient(name=["Ann"]), "structure", "Patient.name[0]"),
    "null for a value": (patient(active=None), "structure", "Patient.active"),
    "null for an object": (patient(maritalStatus=None), "structure", "Patient.maritalStatus"),
    "null in an array of objects": (patient(name=[None]), "structure", "Patient.name[0]"),
    "null in an array of primitives without extension": (
        patient(name=[{"given": ["Ann", None]}]),
        "structure",
        "Patient.name[0].given[1]",
    ),
    # Cardinality.
    "an object for an array": (patient(name={"family": "Lee"}), "structure", "Patient.name"),
    "an array for an object": (patient(maritalStatus=[{"text": "M"}]), "structure", "Patient.maritalStatus"),
    "an array for a primitive": (patient(gender=["female"]), "structure", "Patient.gender"),
    "a missing element": (without(observation(), "status"), "required", "Observation.status"),
    "a missing element below": (observation(component=[{"valueInteger": 0}]), "required", "Observation.component[0].code"),
    "a missing array": ({"resourceType": "Linkage"}, "required", "Linkage.item"),
    "a missing choice": (
        {"resourceType": "MedicationStatement", "status": "active", "subject": {"reference": "Patient/1"}},
        "required",
        "MedicationStatement.medication",
    ),
    "two types of one choice": (observation(valueString="72"), "structure", "Observation.value"),
    "two types of one choice, one by its extension": (
        patient(_multipleBirthBoolean={"extension": ABSENT}),
        "structure",
        "Patient.multipleBirth",
    ),
    # Emptiness.
    "an empty object": (patient(maritalStatus={}), "structure", "Patient.maritalStatus"),
    "an empty object in an array": (patient(name=[{}]), "structure", "Patient.name[0]"),
    "an empty array": (patient(name=[]), "structure", "Patient.name"),
    "an empty array of primitives": (patient(name=[{"given": []}]), "structure", "Patient.name[0].given"),
    "an empty string": (patient(name=[{"family": ""}]), "value", "Patient.name[0].family"),
    "an empty code": (patient(gender=""), "value", "Patient.gender"),
    "an empty uri": (patient(implicitRules=""), "value", "Patient.implicitRules"),
    "an element with nothing but an id": (patient(maritalStatus={"id": "x"}), "invariant", "Patient.maritalStatus"),
    # Siblings of primitives.
    "a sibling that is no object": (patient(_gender="x"), "structure", "Patient.gender"),
    "a sibling with a value": (patient(_gender={"value": "x"}), "structure", "Patient.gender.value"),
    "an empty sibling": (patient(_gender={}), "structure", "Patient.gender"),
    "a sibling without value and extension": (without(patient(_gender={"id": "x"}), "gender"), "invariant", "Patient.gender"),
    "siblings that are no array": (
        patient(name=[{"given": ["Ann"], "_given": {"id": "x"}}]),
        "structure",
        "Patient.name[0].given",
    ),
    "siblings of another length": (
        patient(name=[{"given": ["Ann"], "_given": [None, {"id": "x"}]}]),
        "structure",
        "Patient.name[0].given",
    ),
    "siblings that are empty": (patient(name=[{"given": ["Ann"], "_given": []}]), "structure", "Patient.name[0].given"),
    "an extension without url at a primitive": (
        patient(_birthDate={"extension": [{"valueCode": "x"}]}),
        "required",
        "Patient.birthDate.extension[0].url",
    ),
    "an extension without url at one of several primitives": (
        patient(name=[{"given": ["A", "B"], "_given": [None, {"extension": [{"valueCode": "x"}]}]}]),
        "required",
        "Patient.name[0].given[1].extension[0].url",
    ),
    # Primitive values.
    "a day that does not exist": (patient(birthDate="2023-02-29"), "value", "Patient.birthDate"),
    "a month that does not exist": (patient(birthDate="2023-13"), "value", "Patient.birthDate"),
    "a date with slashes": (patient(birthDate="02/29/2024"), "value", "Patient.birthDate"),
    "a date of an ISO week": (patient(birthDate="2024-W05-1"), "value", "Patient.birthDate"),
    "a date without dashes": (patient(birthDate="20240229"), "value", "Patient.birthDate"),
    "a date with a time": (patient(birthDate="2024-02-29T10:00:00Z"), "value", "Patient.birthDate"),
    "the year zero": (patient(birthDate="0000"), "value", "Patient.birthDate"),
    "a date with other digits": (patient(birthDate="٢٠٢٤-٠٢-٢٩"), "value", "Patient.birthDate"),
    "a dateTime on a day that does not exist": (
        observation(effectiveDateTime="2024-04-31T10:00:00Z"),
        "value",
        "Observation.effective",
    ),
    "a dateTime without zone": (observation(effectiveDateTime="2024-04-30T10:00:00"), "value", "Observation.effective"),
    "a dateTime without seconds": (observation(effectiveDateTime="2024-04-30T10:00Z"), "value", "Observation.effective"),
    "a dateTime at 24 hours": (observation(effectiveDateTime="2024-04-30T24:00:00Z"), "value", "Observation.effective"),
    "a dateTime with a line break": (observation(effectiveDateTime="2024-04-30T10:00:00Z\n"), "value", "Observation.effective"),
    "an instant without time": (patient(meta={"lastUpdated": "2024-02-29"}), "value", "Patient.meta.lastUpdated"),
    "a time with a zone": (observation(valueTime="10:00:00Z") | {}, "value", "Observation.value"),
    "an id with a slash": (patient(id="a/b"), "value", "Patient.id"),
    "an id of 65 characters": (patient(id="a" * 65), "value", "Patient.id"),
    "a code with two spaces": (patient(language="en  US"), "value", "Patient.language"),
    "a code that begins with a space": (patient(language=" en"), "value", "Patient.language"),
    "a uri with a space": (patient(implicitRules="http://a b"), "value", "Patient.implicitRules"),
    "a canonical with a space": (patient(meta={"profile": ["http://a b"]}), "value", "Patient.meta.profile[0]"),
    "an oid without prefix": (patient(extension=[{"url": "x", "valueOid": "1.2.3"}]), "value", "Patient.extension[0].value"),
    "a uuid that is none": (patient(extension=[{"url": "x", "valueUuid": "urn:uuid:1"}]), "value", "Patient.extension[0].value"),
    "a url with a space": (patient(extension=[{"url": "x", "valueUrl": "http://a b"}]), "value", "Patient.extension[0].value"),
    "base64 with a wrong character": (patient(photo=[{"data": "aGVsbG8$"}]), "value", "Patient.photo[0].data"),
    "base64 without padding": (patient(photo=[{"data": "aGVsbG8"}]), "value", "Patient.photo[0].data"),
    "a positiveInt of 0": (patient(telecom=[{"rank": 0}]), "value", "Patient.telecom[0].rank"),
    "a negative unsignedInt": (patient(photo=[{"size": -1}]), "value", "Patient.photo[0].size"),
    "an integer of 33 bits": (patient(multipleBirthInteger=2**31), "value", "Patient.multipleBirth"),
    "a decimal of 35 digits": (observation(valueQuantity={"value": Decimal("1" * 35)}), "value", "Observation.value.value"),
    "a decimal that is no number": (observation(valueQuantity={"value": Decimal("NaN")}), "value", "Observation.value.value"),
    "a control character": (patient(name=[{"family": "L\x07"}]), "value", "Patient.name[0].family"),
    "half of a surrogate pair": (patient(name=[{"family": "L\ud800"}]), "value", "Patient.name[0].family"),
    "a text over 1 MB": (patient(name=[{"family": "x" * (1024 * 1024 + 1)}]), "too-long", "Patient.name[0].family"),
    # Narrative.
    "a narrative that is not well-formed": (
        patient(text={"status": "generated", "div": "<div><p></div>"}),
        "value",
        "Patient.text.div",
    ),
    "a narrative without namespace": (patient(text={"status": "generated", "div": "<div>x</div>"}), "value", "Patient.text.div"),
    "a narrative that is no div": (
        patient(text={"status": "generated", "div": '<p xmlns="http://www.w3.org/1999/xhtml">x</p>'}),
        "value",
        "Patient.text.div",
    ),
    "a script": (
        patient(text={"status": "generated", "div": DIV.format("<script>alert(1)</script>")}),
        "invariant",
        "Patient.text.div",
    ),
    "an event attribute": (
        patient(text={"status": "generated", "div": DIV.format('<p onclick="x()">x</p>')}),
        "invariant",
        "Patient.text.div",
    ),
    "a link to a script": (
        patient(text={"status": "generated", "div": DIV.format('<a href=" JavaScript:x()">x</a>')}),
        "invariant",
        "Patient.text.div",
    ),
    "a form": (patient(text={"status": "generated", "div": DIV.format("<form>x</form>")}), "invariant", "Patient.text.div"),
    "a style from elsewhere": (
        patient(text={"status": "generated", "div": DIV.format("<style>p{}</style>")}),
        "invariant",
        "Patient.text.div",
    ),
    "an entity of its own": (
        patient(text={"status": "generated", "div": '<!DOCTYPE div [<!ENTITY e "x">]>' + DIV.format("&e;")}),
        "invariant",
        "Patient.text.div",
    ),
    # Bindings.
    "a code that is not in the value set": (patient(gender="F"), "code-invalid", "Patient.gender"),
    "a code that is not in the value set, below": (patient(name=[{"use": "main"}]), "code-invalid", "Patient.name[0].use"),
    "a concept whose code is not in the value set": (
        condition(
            clinicalStatus={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "x"}]}
        ),
        "code-invalid",
        "Condition.clinicalStatus",
    ),
    "a concept whose system is not in the value set": (
        condition(clinicalStatus={"coding": [{"system": "http://example.org", "code": "active"}]}),
        "code-invalid",
        "Condition.clinicalStatus",
    ),
    "a concept of text only": (condition(clinicalStatus={"text": "active"}), "code-invalid", "Condition.clinicalStatus"),
    "a currency that is none": (
        patient(extension=[{"url": "x", "valueMoney": {"value": 1, "currency": "euro"}}]),
        "code-invalid",
        "Patient.extension[0].value.currency",
    ),
    # References.
    "a reference to a wrong type": (
        observation(subject={"reference": "Practitioner/1"}),
        "value",
        "Observation.subject.reference",
    ),
    "a reference to a wrong type in an array": (
        patient(generalPractitioner=[{"reference": "Practitioner/1"}, {"reference": "Patient/1"}]),
        "value",
        "Patient.generalPractitioner[1].reference",
    ),
    "an absolute reference to a wrong type": (
        observation(subject={"reference": "https://example.org/fhir/Practitioner/1"}),
        "value",
        "Observation.subject.reference",
    ),
    "a conditional reference to a wrong type": (
        observation(subject={"reference": "Practitioner?identifier=1"}),
        "value",
        "Observation.subject.reference",
    ),
    "a reference to an unknown type": (observation(focus=[{"reference": "Patent/1"}]), "value", "Observation.focus[0].reference"),
    "a reference without id": (observation(subject={"reference": "Patient"}), "value", "Observation.subject.reference"),
    "a reference with a bad id": (observation(subject={"reference": "Patient/a_b"}), "value", "Observation.subject.reference"),
    "a reference that says a wrong type": (observation(subject={"type": "Practitioner"}), "value", "Observation.subject.type"),
    "a reference of which type and text differ": (
        observation(subject={"reference": "Patient/1", "type": "Group"}),
        "value",
        "Observation.subject.type",
    ),
    "a reference to a contained resource that is not there": (
        observation(subject={"reference": "#a"}),
        "not-found",
        "Observation.subject.reference",
    ),
    "a reference to a contained resource of a wrong type": (
        observation(contained=[{"resourceType": "Practitioner", "id": "a"}], subject={"reference": "#a"}),
        "value",
        "Observation.subject.reference",
    ),
    "a canonical of a contained resource that is not there": (
        {"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": "#q"},
        "not-found",
        "QuestionnaireResponse.questionnaire",
    ),
    # Resources in resources.
    "a contained resource that is wrong": (
        patient(contained=[{"resourceType": "Organization", "id": "o", "active": 1}]),
        "structure",
        "Patient.contained[0].active",
    ),
    "a contained resource that contains one": (
        patient(contained=[{"resourceType": "Organization", "id": "o", "contained": [{"resourceType": "Patient"}]}]),
        "structure",
        "Patient.contained[0].contained",
    ),
    "a contained resource of no type": (patient(contained=[{"id": "o"}]), "required", "Patient.contained[0].resourceType"),
    "a wrong resource in a Bundle": (bundle(patient(), patient(gender="F")), "code-invalid", "Bundle.entry[1].resource.gender"),
    "a resource of unknown type in a Bundle": (
        bundle({"resourceType": "X"}),
        "structure",
        "Bundle.entry[0].resource.resourceType",
    ),
    "a reference out of a resource in a Bundle into its neighbour": (
        bundle(observation(subject={"reference": "#a"}), observation(contained=[{"resourceType": "Patient", "id": "a"}])),
        "not-found",
        "Bundle.entry[0].resource.subject.reference",
    ),
    "a wrong resource in Parameters": (
        {"resourceType": "Parameters", "parameter": [{"name": "a", "part": [{"name": "b", "resource": patient(active=1)}]}]},
        "structure",
        "Parameters.parameter[0].part[0].resource.active",
    ),
    # Extensions.
    "an extension without url": (patient(extension=[{"valueString": "x"}]), "required", "Patient.extension[0].url"),
    "an extension without value": (patient(extension=[{"url": "x"}]), "invariant", "Patient.extension[0]"),
    "an extension with value and extensions": (
        patient(extension=[{"url": "x", "valueString": "x", "extension": [{"url": "y", "valueString": "y"}]}]),
        "invariant",
        "Patient.extension[0]",
    ),
    "an extension with two values": (
        patient(extension=[{"url": "x", "valueString": "x", "valueCode": "x"}]),
        "structure",
        "Patient.extension[0].value",
    ),
    "a value of a type that R4 does not have": (
        patient(extension=[{"url": "x", "valueInteger64": 1, "valueString": "x"}]),
        "structure",
        "Patient.extension[0].valueInteger64",
    ),
    "a sibling of the url": (
        patient(extension=[{"url": "x", "_url": {"id": "y"}, "valueString": "x"}]),
        "structure",
        "Patient.extension[0]._url",
    ),
    "a wrong value in an extension": (
        patient(extension=[{"url": "x", "valueBoolean": "yes"}]),
        "structure",
        "Patient.extension[0].value",
    ),
    "a wrong extension in an extension": (
        patient(extension=[{"url": "x", "extension": [{"url": "y", "valueDate": "2023-02-30"}]}]),
        "value",
        "Patient.extension[0].extension[0].value",
    ),
}
del WRONG["a time with a zone"][0]["valueQuantity"]


@pytest.mark.parametrize("title", WRONG)
def test_what_r4_does_not_allow_is_one_issue_at_its_place(title: str):
    resource, code, expression = WRONG[title]
    issues = validate(resource)
    assert [(issue.code, issue.expression) for issue in issues] == [(code, (expression,) if expression else ())]
    assert issues[0].severity == "error"
    assert issues[0].diagnostics.endswith(".")


def test_all_errors_are_found_at_once():
    issues = validate(patient(gender="F", birthDate="1980-02-30", name=[{"family": ""}], nickname="x"))
    assert [issue.expression for issue in issues] == [
        ("Patient.name[0].family",),
        ("Patient.gender",),
        ("Patient.birthDate",),
        ("Patient.nickname",),
    ]


def test_the_message_quotes_the_value_and_says_what_to_do():
    assert validate(patient(gender="F"))[0].diagnostics == (
        "'F' is not one of female, male, other, unknown (http://hl7.org/fhir/ValueSet/administrative-gender)."
    )
    assert validate(patient(birthDate="2023-02-29"))[0].diagnostics == "'2023-02-29' is not a valid date: there is no such day."


def test_a_long_value_is_cut_in_the_message():
    assert len(validate(patient(gender="x" * 10_000))[0].diagnostics) < 250


def test_another_type_than_the_expected_one_is_refused():
    assert [issue.expression for issue in validate(patient(), type_="Observation")] == [("resourceType",)]
    assert validate(patient(), type_="Patient") == []


def test_nesting_is_bounded():
    assert validate(nested(10)) == []
    assert validate(nested(10), max_depth=23) == []
    assert [issue.code for issue in validate(nested(10), max_depth=22)] == ["structure"]
    assert [issue.code for issue in validate(nested(100_000))] == ["structure"]


def test_very_many_errors_are_neither_all_listed_nor_all_looked_for():
    issues = validate(patient(name=[{"use": "x"}] * 50_000))
    assert len(issues) == 1001
    assert issues[-1].diagnostics == "There are more errors than the first 1,000; the others are not listed."
    assert len(validate(patient(**{f"x{number}": 1 for number in range(50_000)}))) == 1001


def test_what_stands_behind_many_references_to_contained_resources_is_still_checked():
    contained = [{"resourceType": "Practitioner", "id": "a"}]
    references = [{"reference": "#a"}] * 2000
    assert validate(patient(contained=contained, generalPractitioner=references)) == []
    found = validate(patient(contained=contained, generalPractitioner=[*references, {"reference": 1}]))
    assert [issue.expression for issue in found] == [("Patient.generalPractitioner[2000].reference",)]


def test_the_resource_is_left_as_it_was():
    resource = patient(name=[{"given": [None]}])
    before = copy.deepcopy(resource)
    validate(resource)
    assert resource == before
