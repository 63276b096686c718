"""FHIRPath Patches that are refused."""

from typing import Any

import pytest
from fhirpath_patches import A_NAME, Json, ids, op, part, patch, refused
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.patch import fhirpath_patch
from fhir_server.fhir.patch_document import MAX_OPERATIONS


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ("x", "the name of the parameter is 'x'; it must be 'operation'."),
        ({"name": "op"}, "the name of the parameter is 'op'; it must be 'operation'."),
        ({"name": "operation"}, " lacks the part type."),
        (op("test", "Patient"), "type is 'test'; it must be one of add, insert, delete, replace, move."),
        ({"name": "operation", "part": [part("type", valueCode="delete")]}, "(delete) lacks the part path."),
        (op("replace", "Patient.gender"), "(replace) lacks the part value."),
        (op("add", "Patient"), "(add) lacks the part name and value."),
        (op("insert", "Patient.name", A_NAME), "(insert) lacks the part index."),
        (op("insert", "Patient.name", A_NAME, index=-1), "the part index must be a whole number from 0 on; it is -1."),
        (op("move", "Patient.name", source=0), "(move) lacks the part destination."),
        (op("delete", ""), "the path must have 1 to 2000 characters."),
        (
            {"name": "operation", "part": [part("type", valueCode="delete"), part("path", valueInteger=1)]},
            "the part path must be a string; it is 1.",
        ),
        ({"name": "operation", "part": [part("pth", valueString="x")]}, "there is no part 'pth'; parts are destination,"),
        ({"name": "operation", "part": [part("type", valueCode="delete")] * 2}, "the part type stands more than once."),
        (op("delete", "Patient.name["), "(delete Patient.name[): the path can not be read: at character 14:"),
        (
            op("delete", "Patient.name x"),
            "(delete Patient.name x): the path can not be read: at character 14: extraneous input 'x'",
        ),
        (op("delete", "(" * 1990), "the path can not be read: "),
        (op("delete", "Patient.name.where(family.matches('(a+)+$'))"), "matches() can not be used in the path of a patch."),
        (op("delete", "Patient.name.repeat($this)"), "repeat() can not be used in the path of a patch."),
    ],
)
def test_what_is_no_patch_is_a_400_that_names_the_operation(operation: Any, why: str) -> None:
    text = refused({}, operation, status=400)
    assert text.startswith("FHIRPath Patch operation 0")
    assert why in text


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        [],
        {"resourceType": "Patient"},
        {"resourceType": "Parameters", "parameter": {}},
        {"resourceType": "Parameters", "parameter": [op("delete", "Patient.name")] * (MAX_OPERATIONS + 1)},
    ],
)
def test_what_holds_no_list_of_operations_is_a_400(parameters: Any) -> None:
    with pytest.raises(FhirError) as caught:
        fhirpath_patch({"resourceType": "Patient"}, parameters)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (op("replace", "Patient.birthDate", {"valueDate": "2020"}), "the path yields no element of this resource."),
        (
            op("add", "Patient.identifier.where(use = 'official').period", {"valueDate": "2020"}, name="end"),
            "the path yields no element of this resource.",
        ),
        (op("delete", "Patient.identifier"), "the path yields 2 elements; only one can be deleted at a time."),
        (op("add", "Patient.identifier", {"valueString": "x"}, name="value"), "the path yields 2 elements; it must yield one."),
        (
            op("add", "Patient", {"valueBoolean": True}, name="active"),
            "Patient already has active, which does not repeat; use replace.",
        ),
        (op("add", "Patient", {"valueBoolean": True}, name="actve"), "Patient has no element 'actve'."),
        (op("delete", "Patient.actve"), "the path can not be evaluated: Patient has no element 'actve'."),
        (op("delete", "Patient"), "the resource itself can not be deleted by a patch; use DELETE."),
        (
            op("replace", "Patient", {"resource": {"resourceType": "Patient"}}),
            "the resource itself can not be replaced by a patch; use PUT.",
        ),
        (
            op("delete", "Patient.active = true"),
            "the path can not be evaluated: it yields a value that is no element of the resource.",
        ),
        (op("delete", "Observation.value"), None),
        (
            op("insert", "Patient.identifier", {"valueIdentifier": {"value": "x"}}, index=3),
            "the list has 2 items; nothing can be inserted at 3.",
        ),
        (op("insert", "Patient.active", {"valueBoolean": True}, index=0), "active is not a list."),
        (
            op("insert", "Patient.identifier[0]", {"valueIdentifier": {"value": "x"}}, index=0),
            "the path must end in the name of a list, such as Patient.identifier.",
        ),
        (
            op("insert", "Patient.contact.telecom", {"valueContactPoint": {"value": "x"}}, index=0),
            "'Patient.contact' yields no element of this resource.",
        ),
        (op("move", "Patient.identifier", source=2, destination=0), "the list has 2 items; source 2 is not among them."),
        (op("move", "Patient.identifier", source=0, destination=2), "the list has 2 items; destination 2 is not among them."),
        (op("replace", "Patient.active", {"valueString": "true"}), "Patient.active is a boolean; its value can not be a string."),
        (op("replace", "Patient.active", {"valueInteger": 1}), "Patient.active is a boolean; its value can not be a integer."),
        (
            op("add", "Patient", {"valueHumanName": {"text": "x"}}, name="address"),
            "Patient.address is a Address; its value can not be a HumanName.",
        ),
        (op("add", "Patient", {"valueString": "x"}, name="deceased"), "deceased may be boolean, dateTime; it can not be string."),
        (
            op("add", "Patient", {"resource": {"resourceType": "Patient"}}, name="name"),
            "Patient.name is a HumanName; it can not hold a resource.",
        ),
        (
            op("add", "Patient", {"part": [part("value", valueDate="2020")]}, name="birthDate"),
            "Patient.birthDate is a date; its value can not be made of parts.",
        ),
        (
            op("add", "Patient", {"part": [part("nme", valueString="x")]}, name="contact"),
            "the element 'nme' of Patient.contact is not known.",
        ),
        (
            op("add", "Patient", {"part": [part("gender", valueCode="x")] * 2}, name="contact"),
            "Patient.contact.gender does not repeat, but has two values.",
        ),
        (op("add", "Patient", {"part": [{"valueCode": "x"}]}, name="contact"), "a part of Patient.contact has no name."),
        (op("add", "Patient", {"part": []}, name="contact"), "the value of Patient.contact is empty."),
        (
            op("add", "Patient", {}, name="contact"),
            "the value of Patient.contact must have one of value[x], resource and part; it has none.",
        ),
        (
            op("delete", "Patient.identifier.where(value > 5)"),
            'the path can not be evaluated: Type of "1" (str) did not match type of "5" (int). InequalityExpression.',
        ),
    ],
)
def test_what_can_not_be_applied_is_a_422_that_names_the_operation_and_its_path(operation: Json, why: str | None) -> None:
    resource = {**ids("1", "2"), "active": True}
    if why is None:
        assert patch(resource, operation) == resource
        return
    path = operation["part"][1]["valueString"]
    assert (
        refused(resource, op("delete", "Patient.active[1]"), operation)
        == f"FHIRPath Patch operation 1 ({operation['part'][0]['valueCode']} {path}): {why}"
    )


