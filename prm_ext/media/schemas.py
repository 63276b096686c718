"""The flat JSON of media, as the interface describes it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from prm_ext.media.categories import Category, Source

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Asset(BaseModel):
    """One file: a document, a picture, a recording."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "01a20d65-a9af-71f2-9887-b5fd48928a43",
                "org_id": "default",
                "key": "uploads/default/699db0be77297268926258bd3ee95a83fec80e7742a0947c6fba462c1ec7fefe.ogg",
                "sha256": "699db0be77297268926258bd3ee95a83fec80e7742a0947c6fba462c1ec7fefe",
                "mime_type": "audio/ogg",
                "size_bytes": 48211,
                "duration_ms": 12480,
                "source": "recording",
                "category": "voice_message",
                "patient_id": "123",
                "created_at": "2026-11-24T11:51:36.168Z",
                "updated_at": "2026-11-24T11:51:36.168Z",
            }
        }
    )

    id: str = Field(description="Id of the DocumentReference.")
    org_id: str = Field(description="The tenant.")
    key: str | None = Field(default=None, description="Key of the content in the store.")
    sha256: str | None = Field(default=None, description="SHA-256 of the content, hexadecimal.")
    mime_type: str | None = Field(default=None, description="Type of the content, found in the content itself.")
    size_bytes: int | None = Field(default=None, description="Size of the content.")
    duration_ms: int | None = Field(default=None, description="Duration of sound or video.")
    width: int | None = Field(default=None, description="Pixels.")
    height: int | None = Field(default=None, description="Pixels.")
    pages: int | None = Field(default=None, description="Number of pages of a PDF.")
    flags: list[str] = Field(default_factory=list, description="What stands out: `javascript`, `launch`, `bomb`.")
    title: str | None = Field(default=None, description="Name of the file.")
    category: str | None = None
    source: str | None = Field(default=None, description="upload, recording, attachment or import.")
    patient_id: str | None = None
    replaces: str | None = Field(default=None, description="Id of the media that this is a new version of.")
    attached_to: list[str] = Field(default_factory=list, description="Messages and appointments, such as `Communication/1`.")
    created_at: str | None = None
    updated_at: str | None = None


class Uploaded(Asset):
    """What an upload has become."""

    url: str = Field(description="Where the content can be read for some minutes, without a token.")
    url_expires_at: str
    deduplicated: bool = Field(description="Whether the same content was there already, so that nothing was stored.")


class AssetList(BaseModel):
    """A page of media."""

    items: list[Asset]
    next_cursor: str | None = Field(default=None, description="Cursor of the next page; null on the last.")
    total: int | None = Field(default=None, description="How many there are in all, where that is known.")


class Download(BaseModel):
    """Where content can be read, and until when."""

    url: str
    expires_at: str
    mime_type: str
    size_bytes: int
    filename: str | None = None


class Attach(BaseModel):
    """What is attached."""

    model_config = ConfigDict(extra="forbid")

    media_id: Id


class AttachToMessage(Attach):
    """Attach to a message."""

    message_id: Id = Field(description="Id of the Communication.")


class AttachToPatient(Attach):
    """Attach to a patient."""

    patient_id: Id
    category: Category | None = None


class AttachToAppointment(Attach):
    """Attach to an appointment."""

    appointment_id: Id


class UploadBegin(BaseModel):
    """An upload in parts."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(default="", max_length=255)
    mime_type: str = Field(default="", max_length=255)
    size_bytes: int = Field(ge=1)
    sha256: Digest | None = Field(default=None, description="Checked when the upload is completed.")
    patient_id: Id | None = None
    category: Category | None = None
    source: Source = "upload"


class Part(BaseModel):
    """A part that is missing."""

    number: int
    size_bytes: int
    url: str = Field(description="Takes the part by PUT, without a token.")


class UploadState(BaseModel):
    """How far an upload is."""

    id: str
    part_size: int = Field(description="Size of all parts but the last, in bytes.")
    part_count: int
    received_bytes: int
    missing: list[Part]
    resumable_url: str = Field(description="Takes the upload by the tus protocol: HEAD, PATCH.")
    expires_at: str
    media_id: str | None = Field(default=None, description="What it has become.")
