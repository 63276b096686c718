"""A template as an ActivityDefinition, there and back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_server.fhir.codec import decode, encode
from fhir_server.fhir.validate import validate
from fhir_server.fhir.xml import from_xml, to_xml
from prm_ext.notifications.channels.channel import CHANNELS
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.templates.flat import fields_of, template_of
from prm_ext.notifications.templates.model import ContentTemplate, Template
from prm_ext.notifications.templates.resource import from_resource, is_ours, merged, to_resource
from prm_ext.notifications.templates.values import TYPES, Variable

WORDS = st.text(st.sampled_from("abc ¡é✅'\"\\&%<{\n"), min_size=1, max_size=12).map(lambda text: text.replace("{", "{{"))
TEXTS = st.lists(st.one_of(WORDS, st.sampled_from(["{patient_name}", "{x}", "{y}"])), min_size=1, max_size=4).map("".join)
TEXTS = TEXTS.filter(lambda text: bool(text.strip()))
LINES = st.text(st.sampled_from("abc é'"), max_size=8).map(str.strip)
PLACES = st.tuples(st.sampled_from(["en", "es", "pt-BR"]), st.sampled_from(["", *CHANNELS]))


@st.composite
def templates(draw: Any) -> Template:
    language = draw(st.sampled_from(["en", "es"]))
    bodies = {(language, ""): draw(TEXTS)} | draw(st.dictionaries(PLACES, TEXTS, max_size=4))
    subjects = draw(st.dictionaries(PLACES, TEXTS, max_size=3))
    if subjects:
        subjects = {(language, ""): draw(TEXTS)} | subjects
    variables = {
        name: Variable(
            name, draw(st.sampled_from(TYPES)), default=draw(LINES) or None, description=draw(LINES), sample=draw(LINES)
        )
        for name in ("x", "y")
    }
    sid = ContentTemplate("HX" + "0" * 32, draw(st.dictionaries(st.sampled_from(["1", "2"]), st.sampled_from(["x", "y"]))))
    return Template(
        name="hello_2",
        language=language,
        bodies=bodies,
        subjects=subjects,
        contents=draw(st.dictionaries(st.sampled_from([language]), st.just(sid))),
        variables=variables,
        channel=draw(st.sampled_from([None, *CHANNELS])),
        category=draw(st.sampled_from(list(KINDS))),
        title="Hello",
        description=draw(LINES),
        status=draw(st.sampled_from(["draft", "active", "retired"])),
        url="urn:x",
        version="3",
    )


@settings(deadline=None)
@given(templates())
def test_a_template_is_the_same_after_it_was_a_resource_in_json_and_in_xml(template: Template) -> None:
    resource = to_resource(template)
    assert validate(resource) == []
    assert is_ours(resource)
    assert from_resource(decode(encode(resource))) == template
    assert from_resource(from_xml(to_xml(resource))) == template


@settings(deadline=None)
@given(templates())
def test_a_template_is_the_same_after_it_was_flat(template: Template) -> None:
    found, _ = template_of(fields_of(template))
    assert replace(found, url=template.url, version=template.version) == template


@settings(deadline=None)
@given(templates(), templates())
def test_a_changed_template_has_nothing_left_of_the_one_that_it_was(old: Template, new: Template) -> None:
    assert from_resource(merged(to_resource(old), new)) == new


VALUE = {"path": "payload.content", "expression": {"language": "text/fhirpath", "expression": "'Hi'"}}


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "Task"},
        {"dynamicValue": [VALUE, {**VALUE, "path": "payload[1].content"}]},
        {"dynamicValue": [VALUE, {**VALUE, "path": "payload[0].contentString"}]},
        {"dynamicValue": [{**VALUE, "path": "payload.contentAttachment.url"}]},
        {"dynamicValue": [{**VALUE, "expression": {"language": "text/cql", "expression": "'Hi'"}}]},
        {"dynamicValue": [{**VALUE, "expression": {"language": "text/fhirpath", "expression": "upper('Hi')"}}]},
        {"dynamicValue": [{**VALUE, "expression": {"language": "text/fhirpath", "reference": "http://example.org/library"}}]},
        {"dynamicValue": []},
    ],
)
def test_a_definition_that_says_anything_else_is_no_template(more: dict[str, Any]) -> None:
    resource = {"resourceType": "ActivityDefinition", "status": "active", "kind": "CommunicationRequest", "dynamicValue": [VALUE]}
    assert from_resource(resource) is not None
    assert from_resource(resource | more) is None
