"""The systems and codes of notifications, shared by all that reads or writes their resources (docs/prm/notifications.md)."""

from collections.abc import Mapping
from typing import Any, Final

from prm_ext.notifications.channels.channel import Channel

_THO: Final = "http://terminology.hl7.org/CodeSystem/"
PARTICIPATION_MODE: Final = _THO + "v3-ParticipationMode"
CATEGORY: Final = _THO + "communication-category"
TOPIC: Final = _THO + "communication-topic"
NOT_DONE: Final = _THO + "communication-not-done-reason"

CHANNEL: Final = "urn:prm:notification-channel"
"""Ours beside the participation mode: `whatsapp`, `sms`, `voice`, `email`."""
KIND: Final = "urn:prm:notification-category"
"""Ours beside `communication-category`: what a patient may object to one by one, such as `appointment-reminder`."""
REASON: Final = "urn:prm:notification-reason"
"""Why a message was not sent or not delivered, in our words."""
ANOTHER_CHANNEL: Final = "another-channel"
"""Among the reasons of a Communication that has failed: its notification went on over another channel."""
PROVIDER: Final = "urn:prm:provider:"
"""Before the name of a provider: the system of its message ids (Communication.identifier) and error codes (statusReason)."""
IDEMPOTENCY: Final = "urn:prm:idempotency-key"
CAMPAIGN: Final = "urn:prm:campaign"
APPOINTMENT: Final = "urn:prm:appointment"
"""Of `groupIdentifier` of a CommunicationRequest that is sent for an Appointment; the value is the id of that."""
RULE: Final = "urn:prm:notification-rule"
"""Of `identifier` of a CommunicationRequest that a rule has made: which one, and for what."""

INSTANTIATES: Final = "http://hl7.org/fhir/StructureDefinition/workflow-instantiatesCanonical"
VARIABLES: Final = "urn:prm:StructureDefinition:notification-variables"
"""On a CommunicationRequest: an extension for each variable of its template, `url` its name and `valueString` its value."""
SUBJECT: Final = "urn:prm:StructureDefinition:notification-subject"
"""On a CommunicationRequest, `valueString`: the subject of an email (on a Communication it is `topic.text`)."""
TIMING: Final = "urn:prm:StructureDefinition:notification-timing"
"""On a CommunicationRequest, `valueTiming`: when it is due again and again, which R4 has no element for."""
ADDRESS: Final = "urn:prm:StructureDefinition:notification-address"
"""On a reference in `recipient`, `valueString`: the number or address to use in place of those that the recipient has."""
WITHDRAWN: Final = "urn:prm:StructureDefinition:notification-withdrawn"
"""On a CommunicationRequest, `valueString`: one of its messages that is not wanted any more, as `occurrence~place`."""
METADATA: Final = "urn:prm:StructureDefinition:notification-metadata"
"""On a CommunicationRequest, `valueString`: a JSON object of whoever asked for it, which only they understand."""
CONTENT_SID: Final = "urn:prm:StructureDefinition:whatsapp-content-sid"
QUESTION: Final = "urn:prm:StructureDefinition:notification-question"
"""On a CommunicationRequest that asks which appointment is meant, `valueCode`: what is to be done with it, `confirm` or `cancel`;
the answers are those of `about`, in their order."""
OPTION: Final = "urn:prm:StructureDefinition:notification-question-patient"
"""On such a reference in `about`, `valueReference`: the patient whose part in the appointment it is about."""
DOUBT: Final = "urn:prm:StructureDefinition:notification-doubt"
"""On a Communication of an email that came in, `valueCode`: why it is for people to judge; `unverified`, `spam`, `automatic`."""
READ_AT: Final = "urn:prm:StructureDefinition:notification-read"
"""On a Communication, `valueDateTime`: when it was read."""

MODES: Final[Mapping[Channel, tuple[str, str]]] = {
    "whatsapp": ("APPWRIT", "Application"),
    "sms": ("SMSWRIT", "SMS message"),
    "voice": ("PHONE", "telephone"),
    "email": ("EMAILWRIT", "email"),
}
"""Code and display of v3-ParticipationMode, by channel; the first two came with THO 4.0.0."""

_CHANNEL_OF: Final[Mapping[tuple[str, str], Channel]] = {
    **{(PARTICIPATION_MODE, code): channel for channel, (code, _) in MODES.items()},
    **{(CHANNEL, channel): channel for channel in MODES},
}

KINDS: Final[Mapping[str, str]] = {
    "appointment-confirmation": "notification",
    "appointment-reminder": "reminder",
    "appointment-cancellation": "notification",
    "lab-results": "notification",
    "medication-reminder": "reminder",
    "care-plan": "reminder",
    "journey": "notification",
    "health-tips": "instruction",
    "campaign": "notification",
    "message": "notification",
    "reminder": "reminder",
    "alert": "alert",
}
"""The `communication-category` of each kind of notification."""


def medium(channel: Channel) -> dict[str, Any]:
    """Return `medium` of a channel."""
    code, display = MODES[channel]
    return {
        "coding": [
            {"system": PARTICIPATION_MODE, "code": code, "display": display},
            {"system": CHANNEL, "code": channel},
        ]
    }


def channels_of(media: Any) -> tuple[Channel, ...]:
    """Return the channels that a list of `medium` names, in its order."""
    found: list[Channel] = []
    for concept in media or ():
        # One of ours is exact; a mode of participation is what other systems write.
        own = [_CHANNEL_OF.get((one.get("system", ""), one.get("code", ""))) for one in concept.get("coding", ())]
        channel = next((one for one in own if one is not None), None)
        if channel is not None and channel not in found:
            found.append(channel)
    return tuple(found)


def category(kind: str) -> list[dict[str, Any]]:
    """Return `category` of a kind of notification."""
    return [{"coding": [{"system": CATEGORY, "code": KINDS.get(kind, "notification")}, {"system": KIND, "code": kind}]}]


def kind_of(categories: Any) -> str:
    """Return the kind that a list of `category` names; where it is none of ours, that of FHIR's code, else `message`."""
    codings = [one for concept in categories or () for one in concept.get("coding", ())]
    own = next((one.get("code", "") for one in codings if one.get("system") == KIND), "")
    if own:
        return str(own)
    general = next((one.get("code", "") for one in codings if one.get("system") == CATEGORY), "")
    return {"reminder": "reminder", "alert": "alert", "instruction": "health-tips"}.get(general, "message")
