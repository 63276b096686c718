"""XML both ways: what one side writes, the other reads."""

from decimal import Decimal
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.fhir.definitions import TYPES
from fhir_server.fhir.outcome import FhirError
from fhir_server.fhir.xml import from_xml, to_xml

Json = dict[str, Any]
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'


def document(inner: str, type_: str = "Patient") -> str:
    """Return an XML document of one resource."""
    return f'{HEAD}<{type_} xmlns="http://hl7.org/fhir">{inner}</{type_}>'


BOTH_WAYS: list[tuple[str, Json]] = [
    ('<active value="true"/>', {"active": True}),
    ('<multipleBirthInteger value="2"/>', {"multipleBirthInteger": 2}),
    ('<id value="p"/><birthDate value="1974-12"/>', {"id": "p", "birthDate": "1974-12"}),
    ('<name id="n"><given value="A"/><given value="B"/></name>', {"name": [{"id": "n", "given": ["A", "B"]}]}),
    (
        '<extension id="e" url="u"><valueDecimal value="1.00"/></extension>',
        {"extension": [{"id": "e", "url": "u", "valueDecimal": Decimal("1.00")}]},
    ),
    (
        '<extension url="u"><extension url="v"><valueInteger value="-5"/></extension></extension>',
        {"extension": [{"url": "u", "extension": [{"url": "v", "valueInteger": -5}]}]},
    ),
    (
        '<birthDate id="b" value="1974"><extension url="u"><valueCode value="x"/></extension></birthDate>',
        {"birthDate": "1974", "_birthDate": {"id": "b", "extension": [{"url": "u", "valueCode": "x"}]}},
    ),
    (
        '<birthDate><extension url="u"><valueCode value="x"/></extension></birthDate>',
        {"_birthDate": {"extension": [{"url": "u", "valueCode": "x"}]}},
    ),
    (
        '<name><given value="A"/><given id="g"/><given id="h" value="C"/></name>',
        {"name": [{"given": ["A", None, "C"], "_given": [None, {"id": "g"}, {"id": "h"}]}]},
    ),
    ('<name><given id="g"/><given id="h"/></name>', {"name": [{"_given": [{"id": "g"}, {"id": "h"}]}]}),
    (
        (
            '<contained><Organization><id value="o"/></Organization></contained>'
            '<contained><Patient><active value="false"/></Patient></contained>'
        ),
        {"contained": [{"resourceType": "Organization", "id": "o"}, {"resourceType": "Patient", "active": False}]},
    ),
    (
        f'<text><status value="generated"/><div {XHTML} id="d">a <b class="x">&amp;&#160;b</b><br/><!-- c --></div></text>',
        {"text": {"status": "generated", "div": f'<div {XHTML} id="d">a <b class="x">&amp;&#160;b</b><br/><!-- c --></div>'}},
    ),
    (
        '<name><family value="&lt;&amp;&quot;&gt;\' &#10;&#9;&#13; ä😀"/></name>',
        {"name": [{"family": "<&\">' \n\t\r ä😀"}]},
    ),
]


@pytest.mark.parametrize(("xml", "content"), BOTH_WAYS)
def test_each_form_of_an_element_is_written_and_read(xml: str, content: Json) -> None:
    resource = {"resourceType": "Patient", **content}
    assert to_xml(resource).decode() == document(xml)
    assert repr(from_xml(document(xml).encode())) == repr(resource)


def test_resources_stand_in_bundles_and_parameters() -> None:
    xml = document(
        '<type value="batch"/><entry><resource><Parameters><parameter><name value="p"/>'
        '<resource><Patient><id value="1"/></Patient></resource></parameter></Parameters></resource></entry>',
        "Bundle",
    )
    parameter = {"name": "p", "resource": {"resourceType": "Patient", "id": "1"}}
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"resource": {"resourceType": "Parameters", "parameter": [parameter]}}],
    }
    assert to_xml(bundle).decode() == xml
    assert from_xml(xml.encode()) == bundle


def test_content_references_have_the_elements_of_what_they_refer_to() -> None:
    item = {"linkId": "1", "item": [{"linkId": "2", "item": [{"linkId": "3"}]}]}
    questionnaire = {"resourceType": "Questionnaire", "item": [item]}
    assert from_xml(to_xml(questionnaire)) == questionnaire


