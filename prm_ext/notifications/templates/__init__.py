"""Templates of messages: ActivityDefinitions of kind CommunicationRequest (docs/notifications/templates.md)."""

from collections.abc import Mapping
from typing import Any

from fhir_server.exchange import Context
from fhir_server.fhir.outcome import FhirError
from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.hours import zone_of
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.library import resolved, template_named, template_of_id
from prm_ext.notifications.templates.rendering import Reader, Rendered, render_template
from prm_ext.notifications.templates.seeds import stand_in
from prm_ext.notifications.templates.variables import About, values_of

__all__ = ["About", "Reader", "Rendered", "render", "template_named", "template_of_id"]


async def render(
    ctx: Context,
    settings: NotificationSettings,
    canonical: str,
    *,
    channel: Channel,
    language: str,
    variables: Mapping[str, Any],
    about: About,
) -> Rendered:
    """Return what a template, by its canonical URL, says to somebody; `settings` are those of the tenant.

    Values that are given go before those of resources, and these before defaults. Where a built-in template lacks one, that
    which says the same with less takes its place.

    Raises:
        FhirError: 422, there is no such template, or a variable has no value or one that does not fit.
    """
    template = await resolved(ctx, canonical)
    missing = [name for name in template.names() if variables.get(name) in (None, "")]
    values = {**await values_of(ctx, settings, about, missing), **variables}
    reader = Reader(language, zone_of(about.recipient or about.subject, settings.time_zone))
    try:
        return render_template(template, channel, reader, values)
    except FhirError:
        less = stand_in(template)
        if less is None:
            raise
        return render_template(less, channel, reader, values)
