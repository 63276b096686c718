"""What Twilio's statuses mean, and the languages that it speaks.

Messages: https://www.twilio.com/docs/messaging/api/message-resource#message-status-values, calls:
https://www.twilio.com/docs/voice/api/call-resource#call-status-values, voices:
https://www.twilio.com/docs/voice/twiml/say/text-speech
"""

from collections.abc import Mapping
from typing import Final

from prm_ext.notifications.channels.channel import Delivery, Failure

MESSAGE: Final[Mapping[str, Delivery]] = {
    "accepted": "queued",
    "scheduled": "queued",
    "queued": "queued",
    "sending": "sending",
    "sent": "sent",
    "delivered": "delivered",
    "partially_delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
CALL: Final[Mapping[str, Delivery]] = {
    "queued": "queued",
    "initiated": "sending",
    "ringing": "sending",
    "in-progress": "sent",
    "completed": "delivered",
    "busy": "failed",
    "no-answer": "failed",
    "failed": "failed",
    "canceled": "failed",
}
"""A call that was answered and has ended is delivered: whoever answered has heard it, a person or a machine."""

FAILED: Final[Mapping[str, Failure]] = {"busy": "transient", "no-answer": "transient", "canceled": "content"}
"""Why, where the status itself says so."""

VOICES: Final = frozenset(
    (
        *("ar-AE", "ca-ES", "cmn-CN", "da-DK", "de-AT", "de-DE", "en-AU", "en-GB", "en-GB-WLS", "en-IN", "en-NZ", "en-US"),
        *("en-ZA", "es-ES", "es-MX", "es-US", "fi-FI", "fr-CA", "fr-FR", "hi-IN", "is-IS", "it-IT", "ja-JP", "ko-KR"),
        *("nb-NO", "nl-BE", "nl-NL", "pl-PL", "pt-BR", "pt-PT", "ro-RO", "ru-RU", "sv-SE", "tr-TR", "cy-GB", "yue-CN"),
    )
)
_USUAL: Final[Mapping[str, str]] = {
    "ar": "ar-AE",
    "en": "en-US",
    "es": "es-US",
    "fr": "fr-FR",
    "de": "de-DE",
    "nl": "nl-NL",
    "no": "nb-NO",
    "pt": "pt-BR",
    "zh": "cmn-CN",
}


def voice_language(tag: str) -> str:
    """Return the language that Twilio reads a BCP 47 tag in; empty where it does not speak it, and reads as it is used to."""
    parts = tag.replace("_", "-").split("-")
    language, region = parts[0].lower(), parts[-1].upper() if len(parts) > 1 else ""
    if f"{language}-{region}" in VOICES:
        return f"{language}-{region}"
    usual = _USUAL.get(language, "")
    return usual or next((one for one in sorted(VOICES) if one.split("-")[0] == language), "")
