"""JSON Patch, RFC 6902."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.json_patch import MAX_OPERATIONS, apply, clone, equal
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.patch import json_patch

PATIENT = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"family": "Holm", "given": ["Ada", "Bea"]}],
    "a/b": 1,
    "m~n": 2,
    "nothing": None,
}


def op(name: str, path: str, **more: Any) -> dict[str, Any]:
    """Return one operation."""
    return {"op": name, "path": path, **{key.rstrip("_"): value for key, value in more.items()}}


def refused(*operations: Any, status: int = 422, document: Any = PATIENT) -> str:
    """Return why the patch is refused."""
    with pytest.raises(FhirError) as caught:
        apply(document, list(operations))
    assert caught.value.status == status
    return caught.value.issues[0].diagnostics


@pytest.mark.parametrize(
    ("before", "operation", "after"),
    [
        # The examples of RFC 6902, appendix A.
        ({"foo": "bar"}, op("add", "/baz", value="qux"), {"foo": "bar", "baz": "qux"}),
        ({"foo": ["bar", "baz"]}, op("add", "/foo/1", value="qux"), {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, op("remove", "/baz"), {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, op("remove", "/foo/1"), {"foo": ["bar", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, op("replace", "/baz", value="boo"), {"baz": "boo", "foo": "bar"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            op("move", "/qux/thud", from_="/foo/waldo"),
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            op("move", "/foo/3", from_="/foo/1"),
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"foo": "bar"}, op("add", "/child", value={"grandchild": {}}), {"foo": "bar", "child": {"grandchild": {}}}),
        ({"foo": "bar"}, op("add", "/baz", value="qux", xyz=123), {"foo": "bar", "baz": "qux"}),
        ({"foo": ["bar"]}, op("add", "/foo/-", value=["abc", "def"]), {"foo": ["bar", ["abc", "def"]]}),
        ({"/": 9, "~1": 10}, op("test", "/~01", value=10), {"/": 9, "~1": 10}),
        # Ours.
        ({"a": 1}, op("add", "/a", value=None), {"a": None}),
        ({"a": 1}, op("add", "/", value=2), {"a": 1, "": 2}),
        ({"a": [1, 2]}, op("add", "/a/2", value=3), {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, op("replace", "/a/0", value=[3]), {"a": [[3], 2]}),
        ({"a": {"b": 1}}, op("copy", "/c", from_="/a"), {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": {"b": 1}}, op("copy", "/a/c", from_="/a"), {"a": {"b": 1, "c": {"b": 1}}}),
        ({"a": [1, 2]}, op("copy", "/a/-", from_="/a/0"), {"a": [1, 2, 1]}),
        ({"a": 1}, op("move", "/a", from_="/a"), {"a": 1}),
        ({"a": 1, "b": 2}, op("move", "/a", from_="/b"), {"a": 2}),
        ({"a": 1}, op("replace", "", value={"b": 2}), {"b": 2}),
        ({"a": 1}, op("test", "", value={"a": 1}), {"a": 1}),
        ({"0": {"-": 1}}, op("replace", "/0/-", value=2), {"0": {"-": 2}}),
        ({"a/b": 1, "m~n": 2}, op("move", "/m~0n", from_="/a~1b"), {"m~n": 1}),
    ],
)
def test_an_operation_changes_what_it_says_and_nothing_else(before: Any, operation: dict[str, Any], after: Any) -> None:
    document = clone(before)
    assert apply(document, [operation]) == after
    assert document == before


def test_operations_see_what_earlier_ones_did() -> None:
    operations = [op("add", "/x", value=[]), op("add", "/x/-", value=1), op("copy", "/y", from_="/x"), op("add", "/y/-", value=2)]
    assert apply({}, operations) == {"x": [1], "y": [1, 2]}


def test_the_patch_itself_is_not_changed_by_later_operations() -> None:
    operations = [op("add", "/x", value={"a": []}), op("add", "/x/a/-", value=1)]
    apply({}, operations)
    assert operations[0]["value"] == {"a": []}


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (1, Decimal("1.00"), True),
        (Decimal("1.50"), Decimal("1.5"), True),
        (1, "1", False),
        (None, False, False),
        (None, None, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [2, 1], False),
        ([1, True], [1, 1], False),
        ([], {}, False),
        ("a", ["a"], False),
    ],
)
def test_values_are_compared_as_json_values(left: Any, right: Any, *, result: bool) -> None:
    assert equal(left, right) is result
    assert equal(right, left) is result


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"op": "add"}, "A JSON Patch is an array of operations"),
        ("x", "A JSON Patch is an array of operations"),
        ([1], "JSON Patch operation 0 is not an object with op and path."),
        ([op("test", "", value=1), {"path": "/a"}], "JSON Patch operation 1: op is missing; it must be one of add, remove,"),
        ([op("Add", "/a", value=1)], "JSON Patch operation 0: op is 'Add'; it must be one of add,"),
        ([{"op": ["add"], "path": "/a"}], "JSON Patch operation 0: op is ['add']; it must be one of"),
        ([{"op": "add"}], "JSON Patch operation 0 (add) lacks path and value."),
        ([{"op": "replace", "path": "/a"}], "JSON Patch operation 0 (replace) lacks value."),
        ([op("move", "/a")], "JSON Patch operation 0 (move) lacks from."),
        ([op("add", "a", value=1)], "JSON Patch operation 0 (add): path is 'a'; a JSON Pointer begins with a slash"),
        ([op("add", "/a~2", value=1)], "JSON Patch operation 0 (add): path is '/a~2'; in a JSON Pointer ~ is written ~0"),
        ([{"op": "copy", "path": "/a", "from": 5}], "JSON Patch operation 0 (copy): from is 5; it must be a JSON Pointer"),
        ([op("test", "", value=1)] * (MAX_OPERATIONS + 1), "A JSON Patch may hold 1000 operations, not 1001."),
    ],
)
def test_what_is_no_json_patch_is_a_400_that_says_why(document: Any, why: str) -> None:
    with pytest.raises(FhirError) as caught:
        apply(PATIENT, document)
    assert caught.value.status == 400
    assert caught.value.issues[0].diagnostics.startswith(why)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (op("remove", "/nme"), "(remove /nme): the resource has no member 'nme'."),
        (op("replace", "/name/0/x", value=1), "(replace /name/0/x): /name/0 has no member 'x'."),
        (op("remove", "/name/1"), "(remove /name/1): /name has 1 items; there is none at 1."),
        (op("add", "/name/2", value={}), "(add /name/2): /name has 1 items; nothing can be put at 2."),
        (op("add", "/name/01", value={}), "(add /name/01): '01' is no index of the array /name; it must be 0, 1, 2, and so on."),
        (op("add", "/name/+1", value={}), "(add /name/+1): '+1' is no index of the array /name; it must be 0, 1, 2, and so on."),
        (
            op("add", "/name/1e0", value={}),
            "(add /name/1e0): '1e0' is no index of the array /name; it must be 0, 1, 2, and so on.",
        ),
        (op("add", "/name/٣", value={}), "(add /name/٣): '٣' is no index of the array /name; it must be 0, 1, 2, and so on."),
        (op("remove", "/name/-"), "(remove /name/-): - is the place after the last item of /name; there is nothing yet."),
        (op("add", "/name/-/x", value=1), "(add /name/-/x): - is the place after the last item of /name; there is nothing yet."),
        (
            op("add", "/active/x", value=1),
            "(add /active/x): /active is neither an object nor an array; nothing can be put below it.",
        ),
        (op("add", "/x/y", value=1), "(add /x/y): the resource has no member 'x'."),
        (
            op("remove", "/nothing/x"),
            "(remove /nothing/x): /nothing is neither an object nor an array; there is nothing below it.",
        ),
        (op("remove", ""), '(remove ""): the whole resource can not be removed by a patch; use DELETE.'),
        (op("move", "/name/0/x", from_="/name"), "(move /name to /name/0/x): a value can not be moved into itself."),
        (op("move", "/x", from_="/y"), "(move /y to /x): the resource has no member 'y'."),
        (op("test", "/active", value=1), "(test /active): the value there is not equal to the one that the test states."),
        (
            op("test", "/nothing/x", value=None),
            "(test /nothing/x): /nothing is neither an object nor an array; there is nothing below it.",
        ),
    ],
)
def test_what_can_not_be_applied_is_a_422_that_names_operation_and_place(operation: dict[str, Any], why: str) -> None:
    assert refused(op("test", "/active", value=True), operation) == f"JSON Patch operation 1 {why}"


def test_a_failed_test_is_an_invariant_and_leaves_the_document_as_it_was() -> None:
    before = clone(PATIENT)
    with pytest.raises(FhirError) as caught:
        apply(PATIENT, [op("remove", "/name"), op("test", "/active", value=False)])
    assert caught.value.issues[0].code == "invariant"
    assert before == PATIENT


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_bomb_of_copies_is_refused(size: int) -> None:
    doubling = [op("copy", f"/x/{number}", from_="/x") for number in range(60)]
    assert refused(op("add", "/x", value={"a": "y" * size}), *doubling).endswith(
        "the patch copies more than 16000000 characters."
    )


@pytest.mark.parametrize("name", ["copy", "move"])
def test_a_patch_can_not_nest_a_document_beyond_the_limit(name: str) -> None:
    deep: Any = {}
    for _ in range(30):
        deep = {"a": deep}
    document = {"x": deep, "y": clone(deep)}
    path = "/x" + "/a" * 30 + "/b"
    assert apply(document, [op(name, path, from_="/y")], max_depth=64)
    assert "nested deeper than 60 levels" in _refusal(document, op(name, path, from_="/y"), max_depth=60)


def _refusal(document: Any, operation: dict[str, Any], *, max_depth: int) -> str:
    with pytest.raises(FhirError) as caught:
        apply(document, [operation], max_depth=max_depth)
    return caught.value.issues[0].diagnostics


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ({"a": 1, "address": [{"city": "x"}]}, "/address/0", {"a": 1}),
        ({"a": 1, "address": [{"city": "x"}]}, "/address/0/city", {"a": 1}),
        ({"a": 1, "address": [{"city": "x"}, {"city": "y"}]}, "/address/0/city", {"a": 1, "address": [{"city": "y"}]}),
        ({"given": ["a", "b"], "_given": [None, {"id": "x"}]}, "/_given/1/id", {"given": ["a", "b"]}),
        (
            {"given": ["a", "b"], "_given": [{"id": "y"}, {"id": "x"}]},
            "/_given/1/id",
            {"given": ["a", "b"], "_given": [{"id": "y"}, None]},
        ),
    ],
)
def test_what_an_operation_leaves_empty_is_taken_out_since_fhir_knows_no_empty_arrays(before: Any, path: str, after: Any) -> None:
    assert apply(before, [op("remove", path)]) == after


def test_an_array_that_is_emptied_and_filled_again_stays() -> None:
    assert apply({"a": [1]}, [op("remove", "/a/0"), op("add", "/a/-", value=2)]) == {"a": [2]}


def test_an_empty_array_that_the_patch_states_is_left_for_the_validator_to_refuse() -> None:
    assert apply({"b": [1, 2]}, [op("add", "/a", value=[]), op("remove", "/b/0")]) == {"a": [], "b": [2]}


def test_a_patch_that_leaves_no_object_is_refused() -> None:
    with pytest.raises(FhirError, match="no resource"):
        json_patch({"resourceType": "Patient"}, [op("replace", "", value=[])])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~_", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~_0-", max_size=2), inner, max_size=4),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(st.text("ab/~_0-", max_size=2), _VALUES, max_size=5)


def pointers(value: Any, before: str = "") -> list[str]:
    """Return the pointers to everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        pointer = f"{before}/{str(key).replace('~', '~0').replace('/', '~1')}"
        found += [pointer, *pointers(item, pointer)]
    return found


