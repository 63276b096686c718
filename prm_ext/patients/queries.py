"""The questions of the product, as FHIR searches and operations."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from fhir_server.exchange import Params
from prm_ext.patients.answers import MergeIn
from prm_ext.patients.schemas import Date

MOST: Final = 200
"""Items on a page."""


class Criteria(BaseModel):
    """What patients are listed by."""

    model_config = ConfigDict(extra="ignore")

    query: str = Field(default="", max_length=200, description="Names, phone, MRN, date of birth, in any order, as people type.")
    phone: str = Field(
        default="", max_length=40, description="A phone number, in any notation, or its last seven digits or more."
    )
    date_of_birth: Date | Literal[""] = Field(default="", description="A date, a month or a year.")
    status: Literal["", "active", "inactive", "deceased", "deleted"] = ""
    limit: int = Field(default=50, ge=1, le=MOST, description="Largest number of items on the page.")
    offset: int = Field(default=0, ge=0, description="How many to leave out; a cursor is faster, and steadier under writes.")
    cursor: str = Field(default="", description="`next_cursor` of the page before.")


_STATUS: dict[str, Params] = {
    "": (),
    "active": (("active:not", "false"), ("deceased:not", "true")),
    "inactive": (("active", "false"), ("deceased:not", "true")),
    "deceased": (("deceased", "true"),),
    "deleted": (),
}


def narrowing(criteria: Criteria) -> Params:
    """Return the criteria beside `query`."""
    phone = (("phone", criteria.phone),) if criteria.phone else ()
    born = (("birthdate", criteria.date_of_birth),) if criteria.date_of_birth else ()
    return (*phone, *born, *_STATUS[criteria.status])


def listing(criteria: Criteria) -> Params:
    """Return the search for a list."""
    return (*narrowing(criteria), ("_sort", "-_lastUpdated"))


def merging(body: MergeIn) -> dict[str, Any]:
    """Return the Parameters of `Patient/$merge`."""
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "source-patient", "valueReference": {"reference": _reference(body.duplicate_id)}},
            {"name": "target-patient", "valueReference": {"reference": _reference(body.primary_id)}},
            {"name": "preview", "valueBoolean": body.preview},
        ],
    }


def _reference(id_: str) -> str:
    return id_ if "/" in id_ else f"Patient/{id_}"