def test_a_path_that_takes_too_long_is_refused() -> None:
    resource = ids(*map(str, range(2000)))
    path = "Patient.identifier.where(%resource.identifier.where(%resource.identifier.value = '1').exists())"
    assert "it takes too many steps" in refused(resource, op("delete", path))


def test_a_value_can_not_nest_a_resource_beyond_the_limit() -> None:
    value: Json = {"url": "u"}
    for _ in range(70):
        value = {"url": "u", "extension": [value]}
    operation = op("add", "Patient", {"valueCodeableConcept": {"text": "x", "extension": [value]}}, name="maritalStatus")
    assert "too deep" in refused({}, operation)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["add", "delete", "Patient.name", "name", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "part", "valueString", "valueCode", "valueHumanName", "resource", "resourceType", "_valueString"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.just("operation"),
                "part": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(["type", "path", "name", "value", "index", "source"])},
                        optional={
                            "valueCode": st.sampled_from(["add", "insert", "delete", "replace"]),
                            "valueString": st.sampled_from(["Patient", "Patient.name", "name", "Patient.name[0].given", "given"]),
                            "valueInteger": st.integers(-1, 3),
                            "valueHumanName": _ANY,
                            "part": _ANY,
                            "resource": _ANY,
                        },
                    ),
                    max_size=5,
                ),
            }
        )
        | _ANY,
        max_size=3,
    )
)
def test_no_parameters_raise_anything_but_a_fhir_error(operations: list[Any]) -> None:
    resource = {"resourceType": "Patient", "name": [{"given": ["a"], "_given": [{"id": "b"}]}]}
    try:
        fhirpath_patch(resource, {"resourceType": "Parameters", "parameter": operations})
    except FhirError as error:
        assert error.status in {400, 422}
