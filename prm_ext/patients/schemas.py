"""The flat JSON of patients, as the interface describes it."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from prm_ext.common.problems import Problem
from prm_ext.patients.fields.names import tidy


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty; send null, or leave it out")
    return text


Text = Annotated[str, AfterValidator(tidy), StringConstraints(max_length=500), AfterValidator(_not_empty)]
Date = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$")]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
ReferenceId = Annotated[str, StringConstraints(pattern=r"^([A-Z][A-Za-z]+/)?[A-Za-z0-9.-]{1,64}$")]
Url = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=2000)]
Gender = Literal["male", "female", "other", "unknown"]
Status = Literal["active", "inactive", "deceased"]
ContactMethod = Literal["phone", "email", "whatsapp", "sms"]
BirthSex = Literal["F", "M", "OTH", "UNK", "ASKU"]

EXAMPLE: dict[str, Any] = {
    "legal_name": "Maria Elena García López",
    "preferred_name": "Elena",
    "date_of_birth": "1984-03-17",
    "gender": "female",
    "ssn": "219-09-9999",
    "primary_phone": "+1 415 555 0132",
    "secondary_phone": "(415) 555-0178",
    "email": "elena.garcia@example.org",
    "address_line1": "1200 Mission Street",
    "address_line2": "Apt 4",
    "city": "San Francisco",
    "state": "CA",
    "zip_code": "94103",
    "preferred_contact_method": "whatsapp",
    "race": "White",
    "ethnicity": "Hispanic or Latino",
    "preferred_language": "es",
    "marital_status": "married",
    "primary_care_provider_id": "dr-7",
    "emergency_contact_name": "Jorge López",
    "emergency_contact_phone": "+1 415 555 0190",
    "emergency_contact_relationship": "husband",
    "insurance": [{"payer_name": "Bay Health Plan", "member_id": "BHP-1009", "group_number": "G-77"}],
}


class Insurance(BaseModel):
    """An insurance of a patient: a FHIR Coverage."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="The id of the Coverage; none for a new one.")
    payer_name: Text | None = Field(default=None, description="Who pays.")
    member_id: Text | None = None
    group_number: Text | None = None
    plan_name: Text | None = None
    relationship: Literal["self", "spouse", "child", "parent", "common", "other", "injured"] | None = Field(
        default=None, description="What the patient is to the subscriber."
    )
    effective_date: Date | None = None
    termination_date: Date | None = None


class NewInsurance(Insurance):
    """An insurance that is written."""

    payer_name: Text


class InsuranceOut(BaseModel):
    """An insurance as it is stored."""

    id: str
    payer_name: str | None = None
    member_id: str | None = None
    group_number: str | None = None
    plan_name: str | None = None
    relationship: str | None = None
    effective_date: str | None = None
    termination_date: str | None = None
    status: str | None = None


class _Written(BaseModel):
    """The fields that may be written."""

    model_config = ConfigDict(extra="forbid")

    org_id: str | None = Field(default=None, description="The organization (tenant); it has to be the one of the token.")
    mrn: Text | None = Field(default=None, description="Medical record number; given by the server where none is sent.")
    preferred_name: Text | None = None
    aliases: list[Text] | None = Field(
        default=None, max_length=50, description="Other names: nicknames, maiden and former names."
    )
    date_of_birth: Date | None = Field(default=None, description="A date, a month (`1984-03`) or a year.")
    gender: Gender | None = None
    birth_sex: BirthSex | None = None
    ssn: str | None = Field(default=None, max_length=11, description="Social security number; it is never read back.")
    primary_phone: Text | None = None
    secondary_phone: Text | None = None
    email: Text | None = None
    address_line1: Text | None = None
    address_line2: Text | None = None
    city: Text | None = None
    state: Text | None = None
    zip_code: Text | None = None
    preferred_contact_method: ContactMethod | None = None
    race: Text | None = Field(default=None, description="Words of the OMB categories are coded as well: `White`, `Asian, White`.")
    ethnicity: Text | None = None
    preferred_language: Language | None = Field(default=None, description="A language tag (BCP 47): `es`, `en-US`.")
    marital_status: Text | None = Field(default=None, description="`single`, `married`, `divorced`, `widowed` …, or any text.")
    primary_care_provider_id: ReferenceId | None = Field(default=None, description="The id of a Practitioner, or `Type/id`.")
    photo_url: Url | None = None
    emergency_contact_name: Text | None = None
    emergency_contact_phone: Text | None = None
    emergency_contact_relationship: Text | None = None
    insurance: list[NewInsurance] | None = Field(default=None, max_length=20)
    deceased_at: Date | None = Field(default=None, description="The date of death.")


