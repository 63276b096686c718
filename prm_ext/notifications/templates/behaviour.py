"""ActivityDefinitions that are templates: what is asked of them at the FHIR door, and what $apply makes of them."""

from typing import Final

from fhir_server.exchange import Behaviour, Context, Draft, Resource
from fhir_server.fhir.outcome import FhirError, Issue, unprocessable
from fhir_server.operations.apply_activity import Inputs, check, request_of
from prm_ext.notifications import codes
from prm_ext.notifications.choosing import language_of
from prm_ext.notifications.content import rendered_mark
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.checks import issues_of
from prm_ext.notifications.templates.library import earlier_of
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.rendering import Reader, render_template
from prm_ext.notifications.templates.resource import from_resource, is_ours, is_text
from prm_ext.notifications.templates.service import content_of
from prm_ext.notifications.templates.variables import About, values_of
from prm_ext.notifications.templates.wellknown import WELL_KNOWN

_TEXTS: Final = "ActivityDefinition.dynamicValue"


class TemplateBehaviour(Behaviour):
    """Refuses templates that could not be sent, and versions that are not what they were."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings

    async def before_write(self, ctx: Context, draft: Draft) -> Draft:
        """Judge a definition whose topic says that it is a template.

        Raises:
            FhirError: 422, it is none, or a version that has been active is to be another.
        """
        if not is_ours(draft.resource):
            return draft
        template = _judged(draft.resource)
        previous = draft.previous
        if previous is not None:
            await _check_versions(ctx, template, previous.id, previous.number)
        return draft

    async def apply(self, ctx: Context, definition: Resource, inputs: Inputs) -> Resource | None:
        """Return the CommunicationRequest that a template describes, with its text in the recipient's language.

        Raises:
            FhirError: 422, a variable has no value.
        """
        template = from_resource(definition)
        # Other variables are those of FHIRPath, such as %subject, or what an EHR gives.
        if template is None or not all(_is_known(template, name) for name in template.names()):
            return None
        settings = self._settings.of(ctx.tenant)
        recipient = inputs.resources[inputs.subjects[0]]
        about = About(recipient, resources=tuple(inputs.resources[one] for one in inputs.about))
        values = {**await values_of(ctx, settings, about, template.names()), **inputs.values}
        reader = Reader(inputs.language or language_of(recipient, settings.language), zone_of(recipient, settings.time_zone))
        rendered = render_template(template, template.channel or "", reader, values)
        rest = [one for one in definition["dynamicValue"] if not is_text(one)]
        made = request_of(ctx, {**definition, "dynamicValue": rest}, inputs)
        text = {"extension": [rendered_mark(rendered.body)], "contentString": rendered.body}
        made["language"] = rendered.language
        made["payload"] = [text, *made.get("payload", ())]
        made.setdefault("extension", []).extend(_extensions(rendered.subject if template.subjects else "", inputs))
        if not made["extension"]:
            del made["extension"]
        check(made, "The template does not make a valid")
        return made


def _extensions(subject: str, inputs: Inputs) -> list[Resource]:
    found: list[Resource] = [{"url": codes.SUBJECT, "valueString": subject}] if subject else []
    if inputs.values:
        parts = [{"url": name, "valueString": value} for name, value in inputs.values.items()]
        found.append({"url": codes.VARIABLES, "extension": parts})
    return found


def _is_known(template: Template, name: str) -> bool:
    return name in template.variables or name in WELL_KNOWN


def _judged(resource: Resource) -> Template:
    template = from_resource(resource)
    if template is None:
        text = (
            "A template needs, for payload.content, an expression in FHIRPath of texts and variables, such as"
            " 'Hi ' & %patient_name, in each of its languages."
        )
        raise unprocessable(text, _TEXTS, code="value")
    missing = [name for name in ("url", "version", "name") if not resource.get(name)]
    if missing:
        text = "A template needs a url, a version and a name, by which messages refer to it."
        raise FhirError(422, [Issue("required", text, (f"ActivityDefinition.{name}",)) for name in missing])
    issues = issues_of(template)
    if issues:
        raise FhirError(422, [Issue(one.code, one.diagnostics, (_TEXTS,)) for one in issues])
    return template


async def _check_versions(ctx: Context, template: Template, id_: str, number: int) -> None:
    """Refuse a version that says something else than when it was in use: what waits to be sent refers to it."""
    for earlier in range(number, 0, -1):
        resource = await earlier_of(ctx, id_, earlier)
        old = from_resource(resource) if resource is not None else None
        if old is None or (old.url, old.version) != (template.url, template.version) or old.status == "draft":
            continue
        if content_of(old) != content_of(template):
            text = f"Version {template.version!r} has been in use and says something else; give the new content a new version."
            raise unprocessable(text, "ActivityDefinition.version", code="business-rule")
