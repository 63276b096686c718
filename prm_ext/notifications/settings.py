"""Settings of notifications: `PRM_NOTIFY_…` environment variables, described one by one in docs/settings.md."""

import json
from email.utils import parseaddr
from functools import cache
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fhir_server.exchange import Context
from prm_ext.notifications.appointments import templates_of
from prm_ext.notifications.channels.channel import Failure
from prm_ext.notifications.clock import clock_of
from prm_ext.notifications.hours import is_zone
from prm_ext.notifications.mailbox.addresses import LONGEST_LOCAL
from prm_ext.notifications.trigger_rules import rules_of

Text = Literal["console", "twilio", "off"]
Mail = Literal["console", "sendgrid", "ses", "smtp", "off"]

SHARED = frozenset({"tenants", "twilio_timeout", "claim_seconds", "dispatch_seconds", "dispatch_window", "enabled"})
"""Settings that are the same for all tenants."""


class NotificationSettings(BaseSettings):
    """All that an operator may set. The description of a field is its documentation."""

    model_config = SettingsConfigDict(env_prefix="PRM_NOTIFY_", env_file=".env", extra="ignore", frozen=True)

    enabled: bool = Field(True, description="Send what CommunicationRequests ask for.")
    tenants: str = Field(
        "",
        repr=False,
        description='Other values of these settings for single tenants, as JSON: `{"acme": {"sms": "twilio", "sms_from": "+14155550100"}}`.',
    )
    public_url: str = Field(
        "",
        description="Public URL of this server without a path, such as `https://prm.example.org`: providers report to it, and their signatures are computed over it. Empty: `FHIR_BASE_URL` without its `/fhir`; without both no receipts are asked for.",
    )

    # Who delivers
    sms: Text = Field(
        "console", description="Who delivers SMS. `console`: nobody; messages land in an outbox that the API shows."
    )
    whatsapp: Text = Field("console", description="Who delivers WhatsApp messages.")
    voice: Text = Field("console", description="Who calls.")
    email: Mail = Field("console", description="Who delivers email.")
    sms_from: str = Field("", description="Number, or Twilio messaging service (`MG…`), that SMS come from.")
    whatsapp_from: str = Field("", description="Number that WhatsApp messages come from.")
    voice_from: str = Field("", description="Number that calls come from.")
    email_from: str = Field("", description="Address that email comes from, such as `Clinic <no-reply@example.org>`.")
    email_reply_to: str = Field(
        "",
        description="Address that answers to emails go to, such as `Clinic <reply@parse.example.org>`, whose domain SendGrid's Inbound Parse receives for; each email has one of its own (`reply+…@`). Empty: the sender's.",
    )
    twilio_account_sid: str = Field("", description="Twilio account (`AC…`).")
    twilio_auth_token: str = Field("", repr=False, description="Its auth token; also the key of webhook signatures.")
    twilio_webhook_secret: str = Field(
        "",
        repr=False,
        description="Secret of the shared key that signs webhooks (HMAC-SHA256), where the account has one; else the auth token does.",
    )
    twilio_answers: bool = Field(
        True,
        description="Twilio answers STOP, START and HELP in SMS by itself, as it does unless it was told not to. Translations, and WhatsApp, are answered here.",
    )
    twilio_base_url: str = Field("", description="Other base URL of Twilio's API, for tests.")
    twilio_timeout: float = Field(10.0, gt=0, description="How long an answer of a provider is awaited, in seconds.")
    sendgrid_key: str = Field("", repr=False, description="SendGrid API key.")
    sendgrid_base_url: str = Field("", description="Other base URL of SendGrid's API: its EU one, or a test server.")
    sendgrid_activity: bool = Field(
        False,
        description="The SendGrid account has the Email Activity add-on: it is asked for messages whose answer was lost, and not yet told to be delivered.",
    )
    sendgrid_webhook_key: str = Field("", description="Public key (base64) of SendGrid's signed event webhook.")
    sendgrid_parse_key: str = Field(
        "", description="Public key (base64) of the security policy that SendGrid signs emails that come in with."
    )
    sendgrid_parse_secret: str = Field(
        "",
        repr=False,
        description="Password within the URL that SendGrid posts emails to, `https://prm:PASSWORD@…`; only where they are not signed.",
    )
    ses_region: str = Field("us-east-1", description="Region of Amazon SES. Credentials are taken as boto3 takes them.")
    ses_base_url: str = Field("", description="Other endpoint of SES, for tests.")
    ses_configuration_set: str = Field("", description="Configuration set of SES, which publishes events.")
    ses_topic_arn: str = Field("", description="SNS topic whose messages about SES are believed.")
    smtp_host: str = Field("", description="SMTP server.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_user: str = Field("", description="User at the SMTP server.")
    smtp_password: str = Field("", repr=False, description="Password of that user.")
    smtp_tls: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is encrypted.")

    # Retries and limits
    max_attempts: int = Field(6, ge=1, le=50, description="How often a message is tried over one channel.")
    max_age_hours: float = Field(
        24.0, gt=0, description="How long after it was due a message is still sent, where its request names no end."
    )
    backoff_seconds: float = Field(
        5.0, gt=0, description="Pause before the second attempt; it doubles with each that follows, give or take a fifth."
    )
    backoff_max_seconds: float = Field(900.0, gt=0, description="Longest pause between two attempts.")
    error_classes: str = Field(
        "",
        description='What error codes of providers mean, where it is not what the table says, as JSON: `{"twilio": {"30003": "channel"}}`. `address`: wrong for good, `opted-out`, `content`: refused for good, `channel`: try another, `transient`: try again.',
    )
    receipt_hours: float = Field(
        24.0,
        gt=0,
        description="How long receipts are awaited; then the provider is asked, and without an answer the outcome stays unknown.",
    )
    rates: str = Field(
        "",
        description='Messages (SMS: segments) per second by sender or channel, as JSON: `{"+14155550100": 100, "sms": 3}`. Without one: SMS 1 for a long number, 3 toll-free, 100 for a short code, 10 for a name; WhatsApp 80, calls 1, email 100.',
    )
    dispatch_seconds: float = Field(0.5, gt=0, le=60, description="How often what is due is looked for, in seconds.")
    claim_seconds: float = Field(
        60.0, ge=1, description="What was queued and not begun for so long is queued again, since the broker may have lost it."
    )
    dispatch_window: int = Field(200, ge=1, description="How many messages of one tenant may be on their way at once.")

    # When
    quiet_hours: str = Field(
        "",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="When nobody is disturbed, in the recipient's time, such as `21:00-08:00`; urgent messages go all the same.",
    )
    time_zone: str = Field("UTC", description="Time zone of recipients whose resource names none, such as `America/New_York`.")

    clock_times: str = Field(
        "",
        description='Other clock times for what schedules name without one, as JSON: `{"MORN": "08:00", "HS": "21:30", "BID": ["07:00", "19:00"]}`; docs/notifications/schedules.md has them all. `MORN` is also when a request for a whole day is due.',
    )

    # What
    language: str = Field("en", description="Language of recipients whose resource names none.")
    fallback: str = Field(
        "whatsapp,sms,email", description="Channels in the order in which they are tried, where nothing else says so."
    )
    organisation: str = Field("", description="Name of the organisation, for the variable `organisation_name` and for answers.")
    reminders: str = Field(
        '{"booked": "appointment_confirmed", "cancelled": "appointment_cancelled", "before": {"24h": "appointment_reminder_24h", "1h": "appointment_reminder_1h"}}',
        description="Which templates are sent for appointments, by name, as JSON: when one is booked, moved (`moved`; else `booked`) or cancelled, and how long before it. `{}`: none.",
    )
    rules: str = Field(
        "",
        description='Which templates are sent when something happens, as JSON: `[{"event": "org.fhir.diagnosticreport.created", "status": "final", "template": "lab_results_ready"}]`; docs/notifications/reminders.md has all that a rule may say.',
    )

    @field_validator("email_reply_to")
    @classmethod
    def _email_reply_to(cls, value: str) -> str:
        local = parseaddr(value)[1].rpartition("@")[0]
        if value and not 0 < len(local) <= LONGEST_LOCAL:
            raise ValueError(f"is no email address, or has more than {LONGEST_LOCAL} letters before its @")
        return value

    @field_validator("error_classes")
    @classmethod
    def _error_classes(cls, value: str) -> str:
        try:
            TypeAdapter(dict[str, dict[str, Failure]]).validate_json(value or "{}")
        except ValueError as error:
            raise ValueError(f"names no failures by provider and code: {error}") from None
        return value

    @field_validator("clock_times")
    @classmethod
    def _clock_times(cls, value: str) -> str:
        clock_of(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        if not is_zone(value):
            raise ValueError("is no time zone; write it as America/New_York")
        return value

    @field_validator("reminders")
    @classmethod
    def _reminders(cls, value: str) -> str:
        try:
            templates_of(value)
        except ValueError as error:
            raise ValueError(f"names no templates for appointments: {error}") from None
        return value

    @field_validator("rules")
    @classmethod
    def _rules(cls, value: str) -> str:
        try:
            rules_of(value)
        except ValueError as error:
            raise ValueError(f"holds no rules: {error}") from None
        return value

    @field_validator("rates", "tenants")
    @classmethod
    def _json(cls, value: str) -> str:
        try:
            json.loads(value or "{}")
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
        return value

    @model_validator(mode="after")
    def _check_tenants(self) -> Self:
        for tenant in self._others():
            self.of(tenant)
        return self

    def of(self, tenant: str) -> "NotificationSettings":
        """Return the settings of a tenant.

        Raises:
            ValueError: what `tenants` says is no setting, or none that a tenant may have.
        """
        others = self._others()
        return _of_tenant(self, tenant) if tenant in others else self

    def _others(self) -> dict[str, dict[str, Any]]:
        return TypeAdapter(dict[str, dict[str, Any]]).validate_json(self.tenants) if self.tenants else {}

    def tenant_names(self) -> list[str]:
        """Return the tenants that have settings of their own."""
        return sorted(self._others())

    def public_base(self, ctx: Context) -> str:
        """Return the public URL of this server without a path; empty where nobody has said it."""
        return self.public_origin(ctx.settings.base_url)

    def public_origin(self, base_url: str) -> str:
        """Return the same, of a server whose setting `base_url` is this."""
        return self.public_url.rstrip("/") or base_url.rstrip("/").removesuffix("/fhir")


@cache
def _of_tenant(settings: NotificationSettings, tenant: str) -> NotificationSettings:
    values = settings._others()[tenant]  # noqa: SLF001 -- of this module
    unknown = sorted(set(values) - (set(NotificationSettings.model_fields) - SHARED))
    if unknown:
        raise ValueError(f"`tenants` gives {tenant!r} {', '.join(unknown)}, which is no setting that a tenant may have")
    complete = settings.model_dump() | values | {"tenants": ""}
    return NotificationSettings(_env_file=None, **complete)  # type: ignore[call-arg]  # a parameter of pydantic-settings