class PatientCreate(_Written):
    """A new patient."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    legal_name: Text = Field(description="Given names, then family name; with a comma the other way round.")
    status: Status = "active"

    @model_validator(mode="after")
    def _contact_is_whole(self) -> Self:
        if self.emergency_contact_relationship and not (self.emergency_contact_name or self.emergency_contact_phone):
            raise ValueError("emergency_contact_relationship needs emergency_contact_name or emergency_contact_phone")
        if self.address_line2 and not self.address_line1:
            raise ValueError("address_line2 needs address_line1")
        return self


class PatientPatch(_Written):
    """Fields that change. `null` takes a value away; what is left out stays. `insurance` is the whole list."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"primary_phone": "+1 415 555 0111", "secondary_phone": None}}
    )

    legal_name: Text | None = None
    status: Status | None = None

    @model_validator(mode="after")
    def _required_stay(self) -> Self:
        for name in ("legal_name", "mrn", "status"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} can not be taken away")
        return self


class EmergencyContact(BaseModel):
    """Whom to call in an emergency."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Jorge López", "phone": "+1 415 555 0190", "relationship": "husband"}},
    )

    name: Text
    phone: Text | None = None
    relationship: Text | None = None


class PatientOut(BaseModel):
    """A patient."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "0193a1de-5f7c-7cc1-8f3d-6a1de0a4c001",
                "org_id": "default",
                "mrn": "MRN-2026000017",
                **{name: value for name, value in EXAMPLE.items() if name not in ("ssn", "insurance")},
                "ssn_last4": "9999",
                "insurance": [
                    {
                        "id": "c1",
                        "payer_name": "Bay Health Plan",
                        "member_id": "BHP-1009",
                        "group_number": "G-77",
                        "status": "active",
                    }
                ],
                "status": "active",
                "version": "1",
                "created_at": "2026-11-24T09:30:00.000Z",
                "updated_at": "2026-11-24T09:30:00.000Z",
            }
        }
    )

    id: str
    org_id: str
    version: str | None = Field(default=None, description="The version, as in the ETag.")
    mrn: str | None = None
    legal_name: str | None = None
    preferred_name: str | None = None
    aliases: list[str] | None = None
    date_of_birth: str | None = None
    gender: str | None = None
    birth_sex: str | None = None
    ssn_last4: str | None = None
    primary_phone: str | None = None
    secondary_phone: str | None = None
    email: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    preferred_contact_method: str | None = None
    race: str | None = None
    ethnicity: str | None = None
    preferred_language: str | None = None
    marital_status: str | None = None
    primary_care_provider_id: str | None = None
    photo_url: str | None = None
    emergency_contact_name: str | None = None
    emergency_contact_phone: str | None = None
    emergency_contact_relationship: str | None = None
    insurance: list[InsuranceOut] | None = Field(default=None, description="null where whoever asks may not see it.")
    status: Status
    deceased_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    deleted_at: str | None = None
    score: float | None = Field(default=None, description="How well the patient fits what was searched for, 0 to 1.")
    warnings: list[Problem] | None = Field(default=None, description="What is to be said of a write that succeeded.")


class PatientList(BaseModel):
    """A page of patients."""

    items: list[PatientOut]
    total: int | None = Field(default=None, description="How many there are in all, where that is known.")
    limit: int
    offset: int
    next_cursor: str | None = Field(default=None, description="`cursor` of the page behind; none at the end.")
