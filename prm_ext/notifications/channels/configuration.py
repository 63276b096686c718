"""What settings say of the channels of a tenant, and what of it can not work."""

import re
from collections.abc import Iterable
from email.utils import parseaddr
from typing import Final

import phonenumbers

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.settings import NotificationSettings

_ACCOUNT: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_SERVICE: Final = re.compile(r"MG[0-9a-fA-F]{32}")
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +\-_&]{1,11}")
_SHORT_CODE: Final = re.compile(r"\d{3,8}")


def chosen(settings: NotificationSettings, channel: Channel) -> str:
    """Return who delivers over a channel: `off`, `console` or the name of a provider."""
    return {"sms": settings.sms, "whatsapp": settings.whatsapp, "voice": settings.voice, "email": settings.email}[channel]


def sender(settings: NotificationSettings, channel: Channel) -> str:
    """Return the number, messaging service or address that messages come from; empty where none is set."""
    senders = {
        "sms": settings.sms_from,
        "whatsapp": settings.whatsapp_from,
        "voice": settings.voice_from,
        "email": settings.email_from,
    }
    return senders[channel].strip().removeprefix("whatsapp:")


def problems(settings: NotificationSettings, channel: Channel) -> list[str]:
    """Return why nothing can be sent over a channel that is not off: what to set, in sentences; nothing where all is well."""
    provider = chosen(settings, channel)
    if provider in ("off", "console"):
        return []
    found = [*_senders(settings, channel)]
    if provider == "twilio":
        found += _twilio(settings)
    elif provider == "sendgrid" and not settings.sendgrid_key:
        found.append("PRM_NOTIFY_SENDGRID_KEY is not set: SendGrid needs an API key.")
    elif provider == "ses" and not settings.ses_region:
        found.append("PRM_NOTIFY_SES_REGION is not set: Amazon SES needs a region.")
    elif provider == "smtp":
        found += _smtp(settings)
    return found


def _twilio(settings: NotificationSettings) -> Iterable[str]:
    if not _ACCOUNT.fullmatch(settings.twilio_account_sid):
        yield "PRM_NOTIFY_TWILIO_ACCOUNT_SID is no account of Twilio: AC and 32 hexadecimal digits."
    if not settings.twilio_auth_token:
        yield "PRM_NOTIFY_TWILIO_AUTH_TOKEN is not set."


def _smtp(settings: NotificationSettings) -> Iterable[str]:
    if not settings.smtp_host:
        yield "PRM_NOTIFY_SMTP_HOST is not set: name the SMTP server."
    if settings.smtp_user and settings.smtp_tls == "none":
        yield "PRM_NOTIFY_SMTP_USER goes with PRM_NOTIFY_SMTP_TLS=none: the password would travel in the clear."


def _senders(settings: NotificationSettings, channel: Channel) -> Iterable[str]:
    value, name = sender(settings, channel), f"PRM_NOTIFY_{channel.upper()}_FROM"
    if not value:
        yield f"{name} is not set: messages need a sender."
    elif channel == "email":
        if "@" not in parseaddr(value)[1]:
            yield f"{name} is no email address, such as `Clinic <no-reply@example.org>`."
    elif not _number(value) and not (channel != "voice" and _SERVICE.fullmatch(value)) and not _other(value, channel):
        yield f"{name} is no phone number in the form of E.164, such as +14155550100{_else(channel)}."


def _number(value: str) -> bool:
    try:
        return value.startswith("+") and phonenumbers.is_possible_number(phonenumbers.parse(value))
    except phonenumbers.NumberParseException:
        return False


def _other(value: str, channel: Channel) -> bool:
    return channel == "sms" and bool(_SHORT_CODE.fullmatch(value) or _NAME.fullmatch(value))


def _else(channel: Channel) -> str:
    if channel == "sms":
        return ", no messaging service (MG…), no short code and no name of at most 11 letters and digits"
    return " and no messaging service (MG…)" if channel == "whatsapp" else ""
