"""What is answered beside patients themselves: appointments, media, duplicates, merges."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from prm_ext.patients.schemas import PatientOut, ReferenceId


class Appointment(BaseModel):
    """An appointment of a patient: https://hl7.org/fhir/R4/appointment.html."""

    id: str
    status: str
    start: str | None = None
    end: str | None = None
    description: str | None = None
    appointment_type: str | None = None
    participants: list[str] = Field(default_factory=list, description="References to the others who take part.")


class Media(BaseModel):
    """A document, picture or recording of a patient: https://hl7.org/fhir/R4/documentreference.html."""

    id: str
    status: str
    type: str | None = None
    description: str | None = None
    content_type: str | None = None
    title: str | None = None
    size: int | None = Field(default=None, description="In bytes.")
    url: str | None = None
    created_at: str | None = None


class AppointmentList(BaseModel):
    """A page of appointments, the next one first."""

    items: list[Appointment]
    total: int | None = None
    next_cursor: str | None = None


class MediaList(BaseModel):
    """A page of media, the newest first."""

    items: list[Media]
    total: int | None = None
    next_cursor: str | None = None


class Evidence(BaseModel):
    """What the comparison of one field says."""

    field: str
    level: str
    bits: float = Field(description="For (above 0) or against one person.")


class DuplicateOut(BaseModel):
    """A patient that may be the same person."""

    patient: PatientOut
    score: float = Field(description="The probability that it is, 0 to 1.")
    grade: Literal["certain", "probable", "possible", "certainly-not"]
    evidence: list[Evidence]
    task_id: str | None = Field(default=None, description="The Task that asks a person to decide.")


class DuplicateList(BaseModel):
    """Patients that may be the same person, the likeliest first."""

    items: list[DuplicateOut]


class MergeIn(BaseModel):
    """Which records become one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"primary_id": "a", "duplicate_id": "b", "preview": True}}
    )

    primary_id: ReferenceId = Field(description="The record that survives.")
    duplicate_id: ReferenceId = Field(description="The record that is merged into it.")
    preview: bool = Field(default=False, description="Only show what would be.")


class MergedField(BaseModel):
    """Where the values of one element of the result come from."""

    element: str
    rule: str
    primary: list[Any]
    duplicate: list[Any]
    result: list[Any]


class MergeOut(BaseModel):
    """A merge, or what it would be."""

    status: Literal["preview", "completed", "in-progress"]
    patient: PatientOut | None = Field(default=None, description="The surviving patient.")
    fields: list[MergedField] = Field(default_factory=list)
    task_id: str | None = Field(default=None, description="The Task that tells how far a large merge has come.")
    messages: list[str] = Field(default_factory=list)
