"""What is sent when something happens to a resource: the rules of a setting, on the change feed.

docs/notifications/reminders.md#rules. A rule sends once for each resource that it is true of, whatever becomes of that later.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog

from fhir_server.events.event import Event
from fhir_server.exchange import Context, Resource
from fhir_server.fhir.outcome import FhirError
from fhir_server.store.versions import instant
from prm_ext.notifications import codes
from prm_ext.notifications.orders import TYPE, Order, deterministic_id, resource_of, stored, transact
from prm_ext.notifications.settings import NotificationSettings
from prm_ext.notifications.templates.library import named
from prm_ext.notifications.trigger_rules import Rule, rules_of, types_of

NEWS: Final = timedelta(hours=24)
"""What happened longer ago is no news: the feed has been behind."""
_TOO_LATE: Final = frozenset({409, 412})


class Triggers:
    """A consumer of the change feed."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings

    async def handle(self, ctx: Context, event: Event) -> None:
        """Send what the rules say of an event."""
        rules = [rule for rule in rules_of(self._settings.of(ctx.tenant).rules) if rule.is_about(event)]
        change = event.change
        if not rules or not self._settings.enabled or ctx.now() - change.moment > NEWS:
            return
        version = await ctx.repo.version(change.type, change.id, change.version)
        resource = version.resource if version is not None else None
        if resource is None or await _is_taken_back(ctx, event):
            return
        patient = event.patient or replace(change, elements=resource).patient
        if not patient or await _is_gone(ctx, patient):
            return
        for rule in rules:
            if rule.fits(resource) and rule.is_recent(resource, ctx.now()):
                await _send(ctx, rule, resource, patient)


def types_of_rules(settings: NotificationSettings) -> frozenset[str] | None:
    """Return the resource types that the rules of all tenants are about, empty for all; None: there are no rules."""
    found = [settings.rules, *(settings.of(tenant).rules for tenant in settings.tenant_names())]
    return types_of(found) if any(rules_of(one) for one in found) else None


async def _is_taken_back(ctx: Context, event: Event) -> bool:
    """Tell whether a resource has been deleted or called an error since."""
    current = await ctx.repo.current(event.change.type, event.change.id)
    resource = current.resource if current is not None else None
    return resource is None or resource.get("status") == "entered-in-error"


async def _is_gone(ctx: Context, patient: str) -> bool:
    version = await ctx.repo.current("Patient", patient.removeprefix("Patient/"))
    return version is None or version.deleted


async def _send(ctx: Context, rule: Rule, resource: Resource, patient: str) -> None:
    reference = f"{resource['resourceType']}/{resource['id']}"
    id_ = deterministic_id(ctx.tenant, "rule", rule.name, reference)
    if await ctx.repo.current(TYPE, id_) is not None:
        return
    try:
        template = await named(ctx, rule.template)
    except FhirError as error:
        structlog.get_logger().warning("a rule has no template", rule=rule.name, template=rule.template, reason=str(error))
        return
    more: dict[str, Any] = {"identifier": [{"system": codes.RULE, "value": rule.name}]}
    if rule.after:
        more["occurrenceDateTime"] = instant(ctx.now() + rule.after)
    order = Order(
        recipient={"reference": patient},
        kind=template.category,
        subject=patient,
        template=template.canonical,
        about=(reference,) if reference != patient else (),
        security=tuple(resource.get("meta", {}).get("security", ())),
        more=more,
    )
    try:
        await transact(ctx, [stored(resource_of(order, id_, ctx.now()))])
    except FhirError as error:
        if error.status not in _TOO_LATE:
            raise