def test_a_resource_without_content_is_an_empty_element() -> None:
    assert to_xml({"resourceType": "Patient"}).decode() == document("")
    assert from_xml(document("").encode()) == {"resourceType": "Patient"}


def test_elements_are_written_in_the_order_of_the_specification() -> None:
    resource = {
        "birthDate": "1974",
        "_gender": {"id": "g"},
        "name": [{"given": ["A"], "use": "usual"}],
        "resourceType": "Patient",
        "id": "p",
    }
    assert to_xml(resource).decode() == document(
        '<id value="p"/><name><use value="usual"/><given value="A"/></name><gender id="g"/><birthDate value="1974"/>'
    )


def test_elements_are_read_in_any_order() -> None:
    xml = document('<birthDate value="1974"/><name><family value="A"/></name><id value="p"/><name><family value="B"/></name>')
    assert from_xml(xml.encode()) == {
        "resourceType": "Patient",
        "birthDate": "1974",
        "name": [{"family": "A"}, {"family": "B"}],
        "id": "p",
    }


def test_pretty_xml_is_indented_and_holds_the_same() -> None:
    resource = {
        "resourceType": "Patient",
        "contained": [{"resourceType": "Patient", "id": "1"}],
        "text": {"status": "empty", "div": f"<div {XHTML}> a\n b </div>"},
        "name": [{"family": "x"}],
    }
    assert (
        to_xml(resource, pretty=True).decode()
        == f"""{HEAD}
<Patient xmlns="http://hl7.org/fhir">
  <text>
    <status value="empty"/>
    <div {XHTML}> a
 b </div>
  </text>
  <contained>
    <Patient>
      <id value="1"/>
    </Patient>
  </contained>
  <name>
    <family value="x"/>
  </name>
</Patient>"""
    )
    assert from_xml(to_xml(resource, pretty=True)) == resource


@pytest.mark.parametrize(
    "text", ["1", "1.0", "1.00", "-0.00", "0.000000000000000000000000000000001", "1E+2", "12345678901234567890.1234567890"]
)
def test_a_decimal_keeps_its_digits_both_ways(text: str) -> None:
    xml = document(f'<valueQuantity><value value="{text}"/></valueQuantity>', "Observation")
    assert to_xml(from_xml(xml.encode())).decode() == xml


def test_a_decimal_of_the_database_is_written_with_its_digits() -> None:
    observation = {"resourceType": "Observation", "valueQuantity": {"value": Decimal128("1.50")}}
    assert b'<value value="1.50"/>' in to_xml(observation)


_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r<&>\"'"),
    min_size=1,
)
_DECIMALS = st.decimals(-(10**20), 10**20, places=None, allow_nan=False).filter(
    lambda number: (
        isinstance(number.as_tuple().exponent, int) and number.as_tuple().exponent < 0 and len(number.as_tuple().digits) <= 34
    )
)
_PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "positiveInt": st.integers(1, 2**31 - 1),
    "unsignedInt": st.integers(0, 2**31 - 1),
    "decimal": _DECIMALS | st.integers(-(10**15), 10**15),
}
_EXTRA = st.fixed_dictionaries({"id": _TEXT}) | st.fixed_dictionaries({"extension": st.just([{"url": "u", "valueString": "x"}])})
_LEAVES = sorted({element.type for element in TYPES["Extension"].elements.values() if TYPES[element.type].kind == "primitive"})