@given(st.data(), _DOCUMENTS, _VALUES)
def test_replacing_twice_restores_the_document(data: st.DataObject, document: Any, value: Any) -> None:
    path = data.draw(st.sampled_from([*pointers(document), ""]))
    old = _at(document, path)
    once = apply(document, [op("replace", path, value=value), op("test", path, value=value)])
    assert apply(once, [op("replace", path, value=old)]) == document


@given(st.data(), _DOCUMENTS, _VALUES)
def test_adding_and_removing_restores_the_document(data: st.DataObject, document: Any, value: Any) -> None:
    places = [path for path in ["", *pointers(document)] if isinstance(_at(document, path), dict | list)]
    place = data.draw(st.sampled_from(places))
    holder = _at(document, place)
    name = "new" if isinstance(holder, dict) else str(data.draw(st.integers(0, len(holder))))
    added = apply(document, [op("add", f"{place}/{name}", value=value)])
    assert _at(added, f"{place}/{name}") == value
    if holder:
        assert apply(added, [op("remove", f"{place}/{name}")]) == document


@given(
    _DOCUMENTS,
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": st.text("/ab01-~", max_size=6)},
            optional={"from": st.text("/ab01-~", max_size=6), "value": _VALUES},
        ),
        max_size=5,
    ),
)
def test_no_patch_raises_anything_but_a_fhir_error_or_changes_its_input(document: Any, operations: list[Any]) -> None:
    before = clone(document)
    try:
        apply(document, operations)
    except FhirError as error:
        assert error.status in {400, 422}
    assert document == before


def _at(value: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value
