"""A template as an ActivityDefinition: https://hl7.org/fhir/R4/activitydefinition.html (docs/decisions/0040-templates.md)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from prm_ext.notifications import codes
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.templates.languages import tidy
from prm_ext.notifications.templates.model import ContentTemplate, Place, Template
from prm_ext.notifications.templates.text import from_fhirpath, to_fhirpath
from prm_ext.notifications.templates.values import TYPES, Variable
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

Resource = dict[str, Any]
Node = dict[str, Any]

TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/translation"
CHANNEL_TEXT: Final = "urn:prm:StructureDefinition:notification-channel-text"
"""On a dynamicValue: its text for one channel, in `channel` (code), `language` (code) and `text` (Expression)."""
VARIABLE: Final = "urn:prm:StructureDefinition:notification-variable"
"""On an ActivityDefinition, a ParameterDefinition: a variable of its texts."""
FORMAT: Final = "urn:prm:StructureDefinition:notification-variable-format"
DEFAULT: Final = "urn:prm:StructureDefinition:notification-variable-default"
SAMPLE: Final = "urn:prm:StructureDefinition:notification-variable-sample"
URL_TYPE: Final = "urn:prm:template-context"

BODY: Final = "payload.content"
SUBJECT: Final = f"extension('{codes.SUBJECT}').value"
_BODIES: Final = frozenset({BODY, "payload[0].content", "payload.contentString", "payload[0].contentString"})
_FHIR_TYPES: Final = {
    "text": "string",
    "date": "date",
    "time": "time",
    "datetime": "dateTime",
    "number": "decimal",
    "money": "Money",
    "url": "url",
}
_OWN_TYPES: Final = {fhir: own for own, fhir in _FHIR_TYPES.items()}
_SHOWN: Final = ("format", FORMAT), ("default", DEFAULT), ("sample", SAMPLE)


def to_resource(template: Template) -> Resource:
    """Return the ActivityDefinition of a template."""
    found: Resource = {
        "resourceType": "ActivityDefinition",
        "language": template.language,
        "extension": [*map(_variable, template.variables.values()), *_contents(template.contents)],
        "url": template.url,
        "version": template.version,
        "name": template.name,
        "title": template.title,
        "status": template.status,
        "description": template.description,
        "topic": codes.category(template.category),
        "kind": "CommunicationRequest",
        "dynamicValue": [_dynamic(BODY, template.bodies, template.language)],
    }
    if template.id:
        found["id"] = template.id
    if template.channel is not None:
        code = {"system": URL_TYPE, "code": "channel"}
        found["useContext"] = [{"code": code, "valueCodeableConcept": codes.medium(template.channel)}]
    if template.subjects:
        found["dynamicValue"].append(_dynamic(SUBJECT, template.subjects, template.language))
    found["dynamicValue"] += _fixed("category", codes.category(template.category)[0])
    if template.channel is not None:
        found["dynamicValue"] += _fixed("medium", codes.medium(template.channel))
    return {name: value for name, value in found.items() if value not in ("", [])}


def _fixed(path: str, concept: Node) -> Iterator[Node]:
    """Yield what gives the request a CodeableConcept: whoever applies the definition need not know our extensions."""
    for place, coding in enumerate(concept["coding"]):
        for member in ("system", "code"):
            yield _value(f"{path}[0].coding[{place}].{member}", f"'{coding[member]}'")


def _value(path: str, expression: str) -> Node:
    return {"path": path, "expression": {"language": "text/fhirpath", "expression": expression}}


def _dynamic(path: str, texts: Mapping[Place, str], default: str) -> Node:
    general = {language: text for (language, channel), text in texts.items() if not channel}
    found = _value(path, to_fhirpath(general[default]))
    translations = [
        {
            "url": TRANSLATION,
            "extension": [{"url": "lang", "valueCode": language}, {"url": "content", "valueString": to_fhirpath(text)}],
        }
        for language, text in general.items()
        if language != default
    ]
    if translations:
        found["expression"]["_expression"] = {"extension": translations}
    own = [_channel_text(place, text) for place, text in texts.items() if place[1]]
    return ({"extension": own} if own else {}) | found


def _channel_text(place: Place, text: str) -> Node:
    expression = {"language": "text/fhirpath", "expression": to_fhirpath(text)}
    parts = [
        {"url": "channel", "valueCode": place[1]},
        {"url": "language", "valueCode": place[0]},
        {"url": "text", "valueExpression": expression},
    ]
    return {"url": CHANNEL_TEXT, "extension": parts}


def _variable(variable: Variable) -> Node:
    extensions = [{"url": url, "valueString": getattr(variable, name)} for name, url in _SHOWN if getattr(variable, name)]
    definition: Node = {"extension": extensions} if extensions else {}
    definition |= {"name": variable.name, "use": "in", "min": 0 if variable.default else 1, "max": "1"}
    if variable.description:
        definition["documentation"] = variable.description
    return {"url": VARIABLE, "valueParameterDefinition": definition | {"type": _FHIR_TYPES[variable.type]}}


def _contents(contents: Mapping[str, ContentTemplate]) -> Iterator[Node]:
    for language, content in contents.items():
        parts: list[Node] = [{"url": "sid", "valueString": content.sid}, {"url": "language", "valueCode": language}]
        parts += [
            {"url": "variable", "extension": [{"url": "place", "valueString": place}, {"url": "name", "valueString": name}]}
            for place, name in content.variables.items()
        ]
        yield {"url": codes.CONTENT_SID, "extension": parts}


def is_message(resource: Mapping[str, Any]) -> bool:
    """Tell whether an ActivityDefinition is about a message."""
    return resource.get("kind") == "CommunicationRequest"


def is_ours(resource: Mapping[str, Any]) -> bool:
    """Tell whether an ActivityDefinition says by its topic that it is a template of this product."""
    codings = (coding for topic in resource.get("topic", ()) for coding in topic.get("coding", ()))
    return is_message(resource) and any(coding.get("system") == codes.KIND for coding in codings)


def from_resource(resource: Resource, *, created: str = "", built_in: bool = False) -> Template | None:
    """Return the template of an ActivityDefinition; None where it is none: no message, or no text of literals and variables."""
    if not is_message(resource) or _says_more(resource):
        return None
    language = tidy(str(resource.get("language", ""))) or "en"
    bodies, subjects = _texts(resource, _BODIES, language), _texts(resource, frozenset({SUBJECT}), language)
    if bodies is None or subjects is None or (language, "") not in bodies:
        return None
    meta = resource.get("meta", {})
    return Template(
        name=str(resource.get("name", "")),
        language=language,
        bodies=bodies,
        subjects=subjects,
        contents=dict(_read_contents(resource, language)),
        variables={one.name: one for one in _read_variables(resource)},
        channel=_channel(resource),
        category=codes.kind_of(resource.get("topic")),
        title=str(resource.get("title", "")),
        description=str(resource.get("description", "")),
        status=resource["status"] if resource.get("status") in ("draft", "active", "retired") else "draft",
        id=str(resource.get("id", "")),
        url=str(resource.get("url", "")),
        version=str(resource.get("version", "")),
        built_in=built_in,
        updated=str(meta.get("lastUpdated", "")),
        created=created,
        revision=str(meta.get("versionId", "")),
    )


def _says_more(resource: Resource) -> bool:
    """Tell whether there are dynamic values for the payload beside the one text that a template has."""
    paths = [str(one.get("path", "")) for one in resource.get("dynamicValue", ())]
    payload = [path for path in paths if path.startswith("payload")]
    return len(payload) > 1 or not _BODIES.issuperset(payload)


def _channel(resource: Resource) -> Channel | None:
    concepts = [one.get("valueCodeableConcept", {}) for one in resource.get("useContext", ())]
    return next(iter(codes.channels_of(concepts)), None)


def _texts(resource: Resource, paths: frozenset[str], default: str) -> dict[Place, str] | None:
    """Return texts by language and channel; None where one is no text of literals and variables."""
    value = next((one for one in resource.get("dynamicValue", ()) if str(one.get("path", "")).replace('"', "'") in paths), None)
    if value is None:
        return {}
    found: dict[Place, str | None] = {(default, ""): _text(value.get("expression", {}))}
    for translation in _extensions(value["expression"].get("_expression", {}), TRANSLATION):
        parts = _parts(translation)
        language = tidy(str(parts.get("lang", {}).get("valueCode", "")))
        content = parts.get("content", {})
        if language:
            found[language, ""] = from_fhirpath(str(content.get("valueString", content.get("valueMarkdown", ""))))
    for own in _extensions(value, CHANNEL_TEXT):
        parts = _parts(own)
        language = tidy(str(parts.get("language", {}).get("valueCode", default)))
        found[language, str(parts.get("channel", {}).get("valueCode", ""))] = _text(
            parts.get("text", {}).get("valueExpression", {})
        )
    return None if None in found.values() else cast("dict[Place, str]", found)


def _text(expression: Node) -> str | None:
    if expression.get("language") != "text/fhirpath":
        return None
    return from_fhirpath(str(expression.get("expression", "")))


def _extensions(node: Node, url: str) -> Iterable[Node]:
    return (one for one in node.get("extension", ()) if one.get("url") == url)


def _parts(extension: Node) -> dict[str, Node]:
    return {str(one.get("url", "")): one for one in extension.get("extension", ())}


def _read_variables(resource: Resource) -> Iterator[Variable]:
    for extension in _extensions(resource, VARIABLE):
        definition = extension.get("valueParameterDefinition", {})
        parts = {url: str(one.get("valueString", "")) for url, one in _parts(definition).items()}
        own = _OWN_TYPES.get(str(definition.get("type", "")), "text")
        yield Variable(
            name=str(definition.get("name", "")),
            type=next(type_ for type_ in TYPES if type_ == own),
            format=parts.get(FORMAT, ""),
            default=parts.get(DEFAULT) or None,
            description=str(definition.get("documentation", "")),
            sample=parts.get(SAMPLE, ""),
            strict=definition.get("name") not in WELL_KNOWN,
        )


def _read_contents(resource: Resource, default: str) -> Iterator[tuple[str, ContentTemplate]]:
    for extension in _extensions(resource, codes.CONTENT_SID):
        if "valueString" in extension:
            yield default, ContentTemplate(str(extension["valueString"]))
            continue
        parts = _parts(extension)
        language = tidy(str(parts.get("language", {}).get("valueCode", ""))) or default
        pairs = [_parts(one) for one in extension.get("extension", ()) if one.get("url") == "variable"]
        places = {_string(one, "place"): _string(one, "name") for one in pairs}
        yield language, ContentTemplate(_string(parts, "sid"), places)


def _string(parts: Mapping[str, Node], name: str) -> str:
    return str(parts.get(name, {}).get("valueString", ""))


_OURS: Final = frozenset({VARIABLE, codes.CONTENT_SID})


def merged(old: Resource, template: Template) -> Resource:
    """Return the ActivityDefinition of a template, with all that another one has and this product does not know."""
    new = to_resource(template)
    kept = {name: value for name, value in old.items() if name not in ("title", "description", "language", "useContext")}
    lists = {
        "extension": [one for one in old.get("extension", ()) if one.get("url") not in _OURS],
        "topic": [one for one in old.get("topic", ()) if not any(_is_kind(coding) for coding in one.get("coding", ()))],
        "useContext": [one for one in old.get("useContext", ()) if one.get("code", {}).get("system") != URL_TYPE],
        "dynamicValue": [one for one in old.get("dynamicValue", ()) if not is_text_or_concept(one)],
    }
    found = kept | new
    for name, others in lists.items():
        values = [*new.get(name, ()), *others]
        found.pop(name, None)
        if values:
            found[name] = values
    return found


def _is_kind(coding: Node) -> bool:
    return coding.get("system") == codes.KIND


def is_text(value: Node) -> bool:
    """Tell whether a dynamicValue is the body or the subject of a message."""
    path = str(value.get("path", "")).replace('"', "'")
    return path in _BODIES or path == SUBJECT


def is_text_or_concept(value: Node) -> bool:
    """Tell whether a dynamicValue is one that `to_resource` makes."""
    return is_text(value) or str(value.get("path", "")).startswith(("category[0].coding[", "medium[0].coding["))
