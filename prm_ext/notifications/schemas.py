"""What is asked of notifications, as flat JSON."""

import json
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from prm_ext.notifications.channels.channel import Channel

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}$")]
Priority = Literal["routine", "urgent", "asap", "stat"]
Unit = Literal["minute", "hour", "day", "week", "month", "year"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
LONGEST_BODY = 100_000
LARGEST_METADATA = 16_384
MOST_RECIPIENTS = 10_000
FIRST_YEAR = 1900
LAST_YEAR = 2200


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > LARGEST_METADATA:
        raise ValueError(f"has more than {LARGEST_METADATA} characters as JSON")
    return value


def _near(value: datetime | date) -> datetime | date:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"is not between the years {FIRST_YEAR} and {LAST_YEAR}")
    return value


def _text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Variables = dict[
    Annotated[str, StringConstraints(max_length=64)], Annotated[str, BeforeValidator(_text), StringConstraints(max_length=2000)]
]
Moment = Annotated[AwareDatetime | date, AfterValidator(_near)]
"""A date is the morning of the recipient."""
Day = Annotated[AwareDatetime | date, AfterValidator(_near)]
SEND_EXAMPLE: dict[str, Any] = {
    "patient_id": "0193a1de-5f7c-7cc1-8f3d-6a1de0a4c001",
    "channel": "sms",
    "body": "Your results have arrived. Please call us.",
    "category": "lab-results",
    "metadata": {"ticket": "T-1009"},
}


class Addressed(BaseModel):
    """To whom, and over which channel."""

    model_config = ConfigDict(extra="forbid")

    patient_id: Id | None = Field(default=None, description="Who it is for; over the preferred channel where none is named.")
    to: str | None = Field(
        default=None,
        min_length=3,
        max_length=254,
        description="A phone number or an email address in place of those of the patient.",
    )
    channel: Channel | None = Field(default=None, description="Only this channel; else the patient's preferred one, then others.")

    @model_validator(mode="after")
    def _has_recipient(self) -> Self:
        if not self.patient_id and not self.to:
            raise ValueError("name a patient_id, or an address in `to`")
        return self


class _Common(BaseModel):
    media_ids: list[Id] = Field(default_factory=list, max_length=10, description="Ids of media that go with it.")
    priority: Priority = Field(default="routine", description="What is urgent goes first, and does not wait for quiet hours.")
    category: Kind | None = Field(
        default=None,
        description="What it is, such as `appointment-reminder`, `lab-results`, `health-tips`: patients may object to each.",
    )
    metadata: Metadata = Field(default_factory=dict, description="Kept with it, and given back.")


class Send(Addressed, _Common):
    """A message."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": SEND_EXAMPLE})

    subject: str | None = Field(default=None, max_length=200, description="Of an email.")
    body: str = Field(min_length=1, max_length=LONGEST_BODY)


class Templated(BaseModel):
    """Which template, with which values."""

    template: str | None = Field(default=None, max_length=200, description="Name of the template.")
    template_id: Id | None = Field(default=None, description="Id of the template.")
    variables: Variables = Field(default_factory=dict, description="Values by name; patients and appointments fill many already.")
    appointment_id: Id | None = Field(default=None, description="The Appointment that it is about, which fills variables.")
    about: list[Reference] = Field(
        default_factory=list, max_length=10, description="Other resources that it is about, such as `DiagnosticReport/1`."
    )


class SendTemplate(Addressed, _Common, Templated):
    """A message that is made from a template."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "patient_id": "0193a1de-5f7c-7cc1-8f3d-6a1de0a4c001",
                "template": "appointment_reminder_24h",
                "appointment_id": "0193a1de-6a10-7d22-9b1a-b1c9d4c1a001",
            }
        },
    )

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if bool(self.template) == bool(self.template_id):
            raise ValueError("name the template by `template` or by `template_id`")
        return self


