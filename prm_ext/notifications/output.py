"""Notifications as the interface shows them: flat JSON."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.records import Status
from prm_ext.notifications.schemas import Priority

EXAMPLE: dict[str, Any] = {
    "id": "01a20dfa-4c7d-7a61-8956-acef7ebb479a",
    "org_id": "default",
    "channel": "sms",
    "to": "+14155550132",
    "subject": None,
    "body": "Your results have arrived. Please call us.",
    "template_id": None,
    "metadata": {"ticket": "T-1009"},
    "status": "delivered",
    "sent_at": "2026-11-24T14:33:57.208Z",
    "error": None,
    "created_at": "2026-11-24T14:33:57.118Z",
    "updated_at": "2026-11-24T14:33:58.004Z",
    "patient_id": "0193a1de-5f7c-7cc1-8f3d-6a1de0a4c001",
    "category": "lab-results",
    "priority": "routine",
    "delivered_at": "2026-11-24T14:33:58.004Z",
    "provider": "twilio",
    "provider_message_id": "SM0123456789abcdef0123456789abcdef",
    "attempts": 1,
    "request_id": "01a20dfa-4c7d-7a61-8956-acef7ebb479a",
}


class Notification(BaseModel):
    """One message to one recipient."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    id: str = Field(description="Of the CommunicationRequest; with the occurrence and recipient behind `~` where it has several.")
    org_id: str = Field(description="The tenant.")
    channel: Channel | None = Field(default=None, description="The one that it went over last; null while it is not chosen.")
    to: str | None = Field(default=None, description="The number or address; null where you may not see it, or none is chosen.")
    subject: str | None = None
    body: str | None = Field(default=None, description="As it was sent; of a template null before that.")
    template_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    status: Status
    sent_at: str | None = None
    error: str | None = Field(default=None, description="Why it has failed.")
    created_at: str
    updated_at: str
    patient_id: str | None = None
    appointment_id: str | None = None
    category: str | None = None
    priority: Priority = "routine"
    scheduled_at: str | None = Field(default=None, description="When it is to be sent, where that is not at once.")
    delivered_at: str | None = None
    read_at: str | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    error_reason: str | None = Field(default=None, description="In a word, such as `address`, `opted-out`, `expired`.")
    error_code: str | None = Field(default=None, description="The provider's own.")
    attempts: int = Field(default=0, description="How often it was handed to a provider.")
    campaign_id: str | None = None
    template: str | None = Field(default=None, description="URL and version of the template.")
    request_id: str = Field(description="Id of the CommunicationRequest.")
    communication_id: str | None = Field(default=None, description="Id of the Communication of the last channel.")


class TimelineEntry(BaseModel):
    """Something that happened."""

    at: str
    event: Literal["created", "scheduled", "attempt", "sent", "delivered", "read", "failed", "cancelled"]
    channel: Channel | None = None
    provider: str | None = None
    outcome: str | None = Field(default=None, description="Of an attempt: `accepted`, `unknown`, `lost`, or why it failed.")
    code: str | None = None
    text: str | None = None
    ended_at: str | None = Field(default=None, description="Of an attempt: when its outcome was known.")
    communication_id: str | None = None


class NotificationDetail(Notification):
    """One message with all that happened to it."""

    timeline: list[TimelineEntry]
    others: list[str] = Field(
        default_factory=list, description="Ids of the other occurrences, and recipients, of the same CommunicationRequest."
    )


class NotificationList(BaseModel):
    """A page of messages."""

    items: list[Notification]
    next_cursor: str | None = Field(default=None, description="Cursor of the next page; null on the last.")


class Refusal(BaseModel):
    """A recipient of a campaign for whom there can be no message."""

    patient_id: str | None = None
    to: str | None = None
    reason: str


class Progress(BaseModel):
    """How far a campaign is."""

    id: str
    org_id: str
    name: str
    status: Literal["queued", "running", "completed", "cancelling", "cancelled", "failed"] = Field(
        description="Of the writing of its requests; `counts` says what has become of them."
    )
    total: int | None = Field(default=None, description="Recipients; null while they are still searched.")
    accepted: int = Field(description="Recipients for whom there is a CommunicationRequest.")
    refused: int = Field(description="Recipients for whom there can be none.")
    refusals: list[Refusal] = Field(default_factory=list, description="The first hundred of them, with the reason.")
    counts: dict[str, int] = Field(description="Messages by status.")
    error: str | None = None
    created_at: str
    updated_at: str


class ProgressList(BaseModel):
    """Campaigns, the newest first."""

    items: list[Progress]
    next_cursor: str | None = None


class Figures(BaseModel):
    """How well messages arrive."""

    total: int
    counts: dict[str, int] = Field(description="By status.")
    delivery_rate: float | None = Field(
        default=None, description="Delivered or read, of all that are delivered, read or failed; 0 to 1, null without any."
    )
    average_delivery_seconds: float | None = Field(
        default=None, description="From when it was due until it was delivered, on the average."
    )
    p95_delivery_seconds: float | None = Field(default=None, description="95 of 100 were delivered in this time; within 5 %.")
    retried: int = Field(description="Messages that were handed over more than once.")
    retry_success: float | None = Field(
        default=None, description="Of those that have come to an end, the share that was sent all the same; 0 to 1."
    )
    failures: dict[str, int] = Field(description="By reason.")


class ChannelFigures(Figures):
    """Of a channel."""

    channel: str = Field(description="Empty for what was tried over none.")


class DayFigures(Figures):
    """Of a day."""

    day: str = Field(description="In UTC.")


class Stats(Figures):
    """How well messages arrive in all, by channel and by day."""

    date_from: str
    date_to: str
    channels: list[ChannelFigures]
    days: list[DayFigures]


class OutboxMessage(BaseModel):
    """A message that was kept instead of being sent."""

    id: str = Field(description="Id of the Communication.")
    channel: Channel
    to: str
    sender: str = ""
    subject: str = ""
    body: str
    html: str | None = None
    language: str | None = None
    media: list[dict[str, Any]] = Field(default_factory=list)
    created_at: str


class Outbox(BaseModel):
    """The messages of channels that are set to `console`."""

    items: list[OutboxMessage]
    next_cursor: str | None = None
