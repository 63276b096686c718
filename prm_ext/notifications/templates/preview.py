"""What a template says, with samples for what is not given."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError, unprocessable
from fhir_server.interactions.reading import living
from fhir_server.security.views import shown
from prm_ext.common.problems import MappedError
from prm_ext.notifications.channels.channel import CHANNELS, Channel
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.model import Template
from prm_ext.notifications.templates.rendering import Reader, Rendered, render_template, variable_of
from prm_ext.notifications.templates.schemas import Preview, PreviewIn
from prm_ext.notifications.templates.segments import segments
from prm_ext.notifications.templates.variables import About, values_of


async def previews(ctx: Context, settings: NotificationSettings, template: Template, asked: PreviewIn) -> list[Preview]:
    """Return what a template says, by channel and language; `settings` are those of the tenant.

    Raises:
        FhirError: 422, a value is missing or does not fit; 404 for the patient or the appointment.
    """
    about = await _about(ctx, asked)
    found = await values_of(ctx, settings, about, template.names()) if about != About() else {}
    given = {name: str(value) for name, value in asked.variables.items()}
    values = {**_samples(template, settings), **found, **given}
    zone = _zone(asked.time_zone) if asked.time_zone else zone_of(about.recipient, settings.time_zone)
    made = []
    try:
        for channel, language in _places(template, asked):
            made.append(_shown(channel, render_template(template, channel, Reader(language, zone), values)))
    except FhirError as error:
        raise MappedError(error, lambda name: f"variables.{name}") from error
    return made


def _places(template: Template, asked: PreviewIn) -> Iterator[tuple[Channel, str]]:
    own = {channel for _, channel in template.bodies if channel}
    suitable = [one for one in CHANNELS if template.channel in (None, one) or one in own]
    for channel in [asked.channel] if asked.channel else suitable:
        for language in [asked.language] if asked.language else template.languages(channel):
            yield channel, language


def _samples(template: Template, settings: NotificationSettings) -> dict[str, str]:
    found = {}
    for name in template.names():
        variable = variable_of(template, name)
        found[name] = variable.sample or variable.default or ""
    if settings.organisation:
        found |= dict.fromkeys(("organisation_name", "organization_name"), settings.organisation)
    return {name: value for name, value in found.items() if value}


async def _about(ctx: Context, asked: PreviewIn) -> About:
    patient = await _resource(ctx, "Patient", asked.patient_id) if asked.patient_id else None
    resources = (await _resource(ctx, "Appointment", asked.appointment_id),) if asked.appointment_id else ()
    return About(recipient=patient, resources=resources)


async def _resource(ctx: Context, type_: str, id_: str) -> Resource:
    found = (await living(ctx, type_, id_)).resource or {}
    return found if ctx.access is None else shown(ctx.access, found)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise unprocessable(f"{name!r} is no time zone such as America/New_York.", "time_zone", code="value") from None


def _shown(channel: Channel, rendered: Rendered) -> Preview:
    counted = segments(rendered.body) if channel == "sms" else None
    return Preview(
        channel=channel,
        language=rendered.language,
        subject=rendered.subject or None,
        body=rendered.body,
        html=rendered.html or None,
        characters=len(rendered.body),
        encoding=counted.encoding if counted is not None else None,
        segments=counted.count if counted is not None else None,
        content_sid=rendered.content_sid or None,
        content_variables=dict(rendered.content_variables) or None,
    )
