"""The flat JSON of templates, as the interface describes it."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from prm_ext.notifications.channels.channel import Channel
from prm_ext.notifications.codes import KINDS
from prm_ext.notifications.templates.languages import tidy
from prm_ext.notifications.templates.model import Status
from prm_ext.notifications.templates.text import MAX_LENGTH, NAME
from prm_ext.notifications.templates.values import MAX_VALUE, Type


def _language(tag: str) -> str:
    found = tidy(tag)
    if not found:
        raise ValueError("is not a language tag such as `es` or `es-MX`")
    return found


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"there are {', '.join(KINDS)}")
    return kind


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
VariableName = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
Language = Annotated[str, AfterValidator(_language)]
Category = Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": list(KINDS)})]
Text = Annotated[str, StringConstraints(max_length=MAX_LENGTH)]
Line = Annotated[str, StringConstraints(max_length=500)]
Value = Annotated[str, StringConstraints(max_length=MAX_VALUE)]
Sid = Annotated[str, StringConstraints(pattern=r"^HX[0-9a-fA-F]{32}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
Places = dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")], VariableName]

EXAMPLE: Final[dict[str, Any]] = {
    "name": "appointment_reminder_24h",
    "category": "appointment-reminder",
    "channel": "whatsapp",
    "language": "en",
    "body": "Hi {patient_name}! Reminder: You have an appointment tomorrow at {appointment_time} with Dr. {practitioner_name} at "
    "{location_name}. Reply CONFIRM to confirm or CANCEL to cancel.",
    "variants": [{"language": "es", "body": "¡Hola, {patient_name}! Tiene una cita mañana a las {appointment_time}."}],
    "status": "active",
}


class TemplateVariable(BaseModel):
    """A variable that is not well known, or is to be formatted otherwise."""

    model_config = ConfigDict(extra="forbid")

    name: VariableName
    type: Type = "text"
    format: str = Field(
        default="",
        max_length=20,
        description="Of a date, time or datetime `short`, `medium`, `long` or `full`; of a number `percent`; of money a currency,"
        " such as `EUR`; of a text `lines`, to keep its line breaks.",
    )
    default: Value | None = Field(default=None, description="Its value where none is given.")
    description: Line = ""
    sample: Value = Field(default="", description="Its value in previews.")


class Variant(BaseModel):
    """A text for those who read another language, or for one channel."""

    model_config = ConfigDict(extra="forbid")

    language: Language | None = Field(default=None, description="None: that of the template.")
    channel: Channel | None = Field(default=None, description="None: all that have no text of their own in the language.")
    subject: Line | None = None
    body: Text | None = None
    content_sid: Sid | None = Field(default=None, description="Of a WhatsApp template in this language.")
    content_variables: Places | None = None


class _Written(BaseModel):
    """The fields that may be written."""

    model_config = ConfigDict(extra="forbid")

    title: Line | None = Field(default=None, description="For people, and the subject of emails that have none.")
    description: Text | None = None
    category: Category = Field(default="message", description="What a patient may object to one by one.")
    channel: Channel | None = Field(default=None, description="The channel that it is for; null: any.")
    language: Language = Field(default="en", description="Of `subject` and `body`; who reads none of the variants gets these.")
    subject: Line | None = None
    body: Text = Field(default="", description="`{name}` is replaced by the value of a variable; `{{` and `}}` are braces.")
    variants: list[Variant] = Field(default_factory=list, max_length=100)
    variables: list[VariableName | TemplateVariable] = Field(
        default_factory=list,
        max_length=100,
        description="Those that are not well known; a name alone is a text, or the well-known variable.",
    )
    content_sid: Sid | None = Field(
        default=None, description="Of the WhatsApp template that is sent when nobody has written for 24 hours."
    )
    content_variables: Places | None = Field(
        default=None,
        description="Which variable goes to which of its places: `{'1': 'patient_name'}`. None: in the order of `body`.",
    )
    status: Status = "active"


class TemplateCreate(_Written):
    """A new template."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    name: Name
    body: Text


class TemplatePatch(_Written):
    """Fields that change; lists are replaced as a whole."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"body": "Hi {patient_name}!", "status": "active"}})

    name: Name = ""


class TemplateOut(BaseModel):
    """A template."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "01a20d65-a9af-71f2-9887-b5fd48928a43",
                "org_id": "default",
                **EXAMPLE,
                "uses": ["patient_name", "appointment_time", "practitioner_name", "location_name"],
                "languages": ["en", "es"],
                "version": "2",
                "canonical": "urn:prm:template:appointment_reminder_24h:5f0c1a9e|2",
                "built_in": False,
                "created_at": "2026-11-24T11:51:36.168Z",
                "updated_at": "2026-11-24T11:51:36.168Z",
            }
        }
    )

    id: str
    org_id: str
    name: str
    title: str
    description: str
    category: str
    channel: Channel | None
    language: str
    subject: str | None
    body: str
    variants: list[Variant]
    variables: list[TemplateVariable] = Field(description="Those that it declares.")
    uses: list[str] = Field(description="All variables of its texts.")
    languages: list[str]
    content_sid: str | None
    content_variables: dict[str, str] | None
    status: Status
    version: str = Field(description="Grows with every change of the content.")
    canonical: str = Field(description="Stands for exactly this version.")
    built_in: bool = Field(description="Whether it is there without anybody having made it.")
    created_at: str | None
    updated_at: str | None


class TemplateList(BaseModel):
    """A page of templates."""

    items: list[TemplateOut]
    next_cursor: str | None = Field(default=None, description="Cursor of the next page; null on the last.")


class TemplateVersions(BaseModel):
    """The versions of a template, the latest first."""

    items: list[TemplateOut]


class PreviewIn(BaseModel):
    """With which data a template is shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"variables": {"patient_name": "Elena"}, "language": "es", "channel": "sms"}},
    )

    variables: dict[VariableName, Value | int | float] = Field(
        default_factory=dict, description="Values; for others the samples, the defaults and those of the resources are taken."
    )
    channel: Channel | None = Field(default=None, description="None: all that the template is for.")
    language: Language | None = Field(default=None, description="None: all that it has.")
    patient_id: Id | None = Field(default=None, description="Show it for this patient.")
    appointment_id: Id | None = Field(default=None, description="Show it for this appointment.")
    time_zone: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="Such as `America/New_York`; else that of the patient."
    )


class Preview(BaseModel):
    """What somebody would get."""

    channel: Channel
    language: str
    subject: str | None = None
    body: str
    html: str | None = Field(default=None, description="Of emails.")
    characters: int
    encoding: Literal["GSM-7", "UCS-2"] | None = Field(default=None, description="Of SMS.")
    segments: int | None = Field(default=None, description="SMS that it takes.")
    content_sid: str | None = None
    content_variables: dict[str, str] | None = None


class PreviewList(BaseModel):
    """What a template says, by channel and language."""

    template_id: str
    version: str
    items: list[Preview]
