"""What `fhir-server doctor` says of the settings of channels."""

import json
from collections.abc import Iterable

from fhir_server.doctor import Finding
from prm_ext.notifications.channels.channel import CHANNELS
from prm_ext.notifications.channels.configuration import chosen, problems
from prm_ext.notifications.settings import NotificationSettings


def examine(settings: NotificationSettings) -> Iterable[Finding]:
    """Yield what is found in the settings of all tenants: one finding for each channel, and for what receipts need."""
    tenants = sorted(json.loads(settings.tenants)) if settings.tenants else []
    for tenant in ("", *tenants):
        of_tenant = settings.of(tenant) if tenant else settings
        if tenant and of_tenant == settings.model_copy(update={"tenants": ""}):
            continue
        subject = f"Notifications of {tenant}" if tenant else "Notifications"
        for channel in CHANNELS:
            wrong = problems(of_tenant, channel)
            found = " ".join(wrong) or f"go to {chosen(of_tenant, channel)}"
            yield Finding(f"{subject}: {channel}", not wrong, found, "Correct the settings; until then nothing is sent there.")
        yield from _receipts(of_tenant, subject)


def _receipts(settings: NotificationSettings, subject: str) -> Iterable[Finding]:
    providers = {chosen(settings, channel) for channel in CHANNELS}
    if "sendgrid" in providers:
        signed = bool(settings.sendgrid_webhook_key)
        found = "are verified" if signed else "are refused: PRM_NOTIFY_SENDGRID_WEBHOOK_KEY is not set"
        yield Finding(f"{subject}: events of SendGrid", signed, found, "Set the public key of the signed event webhook.")
    if settings.email_reply_to:
        told = bool(settings.sendgrid_parse_key or settings.sendgrid_parse_secret)
        found = "are taken" if told else "are refused: neither PRM_NOTIFY_SENDGRID_PARSE_KEY nor …_PARSE_SECRET is set"
        yield Finding(f"{subject}: answers to emails", told, found, "Set the public key of the security policy of Inbound Parse.")
    if "ses" in providers:
        told = bool(settings.ses_configuration_set and settings.ses_topic_arn)
        found = "are believed" if told else "do not come: no configuration set, or no SNS topic"
        mend = "Set PRM_NOTIFY_SES_CONFIGURATION_SET and PRM_NOTIFY_SES_TOPIC_ARN."
        yield Finding(f"{subject}: events of SES", told, found, mend)
