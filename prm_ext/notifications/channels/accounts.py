"""Whose messages a provider delivers, and how it is reached: what settings say, in one value for each provider.

Providers with equal values are one. The SDKs are not imported here: a server that does not use them does without.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from prm_ext.notifications.settings import NotificationSettings


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """Whose messages they are, and how Twilio is reached."""

    sid: str
    token: str = field(repr=False)
    base_url: str = ""
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class SendGridAccount:
    """Whose messages they are, and how SendGrid is reached."""

    key: str = field(repr=False)
    base_url: str = ""
    timeout: float = 10.0
    activity: bool = False
    """Whether it has the Email Activity add-on."""
    reports: bool = True
    """Whether events are signed by a key that is known here."""


@dataclass(frozen=True, slots=True)
class SesRegion:
    """How SES is reached. Credentials are taken as boto3 takes them."""

    name: str
    base_url: str = ""
    timeout: float = 10.0
    configuration_set: str = ""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """An SMTP server, and who one is to it."""

    host: str
    port: int = 587
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    timeout: float = 10.0


Account = TwilioAccount | SendGridAccount | SesRegion | SmtpServer


def _twilio(settings: NotificationSettings) -> Account:
    return TwilioAccount(
        settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_base_url, settings.twilio_timeout
    )


def _sendgrid(settings: NotificationSettings) -> Account:
    return SendGridAccount(
        settings.sendgrid_key,
        settings.sendgrid_base_url,
        settings.twilio_timeout,
        settings.sendgrid_activity,
        reports=bool(settings.sendgrid_webhook_key),
    )


def _ses(settings: NotificationSettings) -> Account:
    return SesRegion(settings.ses_region, settings.ses_base_url, settings.twilio_timeout, settings.ses_configuration_set)


def _smtp(settings: NotificationSettings) -> Account:
    return SmtpServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_user,
        settings.smtp_password,
        settings.smtp_tls,
        settings.twilio_timeout,
    )


ACCOUNTS: Final[Mapping[str, Callable[[NotificationSettings], Account]]] = {
    "twilio": _twilio,
    "sendgrid": _sendgrid,
    "ses": _ses,
    "smtp": _smtp,
}