@st.composite
def contents(draw: st.DrawFn, type_: str, depth: int = 2) -> Json:
    """Return a JSON object with some of the elements of a type, of the right shape."""
    elements = [
        element
        for element in TYPES[type_].elements.values()
        if element.max != 0 and element.type not in {"xhtml", "Narrative", "Resource"} and (element.name != "extension" or depth)
    ]
    chosen = draw(st.lists(st.sampled_from(elements), min_size=1, max_size=4, unique_by=lambda element: element.name))
    content: Json = {}
    for element in chosen:
        repeats = element.max is None
        if TYPES[element.type].kind == "primitive":
            is_attribute = TYPES[type_].kind != "resource" and element.name in {"id", "url"}
            one = _PRIMITIVES.get(element.type, _TEXT)
            extra = draw(st.none() | _EXTRA) if not is_attribute else None
            content[element.name] = draw(st.lists(one, min_size=1, max_size=3) if repeats else one)
            if extra:
                count = len(content[element.name]) if repeats else 0
                content["_" + element.name] = [extra] + [None] * (count - 1) if repeats else extra
        elif depth:
            one = contents(element.type, depth - 1)
            content[element.name] = draw(st.lists(one, min_size=1, max_size=2) if repeats else one)
    return content or {"id": "x"}


@given(st.data(), st.sampled_from(["Patient", "Observation", "Questionnaire", "Timing", "ElementDefinition", "Extension"]))
def test_whatever_is_written_is_read_as_it_was(data: st.DataObject, type_: str) -> None:
    content = data.draw(contents(type_))
    resource = (
        {"resourceType": type_, **content}
        if TYPES[type_].kind == "resource"
        else {"resourceType": "Parameters", "parameter": [{"name": "x", f"value{type_}": content}]}
    )
    if type_ in {"ElementDefinition", "Extension"}:
        resource = (
            {"resourceType": "StructureDefinition", "snapshot": {"element": [content]}}
            if type_ == "ElementDefinition"
            else {"resourceType": "Patient", "extension": [content]}
        )
    for pretty in (False, True):
        assert normal(from_xml(to_xml(resource, pretty=pretty))) == normal(resource)


def normal(value: Any) -> Any:
    """Return a value in which order of members does not count and digits do."""
    if isinstance(value, dict):
        return {name: normal(member) for name, member in value.items()}
    return [normal(item) for item in value] if isinstance(value, list) else repr(value)


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ({"name": [{"family": "a\x01"}]}, "Patient.name.family can not be written as XML: it holds the character U+0001."),
        ({"name": [{"family": "\ud800"}]}, "Patient.name.family can not be written as XML: it holds the character U+D800."),
        ({"id": "\ufffe"}, "Patient.id can not be written as XML: it holds the character U+FFFE."),
        ({"nme": 1}, "Patient can not be written as XML: R4 has no element 'nme' there."),
        ({"name": [{"_id": {"id": "x"}}]}, "Patient.name can not be written as XML: R4 has no element '_id' there."),
        ({"name": {"family": "x"}}, "Patient.name can not be written as XML: it is no array."),
        ({"name": ["x"]}, "Patient.name can not be written as XML: it is no object."),
        ({"active": {}}, "Patient.active can not be written as XML: it is no string, number or boolean."),
        (
            {"_active": [1]},
            "Patient.active can not be written as XML: what stands in its member with the underscore is no object.",
        ),
        ({"contained": [{"resourceType": "Foo"}]}, "Patient.contained can not be written as XML: it is no resource of FHIR R4."),
        ({"text": {"div": 5}}, "Patient.text.div can not be written as XML: it is no string."),
        ({"resourceType": "Foo"}, "Foo can not be written as XML: it is no resource of FHIR R4."),
        ({"resourceType": None}, "The resource can not be written as XML: it is no resource of FHIR R4."),
    ],
)
def test_what_xml_can_not_hold_is_a_406_that_says_where(resource: Json, why: str) -> None:
    with pytest.raises(FhirError) as caught:
        to_xml({"resourceType": "Patient", **resource})
    assert caught.value.status == 406
    assert caught.value.issues[0].diagnostics == f"{why} Ask for JSON instead."


_NAMES = st.sampled_from(
    [
        "resourceType",
        "id",
        "_id",
        "name",
        "_name",
        "given",
        "_given",
        "text",
        "div",
        "contained",
        "extension",
        "url",
        "valueString",
        "active",
        "_active",
        "x",
    ]
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["Patient", "a", "", "\x01", "<div/>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(_NAMES, _ANY, max_size=4))
def test_no_tree_raises_anything_but_a_fhir_error(content: Json) -> None:
    try:
        to_xml({"resourceType": "Patient", **content})
    except FhirError as error:
        assert error.status == 406