class Window(BaseModel):
    """From when on it may go, and when it is too late."""

    model_config = ConfigDict(extra="forbid")

    start: Moment | None = None
    end: Moment

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if isinstance(self.start, datetime) and isinstance(self.end, datetime) and self.end <= self.start:
            raise ValueError("end comes before start")
        return self


class Repeat(BaseModel):
    """How it repeats, in the time of the recipient."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"every": 1, "unit": "day", "times": ["08:00", "20:00"], "end": "2026-12-31"}},
    )

    every: int = Field(default=1, ge=1, le=1000, description="Each so many units.")
    unit: Unit = "day"
    frequency: int = Field(default=1, ge=1, le=96, description="So often in each of them, where `times` does not say when.")
    days: list[Weekday] = Field(default_factory=list, max_length=7)
    times: list[Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]] = Field(
        default_factory=list, max_length=96, description="Times of the day, such as `08:00`."
    )
    start: Moment | None = None
    end: Moment | None = None
    count: int | None = Field(default=None, ge=1, le=5000, description="So often in all.")


class When(BaseModel):
    """When it is sent: one of the three."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"send_at": "2026-11-25T08:00:00+01:00"}})

    send_at: Moment | None = Field(default=None, description="A time with its offset, or a date: its morning.")
    period: Window | None = Field(default=None, description="As soon as it has begun, and not after its end.")
    repeat: Repeat | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(one is not None for one in (self.send_at, self.period, self.repeat)) != 1:
            raise ValueError("say when by one of `send_at`, `period` and `repeat`")
        return self


class Schedule(Addressed, _Common, Templated, When):
    """A message for later, or again and again: a body of its own, or a template."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": SEND_EXAMPLE | {"send_at": "2026-11-25T08:00:00+01:00"}},
    )

    subject: str | None = Field(default=None, max_length=200)
    body: str | None = Field(default=None, min_length=1, max_length=LONGEST_BODY)

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if sum(bool(one) for one in (self.body, self.template, self.template_id)) != 1:
            raise ValueError("say what is sent by one of `body`, `template` and `template_id`")
        return self


class BulkRecipient(BaseModel):
    """One of many."""

    model_config = ConfigDict(extra="forbid")

    patient_id: Id | None = None
    to: str | None = Field(default=None, min_length=3, max_length=254)
    variables: Variables = Field(default_factory=dict, description="Before those of the campaign.")

    @model_validator(mode="after")
    def _has_recipient(self) -> Self:
        if not self.patient_id and not self.to:
            raise ValueError("name a patient_id, or an address in `to`")
        return self


class Bulk(_Common, Templated):
    """One message to many: to those listed, to the members of a Group, or to the patients that a search finds."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Flu shots 2026",
                "template": "health_tip",
                "variables": {"tip": "Flu shots are here."},
                "patient_search": "address-city=San Francisco&birthdate=lt1961-01-01",
                "category": "health-tips",
            }
        },
    )

    name: str = Field(default="", max_length=200, description="Of the campaign.")
    patient_ids: list[Id] = Field(default_factory=list, max_length=MOST_RECIPIENTS)
    recipients: list[BulkRecipient] = Field(default_factory=list, max_length=MOST_RECIPIENTS)
    group_id: Id | None = Field(default=None, description="A Group; its members are those at the time of the request.")
    patient_search: str | None = Field(
        default=None, max_length=2000, description="A FHIR search of patients, such as `general-practitioner=Practitioner/7`."
    )
    channel: Channel | None = None
    subject: str | None = Field(default=None, max_length=200)
    body: str | None = Field(default=None, min_length=1, max_length=LONGEST_BODY)
    send_at: Moment | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(bool(one) for one in (self.patient_ids, self.recipients, self.group_id, self.patient_search)) != 1:
            raise ValueError("say to whom by one of `patient_ids`, `recipients`, `group_id` and `patient_search`")
        if sum(bool(one) for one in (self.body, self.template, self.template_id)) != 1:
            raise ValueError("say what is sent by one of `body`, `template` and `template_id`")
        return self
