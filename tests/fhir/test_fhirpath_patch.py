"""FHIRPath Patch."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.json_patch import clone
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.patch import fhirpath_patch
from fhir_server.fhir.patch_document import MAX_OPERATIONS
from fhir_server.fhir.xml import from_xml, to_xml

Json = dict[str, Any]


def part(name: str, **value: Any) -> Json:
    """Return a part with a value[x], a resource or parts."""
    return {"name": name, **value}


def op(type_: str, path: str, value: Json | None = None, **more: Any) -> Json:
    """Return one operation."""
    parts = [part("type", valueCode=type_), part("path", valueString=path)]
    if value is not None:
        parts.append({"name": "value", **value})
    parts += [part(name, valueString=item) if name == "name" else part(name, valueInteger=item) for name, item in more.items()]
    return {"name": "operation", "part": parts}


def patch(resource: Json, *operations: Json) -> Json:
    """Return the patched Patient without its type; what was given must stay as it was."""
    whole = {"resourceType": "Patient", **resource}
    before = clone(whole)
    parameters = {"resourceType": "Parameters", "parameter": list(operations)}
    patched = fhirpath_patch(whole, parameters)
    assert whole == before
    assert fhirpath_patch(whole, from_xml(to_xml(parameters))) == patched
    assert patched.pop("resourceType") == "Patient"
    return patched


def refused(resource: Json, *operations: Any, status: int = 422) -> str:
    """Return why the patch is refused."""
    with pytest.raises(FhirError) as caught:
        fhirpath_patch({"resourceType": "Patient", **resource}, {"resourceType": "Parameters", "parameter": list(operations)})
    assert caught.value.status == status
    return caught.value.issues[0].diagnostics


def ids(*values: str) -> Json:
    """Return a Patient with these identifiers."""
    return {"identifier": [{"system": "http://example.org", "value": value} for value in values]}


A_NAME = {"valueHumanName": {"text": "a name"}}
CONTACT = {"contact": [{"name": {"text": "a name"}, "gender": "male"}]}


@pytest.mark.parametrize(
    ("before", "operations", "after"),
    [
        ({"birthDate": "1920-01-01"}, [], {"birthDate": "1920-01-01"}),
        (
            {"birthDate": "1920-01-01"},
            [op("replace", "Patient.birthDate", {"valueDate": "1930-01-01"})],
            {"birthDate": "1930-01-01"},
        ),
        ({"birthDate": "1920-01-01", "active": True}, [op("delete", "Patient.birthDate")], {"active": True}),
        ({"active": True}, [op("delete", "Patient.birthDate")], {"active": True}),
        ({}, [op("add", "Patient", {"valueDate": "1930-01-01"}, name="birthDate")], {"birthDate": "1930-01-01"}),
        (
            CONTACT,
            [op("replace", "Patient.contact[0].gender", {"valueCode": "female"})],
            {"contact": [{"name": {"text": "a name"}, "gender": "female"}]},
        ),
        (
            CONTACT,
            [op("replace", "Patient.contact[0].name.text", {"valueString": "x"})],
            {"contact": [{"name": {"text": "x"}, "gender": "male"}]},
        ),
        (CONTACT, [op("delete", "Patient.contact[0].gender")], {"contact": [{"name": {"text": "a name"}}]}),
        (CONTACT, [op("delete", "Patient.contact[0].name.text")], {"contact": [{"gender": "male"}]}),
        (CONTACT, [op("delete", "Patient.contact[0]")], {}),
        (CONTACT, [op("delete", "Patient.contact.name.text"), op("delete", "Patient.contact.gender")], {}),
        (
            {"contact": [{"name": {"text": "a"}}]},
            [op("add", "Patient.contact[0]", {"valueCode": "male"}, name="gender")],
            {"contact": [{"name": {"text": "a"}, "gender": "male"}]},
        ),
        (
            {},
            [op("add", "Patient", {"valueCodeableConcept": {"text": "married"}}, name="maritalStatus")],
            {"maritalStatus": {"text": "married"}},
        ),
        (
            {"maritalStatus": {"id": "1", "text": "married"}},
            [op("replace", "Patient.maritalStatus", {"valueCodeableConcept": {"id": "2", "text": "not married"}})],
            {"maritalStatus": {"id": "2", "text": "not married"}},
        ),
        ({"maritalStatus": {"text": "married"}}, [op("delete", "Patient.maritalStatus")], {}),
        (
            {},
            [op("add", "Patient", {"part": [part("name", **A_NAME)]}, name="contact")],
            {"contact": [{"name": {"text": "a name"}}]},
        ),
        (
            ids("1", "2"),
            [op("add", "Patient", {"valueIdentifier": {"system": "http://example.org", "value": "3"}}, name="identifier")],
            ids("1", "2", "3"),
        ),
        (
            ids("1", "2"),
            [op("insert", "Patient.identifier", {"valueIdentifier": {"system": "http://example.org", "value": "3"}}, index=1)],
            ids("1", "3", "2"),
        ),
        (
            ids("1", "2"),
            [op("insert", "Patient.identifier", {"valueIdentifier": {"system": "http://example.org", "value": "3"}}, index=0)],
            ids("3", "1", "2"),
        ),
        (
            ids("1", "2"),
            [op("insert", "Patient.identifier", {"valueIdentifier": {"system": "http://example.org", "value": "3"}}, index=2)],
            ids("1", "2", "3"),
        ),
        (
            {},
            [op("insert", "Patient.identifier", {"valueIdentifier": {"system": "http://example.org", "value": "3"}}, index=0)],
            ids("3"),
        ),
        (ids("1", "2", "3"), [op("delete", "Patient.identifier[0]")], ids("2", "3")),
        (ids("1", "2", "3"), [op("delete", "Patient.identifier[2]")], ids("1", "2")),
        (ids("1"), [op("delete", "Patient.identifier[7]")], ids("1")),
        (ids("1", "2", "3", "4"), [op("move", "Patient.identifier", source=3, destination=1)], ids("1", "4", "2", "3")),
        (ids("1", "2", "3", "4"), [op("move", "Patient.identifier", source=0, destination=3)], ids("2", "3", "4", "1")),
        (
            ids("1", "2", "3", "4"),
            [
                op("move", "Patient.identifier", source=1, destination=0),
                op("move", "Patient.identifier", source=2, destination=1),
            ],
            ids("2", "3", "1", "4"),
        ),
        (ids("1", "2"), [op("move", "identifier", source=1, destination=1)], ids("1", "2")),
    ],
)
def test_the_operations_of_the_specification(before: Json, operations: list[Json], after: Json) -> None:
    assert patch(before, *operations) == after


@pytest.mark.parametrize(
    "path",
    [
        "Patient.identifier.where(value = '2')",
        "Patient.identifier.where(value='2' and system.startsWith('http'))",
        "Patient.identifier.where(period.exists().not()).where(value = '2')",
        "Patient.identifier.where($index = 1)",
        "Patient.identifier[1]",
        "Patient.identifier[2 - 1]",
        "Patient.identifier.last()",
        "Patient.identifier.tail()",
        "Patient.identifier.skip(1).first()",
        "Patient.identifier.take(2).last()",
        "(Patient.identifier)[1]",
        "identifier[1]",
        "Resource.ofType(Patient).identifier.tail().single()",
        "%resource.identifier.last()",
        "$this.identifier.last()",
        "Patient.children().ofType(Identifier).where(value = '2')",
        "Patient.identifier.value.where($this = '2')",
        "Patient.identifier.where(value in ('2' | '3')).value",
    ],
)
def test_a_path_may_use_whatever_of_fhirpath_points_to_an_element(path: str) -> None:
    remaining = patch(ids("1", "2"), op("delete", path))
    emptied = [{"system": "http://example.org"}] if "value" in path.replace("(value", "") else []
    assert remaining == {"identifier": ids("1")["identifier"] + emptied}


@pytest.mark.parametrize(
    ("before", "operation", "after"),
    [
        ({}, op("add", "Patient", {"valueBoolean": True}, name="deceased"), {"deceasedBoolean": True}),
        ({}, op("add", "Patient", {"valueBoolean": True}, name="deceased[x]"), {"deceasedBoolean": True}),
        ({}, op("add", "Patient", {"valueBoolean": True}, name="deceasedBoolean"), {"deceasedBoolean": True}),
        ({"deceasedBoolean": True}, op("replace", "Patient.deceased", {"valueDateTime": "2020"}), {"deceasedDateTime": "2020"}),
        (
            {"deceasedBoolean": True},
            op("replace", "Patient.deceased.ofType(boolean)", {"valueBoolean": False}),
            {"deceasedBoolean": False},
        ),
        ({"deceasedBoolean": True}, op("delete", "(Patient.deceased as boolean)"), {}),
        ({"deceasedBoolean": True}, op("delete", "Patient.deceased.ofType(dateTime)"), {"deceasedBoolean": True}),
        ({"deceasedBoolean": True}, op("delete", "Patient.deceasedBoolean"), {}),
    ],
)
def test_a_choice_is_named_without_its_type_and_takes_that_of_the_value(before: Json, operation: Json, after: Json) -> None:
    assert patch(before, operation) == after


def test_a_replaced_element_keeps_its_place_among_the_members() -> None:
    patched = patch(
        {"active": True, "deceasedBoolean": True, "gender": "male"}, op("replace", "Patient.deceased", {"valueDateTime": "2020"})
    )
    assert list(patched) == ["active", "deceasedDateTime", "gender"]


def test_a_decimal_keeps_its_digits() -> None:
    extension = {"part": [part("url", valueUri="u"), part("value", valueDecimal=Decimal("1.00"))]}
    assert str(patch({}, op("add", "Patient", extension, name="extension"))["extension"][0]["valueDecimal"]) == "1.00"


def test_parts_make_lists_nested_elements_and_primitives_with_extensions() -> None:
    contact = {
        "part": [
            part("relationship", valueCodeableConcept={"text": "mother"}),
            part("telecom", valueContactPoint={"value": "1"}),
            part("telecom", valueContactPoint={"value": "2"}),
            part(
                "name",
                part=[
                    part("family", valueString="Holm", _valueString={"id": "f"}),
                    part("given", valueString="A"),
                    part("given", _valueString={"id": "g"}),
                    part("given", valueString="C"),
                ],
            ),
        ]
    }
    assert patch({}, op("add", "Patient", contact, name="contact")) == {
        "contact": [
            {
                "relationship": [{"text": "mother"}],
                "telecom": [{"value": "1"}, {"value": "2"}],
                "name": {
                    "family": "Holm",
                    "_family": {"id": "f"},
                    "given": ["A", None, "C"],
                    "_given": [None, {"id": "g"}, None],
                },
            }
        ]
    }


def test_a_resource_is_added_to_contained_and_changed_there() -> None:
    organization = {"resource": {"resourceType": "Organization", "id": "o", "name": "x"}}
    operations = [
        op("add", "Patient", organization, name="contained"),
        op("replace", "Patient.contained.where(id = 'o').name", {"valueString": "y"}),
        op("add", "Patient.contained.ofType(Organization)", {"valueBoolean": True}, name="active"),
    ]
    assert patch({}, *operations) == {"contained": [{"resourceType": "Organization", "id": "o", "name": "y", "active": True}]}


def test_extensions_of_a_primitive_are_added_found_and_deleted() -> None:
    extension = {"part": [part("url", valueUri="http://x.y"), part("value", valueDateTime="2020-01-01T00:00:00Z")]}
    added = patch({"birthDate": "2020"}, op("add", "Patient.birthDate", extension, name="extension"))
    assert added == {
        "birthDate": "2020",
        "_birthDate": {"extension": [{"url": "http://x.y", "valueDateTime": "2020-01-01T00:00:00Z"}]},
    }
    replaced = patch(added, op("replace", "Patient.birthDate.extension('http://x.y').value", {"valueString": "x"}))
    assert replaced["_birthDate"] == {"extension": [{"url": "http://x.y", "valueString": "x"}]}
    assert patch(added, op("delete", "Patient.birthDate.extension('http://x.y')")) == {"birthDate": "2020"}
    assert patch(added, op("replace", "Patient.birthDate", {"valueDate": "2021"})) == {"birthDate": "2021"}
    assert patch(added, op("delete", "Patient.birthDate")) == {}


def test_values_and_extensions_of_a_repeating_primitive_stay_together() -> None:
    names = {"name": [{"given": ["a", "b"]}]}
    tagged = patch(names, op("add", "Patient.name[0].given[1]", {"valueString": "g"}, name="id"))
    assert tagged == {"name": [{"given": ["a", "b"], "_given": [None, {"id": "g"}]}]}
    assert patch(tagged, op("insert", "Patient.name[0].given", {"valueString": "z"}, index=0)) == {
        "name": [{"given": ["z", "a", "b"], "_given": [None, None, {"id": "g"}]}]
    }
    assert patch(tagged, op("move", "Patient.name[0].given", source=1, destination=0)) == {
        "name": [{"given": ["b", "a"], "_given": [{"id": "g"}, None]}]
    }
    assert patch(tagged, op("delete", "Patient.name[0].given[0]")) == {"name": [{"given": ["b"], "_given": [{"id": "g"}]}]}
    assert patch(tagged, op("delete", "Patient.name[0].given[1]")) == {"name": [{"given": ["a"]}]}
    assert patch(tagged, op("add", "Patient.name", {"valueString": "c"}, name="given")) == {
        "name": [{"given": ["a", "b", "c"], "_given": [None, {"id": "g"}, None]}]
    }
    assert patch(tagged, op("replace", "Patient.name.given[0]", {"valueString": "c", "_valueString": {"id": "h"}})) == {
        "name": [{"given": ["c", "b"], "_given": [{"id": "h"}, {"id": "g"}]}]
    }
    assert patch(tagged, op("delete", "Patient.name.given[1].id")) == names


def test_an_element_that_has_only_extensions_is_found_and_given_a_value() -> None:
    absent = {"_birthDate": {"extension": [{"url": "u", "valueCode": "unknown"}]}}
    assert patch(absent, op("replace", "Patient.birthDate", {"valueDate": "2020"})) == {"birthDate": "2020"}
    assert "already has birthDate" in refused(absent, op("add", "Patient", {"valueDate": "2020"}, name="birthDate"))


def test_the_narrative_is_replaced_by_a_string() -> None:
    text = {"text": {"status": "generated", "div": "<div>a</div>"}}
    assert patch(text, op("replace", "Patient.text.div", {"valueString": "<div>b</div>"}))["text"]["div"] == "<div>b</div>"


def test_an_age_is_a_quantity() -> None:
    condition = {"resourceType": "Condition"}
    operation = op("add", "Condition", {"valueAge": {"value": 1}}, name="onset")
    patched = fhirpath_patch(condition, {"resourceType": "Parameters", "parameter": [operation]})
    assert patched == {"resourceType": "Condition", "onsetAge": {"value": 1}}


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


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_inserting_and_deleting_at_the_same_place_changes_nothing(values: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values)))
    inserted = patch(ids(*values), op("insert", "Patient.identifier", {"valueIdentifier": {"value": "new"}}, index=index))
    assert inserted["identifier"][index] == {"value": "new"}
    assert patch(inserted, op("delete", f"Patient.identifier[{index}]")) == ids(*values)


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.booleans()), min_size=1, max_size=6), st.data())
def test_moving_there_and_back_changes_nothing(items: list[tuple[str, bool]], data: st.DataObject) -> None:
    given_names: Json = {"given": [value for value, _ in items]}
    if any(tagged for _, tagged in items):
        given_names["_given"] = [{"id": value} if tagged else None for value, tagged in items]
    one, other = (data.draw(st.integers(0, len(items) - 1)) for _ in range(2))
    moved = patch({"name": [given_names]}, op("move", "Patient.name.given", source=one, destination=other))
    assert moved["name"][0]["given"][other] == items[one][0]
    assert patch(moved, op("move", "Patient.name.given", source=other, destination=one)) == {"name": [given_names]}


_PRIMITIVES = sorted(
    name for name, element in TYPES["Extension"].elements.items() if TYPES[element.type].kind == "primitive" and element.choice
)


@given(st.sampled_from(_PRIMITIVES), st.sampled_from(_PRIMITIVES))
def test_any_primitive_of_a_choice_is_replaced_by_any_other_and_back(one: str, other: str) -> None:
    values: Json = {
        name: True if name == "valueBoolean" else 5 if "Int" in name or name == "valueDecimal" else "x" for name in (one, other)
    }
    before = {"extension": [{"url": "u", one: values[one]}]}
    after = patch(before, op("replace", "Patient.extension('u').value", {other: values[other]}))
    assert after == {"extension": [{"url": "u", other: values[other]}]}
    assert patch(after, op("replace", "Patient.extension('u').value", {one: values[one]})) == before


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
