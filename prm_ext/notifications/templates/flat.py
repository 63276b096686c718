"""Between flat JSON and templates."""

from collections.abc import Mapping
from typing import Any

from prm_ext.notifications.templates.model import ContentTemplate, Place, Template
from prm_ext.notifications.templates.schemas import TemplateOut, TemplateVariable, Variant
from prm_ext.notifications.templates.values import Variable
from prm_ext.notifications.templates.wellknown import WELL_KNOWN


def template_of(values: Mapping[str, Any]) -> tuple[Template, list[Place]]:
    """Return a template, and of which language and channel each of its variants is."""
    language = values["language"]
    bodies: dict[Place, str] = {(language, ""): values["body"]}
    subjects: dict[Place, str] = {(language, ""): values["subject"]} if values.get("subject") else {}
    contents: dict[str, ContentTemplate] = {}
    _add_content(contents, language, values)
    places = []
    for variant in values.get("variants") or ():
        place = (variant.get("language") or language, variant.get("channel") or "")
        places.append(place)
        if variant.get("body") is not None:
            bodies[place] = variant["body"]
        if variant.get("subject"):
            subjects[place] = variant["subject"]
        _add_content(contents, place[0], variant)
    found = Template(
        name=values["name"],
        language=language,
        bodies=bodies,
        subjects=subjects,
        contents=contents,
        variables={one.name: one for one in map(_variable, values.get("variables") or ())},
        channel=values.get("channel"),
        category=values.get("category") or "message",
        title=values.get("title") or values["name"].replace("_", " ").capitalize(),
        description=values.get("description") or "",
        status=values.get("status") or "active",
    )
    return found, places


def _add_content(contents: dict[str, ContentTemplate], language: str, values: Mapping[str, Any]) -> None:
    if values.get("content_sid"):
        contents[language] = ContentTemplate(values["content_sid"], values.get("content_variables") or {})


def _variable(given: Any) -> Variable:
    if isinstance(given, str):
        known = WELL_KNOWN.get(given)
        return Variable(given) if known is None else Variable(given, known.type, description=known.description, strict=False)
    return Variable(**{**given, "default": given.get("default") or None, "strict": given["name"] not in WELL_KNOWN})


def fields_of(template: Template) -> dict[str, Any]:
    """Return the fields of a template that may be written."""
    return shown(template, "").model_dump(
        exclude={"id", "org_id", "uses", "languages", "version", "canonical", "built_in", "created_at", "updated_at"}
    )


def shown(template: Template, org: str) -> TemplateOut:
    """Return a template as it is answered."""
    base = (template.language, "")
    content = template.contents.get(template.language)
    return TemplateOut(
        id=template.id,
        org_id=org,
        name=template.name,
        title=template.title,
        description=template.description,
        category=template.category,
        channel=template.channel,
        language=template.language,
        subject=template.subjects.get(base),
        body=template.bodies[base],
        variants=_variants(template),
        variables=[_shown(one) for one in template.variables.values()],
        uses=list(template.names()),
        languages=list(dict.fromkeys(language for language, _ in template.bodies)),
        content_sid=content.sid if content is not None else None,
        content_variables=dict(content.variables) or None if content is not None else None,
        status=template.status,
        version=template.version,
        canonical=template.canonical,
        built_in=template.built_in,
        created_at=template.created or None,
        updated_at=template.updated or None,
    )


def _variants(template: Template) -> list[Variant]:
    base = (template.language, "")
    contents = {(language, ""): one for language, one in template.contents.items()}
    found = []
    for place in dict.fromkeys((*template.bodies, *template.subjects, *contents)):
        if place == base:
            continue
        content = contents.get(place)
        variant: dict[str, Any] = {"language": place[0], "channel": place[1] or None}
        variant |= {"subject": template.subjects.get(place), "body": template.bodies.get(place)}
        if content is not None:
            variant |= {"content_sid": content.sid, "content_variables": dict(content.variables) or None}
        found.append(Variant.model_construct(**variant))
    return found


def _shown(variable: Variable) -> TemplateVariable:
    return TemplateVariable.model_construct(
        name=variable.name,
        type=variable.type,
        format=variable.format,
        default=variable.default,
        description=variable.description,
        sample=variable.sample,
    )
