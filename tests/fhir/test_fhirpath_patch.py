"""FHIRPath Patch."""

from decimal import Decimal

import pytest
from fhirpath_patches import A_NAME, Json, ids, op, part, patch, refused
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.patch import fhirpath_patch

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
